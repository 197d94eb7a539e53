"""Changes the active region: one record, one table, and steps that may all be done again.

The controller looks at the record, does what the record's phase asks for, and writes the next entry.
It holds nothing else: whoever runs it next, wherever, goes on from the last entry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Protocol

from proa.clock import Clock
from proa.errors import ConflictError, ProaError, UnavailableError, UserError
from proa.recovery import failover_table as table
from proa.recovery.consumer_targets import Consumers
from proa.recovery.control_record import (
    ControlRecord,
    ControlStore,
    Operation,
    Phase,
    first_record,
)
from proa.recovery.driver import Driver, Role, open_driver, role_of
from proa.recovery.failover_table import Action, FailoverEvent
from proa.recovery.proof_report import software
from proa.recovery.region_status import SourceStatus
from proa.recovery.region_view import Loss, Proof, RegionsView, open_view
from proa.settings import ProjectSettings, RecoverySettings, file_numbers_text
from proa.steps import Step, step

_LOOK_S = 2.0
_STEPS = {
    Action.FENCE: Step.REGION_FENCE,
    Action.DRAIN: Step.REGION_DRAIN,
    Action.PROVE: Step.REGION_PROVE,
    Action.ACTIVATE: Step.REGION_ACTIVATE,
    Action.REPOINT: Step.REGION_REPOINT,
    Action.DEMOTE: Step.REGION_DEMOTE,
    Action.RESTORE: Step.REGION_ACTIVATE,
}


class ConsumersPort(Protocol):
    """What consumers read, as the controller sees it."""

    def repoint(self, region: str) -> None:
        """Send consumers to a region; may be called again. Raises UnavailableError when it cannot now."""

    def explain(self, region: str) -> list[str]:
        """Say what `repoint` would do, beyond that consumers are sent there."""

    def drift(self, active: str) -> list[str]:
        """Say who is sent elsewhere than to the active region."""


Tell = Callable[[str], None]
"""Told every sentence of the history as it is written."""


@dataclass(frozen=True)
class Request:
    """What an operator asks for."""

    operation: Operation
    target: str
    reason: str = ""
    max_loss: float | None = None
    """Seconds; a failover that may lose more is refused. None: the objective `rpo`, or nothing."""
    force: bool = False
    """Lose whatever it takes."""
    patience: float = 3600.0
    """Seconds to wait for the target to have processed everything."""


class Controller:
    """Changes the roles of a group's regions."""

    def __init__(  # noqa: PLR0913, PLR0917 - its parts
        self,
        settings: ProjectSettings,
        store: ControlStore,
        driver: Driver,
        view: RegionsView,
        clock: Clock,
        who: str,
        *,
        consumers: ConsumersPort | None = None,
        tell: Tell = lambda _sentence: None,
    ) -> None:
        self._settings = settings
        self._recovery = settings.recovery or RecoverySettings()
        self._store = store
        self._driver = driver
        self._view = view
        self._clock = clock
        self._who = who
        self._consumers = consumers or Consumers()
        self._tell = tell
        self._patience = 3600.0
        self.proof: Proof | None = None
        """The last proof that this controller made."""
        self.report: Mapping[str, Any] | None = None
        """What it has filed last beside the record."""

    # -- what operators ask for ---------------------------------------------------------------------

    def record(self) -> ControlRecord:
        """The state now; what it begins with where nothing was written yet."""
        return self._store.read() or first_record(self._settings, self._clock.now(), self._who)

    def former(self) -> str:
        """The region that was active before: where a failback goes.

        Where the last change was a failback it is that one's target, so that asking again finds it done. Raises
        UserError (NOTHING_TO_FAIL_BACK_TO) when the active region never changed.
        """
        record = self.record()
        if record.operation is Operation.FAILBACK and not record.is_steady:
            return record.target or record.active
        history = self._store.history()
        for before, entry in reversed(list(pairwise(history))):
            if entry.epoch != before.epoch:
                return entry.active if entry.operation is Operation.FAILBACK else before.active
        others = [name for name in self._settings.regions if name != record.active]
        raise UserError(
            f"no other region than {record.active} was ever active, so there is nothing to go back to;"
            f" to make {' or '.join(others) or 'another region'} active, use `proa switchover --to`",
            condition="NOTHING_TO_FAIL_BACK_TO",
        )

    def explain(self, request: Request) -> list[str]:
        """What would happen, sentence by sentence. Changes nothing."""
        record = self.record()
        self._allow(record, request)
        if self._is_done(record, request):
            return [f"nothing: {record.active} is active already, in epoch {record.epoch}"]
        lines = []
        if request.operation is Operation.FAILOVER:
            lines.append(self._view.loss(request.target).sentence)
        source = record.active
        for phase in table.phases(request.operation):
            what = _EXPLAINED[table.ACTIONS[phase]]
            if phase is Phase.DEMOTING and request.operation is Operation.FAILOVER:
                what = "{source} is not asked: it demotes itself when it returns"
            if phase is Phase.PROMOTING:
                lines.append(
                    f"from here there is no way back but another change: {request.target} is active"
                    f" in epoch {record.epoch + 1}"
                )
            lines.append(what.format(target=request.target, source=source))
            if phase is Phase.REPOINTING:
                lines += self._consumers.explain(request.target)
        return lines

    def begin(self, request: Request) -> ControlRecord:
        """Do what is asked for, to its end. Asking for it again finishes it, or finds it done.

        Raises ConflictError when something else is under way, ProaError (LOSS_TOO_LARGE) when a failover
        would lose more than is allowed, UnavailableError when a region that is needed does not answer; then
        asking again, or `resume`, goes on.
        """
        self._patience = request.patience
        record = self._store.read()
        if record is None:
            record = self._append(first_record(self._settings, self._clock.now(), self._who))
        self._allow(record, request)
        if self._is_done(record, request):
            return record
        if (
            record.is_steady
            or request.operation is not record.operation
            or record.phase is Phase.RESTORING
        ):
            if request.operation is Operation.FAILOVER:
                self._check_loss(request)
            self._check_target(request)
            record = self._enter(record, request)
        return self._finish(record)

    def resume(self, patience: float = 3600.0) -> ControlRecord:
        """Finish what is under way, and demote regions that are back from the dead."""
        self._patience = patience
        return self._settle(self._finish(self.record()))

    def cancel(self, reason: str = "") -> ControlRecord:
        """Go back to how it was. Raises ConflictError when the target is active already."""
        record = self.record()
        if record.is_steady:
            self._tell("nothing is under way, so nothing was taken back")
            return record
        if record.phase is not Phase.RESTORING:
            record = self._move(record, FailoverEvent.CANCELLED, reason=reason)
        return self._finish(record)

    # -- beginning ----------------------------------------------------------------------------------

    def _allow(self, record: ControlRecord, request: Request) -> None:
        self._settings.region(request.target)
        if request.operation is Operation.DRILL and request.target == record.active:
            raise UserError(
                f"{request.target} is active; a drill is practised on a standby",
                condition="NOT_A_STANDBY",
            )
        taken_back = record.phase is Phase.RESTORING
        if record.is_steady or (self._is_same(record, request) and not taken_back):
            return
        takes_over = request.operation is Operation.FAILOVER and record.phase in {
            Phase.FENCING,
            Phase.DRAINING,
            Phase.PROVING,
            Phase.RESTORING,
        }
        if takes_over and request.target != record.active:
            return
        since = f"(since {record.began and record.began.isoformat()}, {record.who})"
        back = "" if taken_back else "; `proa resume --cancel` takes it back"
        raise ConflictError(f"{record.under_way}{back} {since}", condition="CHANGE_UNDER_WAY")

    @staticmethod
    def _is_same(record: ControlRecord, request: Request) -> bool:
        return (record.operation, record.target) == (request.operation, request.target)

    def _is_done(self, record: ControlRecord, request: Request) -> bool:
        return (
            record.is_steady
            and request.operation is not Operation.DRILL
            and record.active == request.target
        )

    def _check_loss(self, request: Request) -> Loss:
        loss = self._view.loss(request.target)
        bound = self._recovery.rpo if request.max_loss is None else request.max_loss
        if request.force or not loss.exceeds(bound or 0.0):
            return loss
        raise ProaError(
            f"{loss.sentence}; that {'is' if loss.bounded else 'may be'} more than the {bound or 0:,.0f} s that may"
            " be lost. Nothing was"
            " changed. Ship what is missing, allow more with --max-loss, or lose it with --force",
            condition="LOSS_TOO_LARGE",
        )

    def _check_target(self, request: Request) -> None:
        """Look whether the target answers, before anything is stopped or given up. Raises ProaError."""
        target = request.target
        try:
            if (
                request.operation is not Operation.FAILOVER
            ):  # its loss was told by the target's zone
                self._sources((target,))
            self._driver.role(target)
        except ProaError as error:
            kind = UnavailableError if isinstance(error, UnavailableError) else UserError
            raise kind(
                f"{error}. Nothing was changed: {target} must answer before the {request.operation} begins",
                condition=error.condition,
            ) from error

    def _enter(self, record: ControlRecord, request: Request) -> ControlRecord:
        now = self._clock.now()
        row = table.transition(record.phase, table.beginning_event(request.operation))
        entry = record.model_copy(
            update={
                "number": record.number + 1,
                "phase": row.next,
                "operation": request.operation,
                "target": request.target,
                "source": record.active,
                "fence": now if request.operation is Operation.DRILL else None,
                "began": now,
                "at": now,
                "who": self._who,
                "reason": request.reason,
            }
        )
        return self._append(_with_sentence(entry, row.sentence))

    # -- going on -----------------------------------------------------------------------------------

    def _finish(self, record: ControlRecord) -> ControlRecord:
        """Do what each phase asks for until the record is steady, whoever else is at it."""
        overtaken = False
        while not record.is_steady:
            assert record.operation is not None
            action = table.ACTIONS[record.phase]
            with step(_STEPS[action]):
                owed = self._act(action, record)
            try:
                record = self._move(
                    record, table.completion_event(record.phase, record.operation), owed=owed
                )
            except ConflictError:
                record = self.record()  # another controller is at it too, and was first
                overtaken = True
        if overtaken:
            self._set_roles(record)  # what we did last may have come after what it did last
        return record

    def _act(self, action: Action, record: ControlRecord) -> tuple[str, ...]:
        """Do a phase's action; returns the regions that are owed a demotion afterwards."""
        source, target = record.source or record.active, record.target or record.active
        if action is Action.FENCE:
            self._driver.fence(source)
        elif action is Action.DRAIN:
            self._drain(record, target)
            if record.operation is Operation.FAILOVER:
                self.file_report(record, _unproven(source, target))
        elif action is Action.PROVE:
            self._prove(record, source, target)
        elif action is Action.ACTIVATE:
            self._driver.activate(target)
        elif action is Action.REPOINT:
            self._consumers.repoint(target)
        elif action is Action.RESTORE:
            self._driver.activate(source)
        elif record.operation is Operation.FAILOVER:
            return (*record.owed, source)  # never wait for the dead
        else:
            try:
                self._driver.demote(source)
            except UnavailableError as error:
                self._tell(f"{source} could not be demoted now, `proa resume` will: {error}")
                return (*record.owed, source)
        return tuple(region for region in record.owed if region != target)

    def _drain(self, record: ControlRecord, target: str) -> None:
        """Let the target process what it must. Raises UnavailableError when it takes too long."""
        end = self._clock.monotonic() + self._patience
        landed: dict[str, int] = {}
        if record.operation is Operation.FAILOVER:
            # What lands from here on keeps nobody waiting: files may arrive all the time.
            landed = {one.source: one.landed or 0 for one in self._sources((target,))}
        for drains in count(1):
            self._driver.drain(target)
            lacking = self._lacking(record, target, landed, drains)
            if lacking is None:
                return
            if self._clock.monotonic() >= end:
                raise UnavailableError(
                    f"{target} has not processed everything after {self._patience:.0f} s: {lacking};"
                    " `proa resume` goes on waiting"
                )
            self._clock.wait(_LOOK_S)

    def _lacking(
        self, record: ControlRecord, target: str, landed: Mapping[str, int], drains: int
    ) -> str | None:
        """Say what the target has not processed yet, of a failover up to the last files that had
        `landed`, by source. None when it has everything.

        Without a manifest, the second of so many `drains` has read what had landed.
        """
        if record.operation is Operation.FAILOVER:
            backlog = sum(
                source.backlog_files
                for source in self._sources((target,))
                if (
                    drains == 1
                    if source.processed is None
                    else source.processed < landed.get(source.source, 0)
                )
            )
            return f"{backlog} landed files are not processed" if backlog else None
        assert record.fence is not None
        answer = self._view.caught_up(target, record.fence)
        return None if answer.caught_up else answer.sentence

    def _prove(self, record: ControlRecord, source: str, target: str) -> None:
        """Compare the regions and file the report. Raises ProaError (REGIONS_DIFFER) for a switchover."""
        self.proof = proof = self._compare(record, source, target)
        self.file_report(record, proof)
        if not proof.equal and record.operation is not Operation.DRILL:
            raise ProaError(
                f"{proof.sentence}. Nothing was moved: `proa resume --cancel` takes the {record.operation}"
                " back, `proa resume` looks again",
                condition="REGIONS_DIFFER",
            )
        self._tell(proof.sentence)

    def _compare(self, record: ControlRecord, source: str, target: str) -> Proof:
        """Compare the regions. Files that arrive meanwhile do not keep them apart: where one is behind,
        both process the files of each source through the same one.

        In a drill the source is at work and is left alone: the target processes what the source has.
        """
        is_drill = record.operation is Operation.DRILL
        end = self._clock.monotonic() + self._patience
        before: Mapping[str, int] | None = None
        while True:
            proof = self._view.prove(source, target)
            if not proof.behind or self._clock.monotonic() >= end:
                return proof
            through = (
                self._last_processed(source) if is_drill else self._last_shipped((source, target))
            )
            who = target if is_drill else "both"
            files = file_numbers_text(through) or "what has landed"
            self._tell(f"{proof.sentence}; {who} must have processed {files}")
            if through == before:
                self._clock.wait(_LOOK_S)
            self._await_landing((source, target), through, end)
            for region in (target,) if is_drill else (source, target):
                self._driver.drain(region, through)
            before = through

    def _last_shipped(self, regions: tuple[str, str]) -> Mapping[str, int]:
        """The last file that is shipped now, by source."""
        last: dict[str, int] = {}
        for one in self._sources(regions):
            if one.landed is not None:
                last[one.source] = max(last.get(one.source, 0), one.shipped or 0, one.landed)
        return last

    def _last_processed(self, region: str) -> Mapping[str, int]:
        """The last file, by source, that a region has processed with all that came before."""
        return {
            one.source: one.processed
            for one in self._sources((region,))
            if one.processed is not None
        }

    def _await_landing(
        self, regions: tuple[str, str], through: Mapping[str, int], end: float
    ) -> None:
        """Wait, until `end` at most, for files to have landed in both regions."""
        while self._clock.monotonic() < end and any(
            one.landed is not None and one.landed < through.get(one.source, 0)
            for one in self._sources(regions)
        ):
            self._clock.wait(_LOOK_S)

    def _sources(self, regions: Iterable[str]) -> list[SourceStatus]:
        """The sources of the regions. Raises ProaError when a region does not answer."""
        sources: list[SourceStatus] = []
        for region in regions:
            status = self._view.status(region)
            if status.error is not None:
                raise status.error
            sources += status.sources
        return sources

    def file_report(self, record: ControlRecord, proof: Proof) -> None:
        """Keep a proof beside the record, under the number of the entry that it was made for."""
        began, now = record.began or record.at, self._clock.now()
        report: dict[str, Any] = {
            "format": 1,
            "group": record.group,
            "operation": record.operation,
            "regions": [record.source, record.target],
            "epoch": record.epoch,
            "began": began.isoformat(),
            "fence": None if record.fence is None else record.fence.isoformat(),
            "at": now.isoformat(),
            "who": self._who,
            "seconds": (now - began).total_seconds(),
            "loss": self._loss_facts(record.target or record.active),
            "equal": proof.equal,
            "sentence": proof.sentence,
            "software": software(),
            "tables": proof.tables,
        }
        self._store.file(
            f"{record.number:010d}", json.dumps(report, indent=1, default=str).encode()
        )
        self.report = report

    def _loss_facts(self, target: str) -> dict[str, Any]:
        try:
            return asdict(self._view.loss(target))
        except UnavailableError as error:  # a report waits for nobody
            return {"certain": False, "sentence": f"what {target} lacks is not known: {error}"}

    def _move(
        self,
        record: ControlRecord,
        event: FailoverEvent,
        *,
        owed: tuple[str, ...] | None = None,
        reason: str | None = None,
    ) -> ControlRecord:
        row, now = table.transition(record.phase, event), self._clock.now()
        update: dict[str, Any] = {
            "number": record.number + 1,
            "phase": row.next,
            "at": now,
            "who": self._who,
        }
        if owed is not None:
            update["owed"] = tuple(dict.fromkeys(owed))
        if reason:
            update["reason"] = reason
        if event is FailoverEvent.FENCED:
            update["fence"] = now
        if row.commits:
            update |= {"epoch": record.epoch + 1, "active": record.target}
        return self._append(_with_sentence(record.model_copy(update=update), row.sentence))

    def _settle(self, record: ControlRecord) -> ControlRecord:
        """Demote the regions that were lost and answer again."""
        for region in record.owed:
            try:
                with step(Step.REGION_DEMOTE):
                    self._driver.demote(region)
            except ProaError as error:
                self._tell(f"{region} is still not to be demoted: {error}")
                continue
            owed = tuple(one for one in record.owed if one != region)
            entry = record.model_copy(
                update={
                    "number": record.number + 1,
                    "owed": owed,
                    "at": self._clock.now(),
                    "who": self._who,
                }
            )
            record = self._append(_with_sentence(entry, f"{region} is back, and is a standby"))
        self._set_roles(record)
        return record

    def _set_roles(self, record: ControlRecord) -> None:
        """Let regions that answer, and are not what the record says, be that again."""
        for region in self._settings.regions:
            if region in record.owed:
                continue  # its demotion was tried, and told: it is not waited for again
            role = role_of(self._driver, region)
            if not isinstance(role, Role) or drift(record, region, role) is None:
                continue
            if region == record.active:
                self._driver.activate(region)
            else:
                try:
                    self._driver.demote(region)
                except UnavailableError as error:  # a standby is not needed
                    self._tell(f"{region} could not be demoted now, `proa resume` will: {error}")
                    continue
            self._tell(f"{region} was set to run as {role}, and runs as the record says again")
        if record.is_steady and self._consumers.drift(record.active):
            self._consumers.repoint(record.active)
            self._tell(f"consumers were sent elsewhere, and are sent to {record.active} again")

    def _append(self, record: ControlRecord) -> ControlRecord:
        written = self._store.append(record)
        self._tell(written.sentence)
        return written

    def roles(self) -> dict[str, Role | ProaError]:
        """How each region is set to run, or why that is not known."""
        return {region: role_of(self._driver, region) for region in self._settings.regions}


def open_controller(
    settings: ProjectSettings,
    folder: Path,
    clock: Clock,
    who: str,
    tell: Tell = lambda _sentence: None,
) -> Controller:
    """The controller of the project in `folder`, with the driver and the view that `proa.yml` asks for."""
    return Controller(
        settings,
        ControlStore.of(settings),
        open_driver(settings, folder),
        open_view(settings, clock),
        clock,
        who,
        consumers=Consumers.of(settings, folder),
        tell=tell,
    )


def drift(record: ControlRecord, region: str, role: Role) -> str | None:
    """Say how a region's role is not what the record says. None when it is, or is being changed."""
    if not record.is_steady or role is Role.UNKNOWN:
        return None
    wanted = Role.ACTIVE if region == record.active else Role.STANDBY
    if role is wanted:
        return None
    return (
        f"{region} is set to run as {role}, and the record says {wanted}: a later apply or an edit has"
        " undone the change. `proa resume` sets active and standby again where it can"
    )


def _unproven(source: str, target: str) -> Proof:
    """What can be said of two regions when the one that was active is given up."""
    sentence = f"{target} took over without a comparison: {source} was given up"
    return Proof(None, f"{sentence}; `proa verify` compares them once it is back")


def _with_sentence(record: ControlRecord, sentence: str) -> ControlRecord:
    text = sentence.format(target=record.target, source=record.source, epoch=record.epoch)
    return record.model_copy(update={"sentence": text})


_EXPLAINED = {
    Action.FENCE: "{source} is stopped, so that {target} can overtake it",
    Action.DRAIN: "{target} processes what has landed there",
    Action.PROVE: "{target} is compared with {source}, table by table, and the report is filed",
    Action.ACTIVATE: "{target} runs all the time",
    Action.REPOINT: "consumers are sent to {target}",
    Action.DEMOTE: "{source} runs by its schedule",
    Action.RESTORE: "{source} runs as before",
}
