"""The witness: looks at all regions all the time, and changes their roles when it is told to.

Each region is looked at by a thread of its own, so that one that hangs delays nobody. Whoever asks gets the
last look, at once, with its age. A change of roles runs in the background: the control record is its state,
so a witness that dies leaves what `proa resume` finishes.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from proa.clock import Clock
from proa.control.alerts import AlertBook
from proa.control.region_details import RegionDetails, read_details
from proa.errors import ConflictError, ProaError, UserError
from proa.recovery.control_record import (
    ControlRecord,
    ControlStore,
    Operation,
    first_record,
)
from proa.recovery.controller import Controller, Request, Tell, drift
from proa.recovery.driver import Driver, Role, role_of
from proa.recovery.readiness import Check, Level, checks, last_drill
from proa.recovery.region_status import RegionStatus, status_facts
from proa.recovery.region_view import RegionsView
from proa.settings import ProjectSettings, RecoverySettings

RECORD_EVERY_S = 0.5
REGION_EVERY_S = 10.0
DETAILS_EVERY_S = 60.0
STALE_S = 60.0
"""A region of which nothing was heard for so long does not answer."""
RECORD_STALE_S = 10.0
"""A control record that was not read for so long says nothing of now."""
_KEPT_LAGS = 360
_READINESS_S = 30.0
"""For so long the answers of `validate` are given out again."""
_QUICK_S = 2.0
"""How long somebody who asks for a change waits for its end, or for its refusal."""

_log = structlog.get_logger("proa.control")

OpenController = Callable[[str, Tell], Controller]
"""Makes a controller for a user."""


@dataclass(frozen=True)
class RegionLook:
    """What was seen of a region."""

    at: datetime
    status: RegionStatus
    role: Role | ProaError
    details: RegionDetails = field(default_factory=RegionDetails)


@dataclass(frozen=True)
class RecordLook:
    """What was seen of the control record."""

    at: datetime
    history: tuple[ControlRecord, ...] = ()
    error: ProaError | None = None
    failed_drill: bool = False
    """The last drill found the regions different."""


@dataclass
class RoleChange:
    """A change of roles that this witness carries out."""

    what: str
    target: str | None
    who: str
    began: datetime
    sentences: list[str] = field(default_factory=list)
    error: ProaError | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def facts(self) -> dict[str, Any]:
        """The change for programs."""
        return {
            "what": self.what,
            "target": self.target,
            "who": self.who,
            "began": self.began.isoformat(),
            "running": not self.done.is_set(),
            "sentences": list(self.sentences),
            "error": None if self.error is None else str(self.error),
        }


@dataclass
class ReadinessLook:
    """The answers of `proa validate`, as far as they are there."""

    began: datetime
    answers: list[Check] = field(default_factory=list)
    waits_for: str = "the control record"
    """What is looked at now."""
    error: str | None = None
    ended: datetime | None = None
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def ready(self) -> bool | None:
        """Whether a failover would work now. None: not everything was looked at."""
        if not self.done.is_set() or self.error is not None:
            return None
        return all(one.level is not Level.FAILURE for one in self.answers)

    def facts(self) -> dict[str, Any]:
        """The answers for programs."""
        return {
            "ready": self.ready,
            "checks": [one.facts() for one in self.answers],
            "began": self.began.isoformat(),
            "ended": None if self.ended is None else self.ended.isoformat(),
            "waits_for": None if self.done.is_set() else self.waits_for,
            "error": self.error,
        }


class Witness:
    """All regions of one group, seen from a third place."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        settings: ProjectSettings,
        store: ControlStore,
        view: RegionsView,
        open_controller: OpenController,
        alerts: AlertBook,
        *,
        clock: Clock,
        driver: Driver,
        begin: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """`driver` tells how regions are set to run; `begin` runs a change in the background; a thread of its own when None."""
        self.settings = settings
        self.recovery = settings.recovery or RecoverySettings()
        self.clock = clock
        self.driver = driver
        self.alerts = alerts
        self.view = view
        self.store = store
        self._open_controller = open_controller
        self._begin = begin or (lambda job: threading.Thread(target=job, daemon=True).start())
        self.record_look = RecordLook(clock.now(), error=UserError("not looked yet"))
        self.looks: dict[str, RegionLook] = {}
        self.lags: dict[str, deque[tuple[datetime, float]]] = {
            name: deque(maxlen=_KEPT_LAGS) for name in settings.regions
        }
        self.change: RoleChange | None = None
        self._readiness: ReadinessLook | None = None
        self._drills: dict[int, bool] = {}
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._stop = threading.Event()

    # -- looking ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Look all the time, until `stop`."""
        self.look_at_record()
        jobs: list[tuple[float, Callable[[], None]]] = [(RECORD_EVERY_S, self.look_at_record)]
        jobs += [(REGION_EVERY_S, partial(self.look_at, name)) for name in self.settings.regions]
        jobs.append((RECORD_EVERY_S * 4, self.tell))
        for pause, job in jobs:
            threading.Thread(target=self._repeat, args=(job, pause), daemon=True).start()

    def stop(self) -> None:
        """Look no more; returns at once. A change that runs goes on until the process ends."""
        self._stop.set()

    def _repeat(self, job: Callable[[], None], pause: float) -> None:
        while not self._stop.is_set():
            try:
                job()
            except ProaError as error:
                _log.warning("the witness could not look", error=str(error))
            except Exception:  # noqa: BLE001 - whatever a library does, the next look is made
                _log.exception("the witness made a mistake")
            self.clock.wait(pause, self._stop)

    def look_at_record(self) -> None:
        """Read the control record."""
        with self._reading:
            now = self.clock.now()
            try:
                history = self.store.history()
                drill = last_drill(history)
                failed = drill is not None and self._drill_failed(drill)
            except ProaError as error:
                self.record_look = replace(self.record_look, at=now, error=error)
                return
            self.record_look = RecordLook(now, tuple(history), None, failed)

    def look_at(self, region: str) -> None:
        """Look at one region; may take as long as the region likes."""
        status = self.view.status(region)
        role = role_of(self.driver, region)
        now = self.clock.now()
        before = self.looks.get(region)
        details = before.details if before is not None else RegionDetails()
        if details.at is None or (now - details.at).total_seconds() >= DETAILS_EVERY_S:
            details = read_details(self.settings, region, now)
        self.looks[region] = RegionLook(now, status, role, details)
        if status.error is None:
            self.lags[region].append((now, status.waiting))

    def _drill_failed(self, drill: ControlRecord) -> bool:
        """Whether a drill's report says that the regions were different."""
        if drill.number not in self._drills:
            reports = self.store.reports()
            numbers = [int(name) for name in reports if name.isdigit() and int(name) < drill.number]
            report = json.loads(reports[f"{max(numbers):010d}"]) if numbers else {}
            of_drill = report.get("operation") == Operation.DRILL
            self._drills = {drill.number: of_drill and not report.get("equal", True)}
        return self._drills[drill.number]

    # -- what is known --------------------------------------------------------------------------------

    @property
    def record(self) -> ControlRecord:
        """The state now, as far as it was seen."""
        history = self.record_look.history
        return history[-1] if history else first_record(self.settings, self.clock.now(), "witness")

    def active(self) -> str | None:
        """The region that consumers may be sent to. Returns None while nobody knows."""
        look = self.record_look
        if look.error is not None or (self.clock.now() - look.at).total_seconds() > RECORD_STALE_S:
            return None
        return self.record.active

    def silence(self, region: str) -> str | None:
        """Why nothing is known of a region now, as a sentence. Returns None when it answers."""
        look = self.looks.get(region)
        if look is None:
            return f"{region} has not answered yet"
        age = (self.clock.now() - look.at).total_seconds()
        if age > STALE_S:
            return f"{region} has not answered for {age:,.0f} s"
        return None if look.status.error is None else str(look.status.error)

    def standby_lag(self, region: str) -> float | None:
        """For how long the oldest shipment waits in a standby. Returns None for the active and for silent ones."""
        if self.active() is None or region == self.record.active or self.silence(region):
            return None
        return self.looks[region].status.waiting

    def wrong(self) -> dict[str, str]:
        """What is wrong now: a sentence by alert."""
        wrong: dict[str, str] = {}
        look = self.record_look
        if look.error is not None:
            is_conflict = look.error.condition == "CONTROL_RECORD_CONFLICT"
            wrong["conflict" if is_conflict else "record"] = str(look.error)
        if self.alerts.unwritten is not None:
            wrong["store"] = f"the third place takes no writes: {self.alerts.unwritten}"
        if look.failed_drill:
            wrong["drill"] = (
                "the last drill found the regions different; `proa verify` shows the rows"
            )
        if self.change is not None and self.change.error is not None:
            wrong["change"] = f"the {self.change.what} did not end: {self.change.error}"
        for region, seen in self.looks.items():
            if (sentence := self.silence(region)) is not None:
                wrong[f"silent:{region}"] = sentence
                continue
            rpo = self.recovery.rpo
            if rpo is not None and seen.status.waiting > rpo:
                wrong[f"lag:{region}"] = (
                    f"shipments wait in {region} for longer than rpo allows ({rpo:,.0f} s)"
                )
            if isinstance(seen.role, Role) and look.error is None:
                gone = drift(self.record, region, seen.role) if look.history else None
                if gone is not None:
                    wrong[f"drift:{region}"] = gone
        return wrong

    def tell(self) -> None:
        """Raise and clear alerts, and deliver what waits."""
        self.alerts.update(self.wrong())
        self.alerts.deliver()

    def facts(self) -> dict[str, Any]:
        """Everything for programs."""
        record = self.record
        return {
            "group": record.group,
            "record": record.model_dump(mode="json"),
            "record_error": None if self.record_look.error is None else str(self.record_look.error),
            "regions": [self._region_facts(region) for region in self.settings.regions],
            "alerts": {
                name: {"since": one.since.isoformat(), "sentence": one.sentence}
                for name, one in self.alerts.state.raised.items()
            },
            "undelivered": [
                {
                    "channel": one.channel,
                    "alert": one.notice.alert,
                    "tries": one.tries,
                    "error": one.error,
                }
                for one in self.alerts.state.waiting
            ],
            "change": None if self.change is None else self.change.facts(),
        }

    def _region_facts(self, region: str) -> Mapping[str, Any]:
        look = self.looks.get(region)
        known = {} if look is None else status_facts(look.status)
        return {
            **known,
            "region": region,
            "active": region == self.record.active,
            "role": str(look.role) if look is not None and isinstance(look.role, Role) else None,
            "waiting_s": None if look is None else look.status.waiting,
            "seen": None if look is None else look.at.isoformat(),
            "error": self.silence(region),
        }

    def validate(self, *, again: bool = False) -> ReadinessLook:
        """Would a failover work now? Returns within two seconds, with the answers that are there by then.

        Whoever asks meanwhile, or within half a minute after its end, gets the same look: a silent region
        is waited for once. `again` begins another one, unless one is under way.
        """
        with self._lock:
            now, look = self.clock.now(), self._readiness
            is_old = (
                look is not None
                and look.ended is not None
                and (again or (now - look.ended).total_seconds() > _READINESS_S)
            )
            begins = look is None or is_old
            if look is None or is_old:
                look = self._readiness = ReadinessLook(now)
        if begins:
            self._begin(partial(self._look_at_readiness, look))
        self.clock.wait(_QUICK_S, look.done)
        return look

    def _look_at_readiness(self, look: ReadinessLook) -> None:
        def begin(what: str) -> None:
            look.waits_for = what

        try:
            for answer in checks(
                self.settings, self.store, self.driver, self.view, self.clock, begin
            ):
                look.answers.append(answer)
        except ProaError as error:
            look.error = str(error)
        except Exception as error:  # noqa: BLE001 - it is shown, and the next look may work
            look.error = f"a mistake: {error!r}; the log of the witness says more"
            _log.exception("the witness made a mistake")
        finally:
            look.ended = self.clock.now()
            look.done.set()

    # -- changing -------------------------------------------------------------------------------------

    def explain(self, request: Request) -> list[str]:
        """What a change would do, sentence by sentence. Changes nothing."""
        return self._open_controller("witness", lambda _sentence: None).explain(request)

    def former(self) -> str:
        """The region that was active before: where a failback goes."""
        return self._open_controller("witness", lambda _sentence: None).former()

    def confirmation(self, request: Request) -> str:
        """What must be sent with a change, so that it is the one that was explained and nothing has happened since."""
        record = self._open_controller("witness", lambda _sentence: None).record()
        text = f"{record.number}|{request.operation}|{request.target}|{request.max_loss}|{request.force}"
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def begin(self, request: Request, who: str) -> RoleChange:
        """Begin a change that was confirmed; returns when it has ended, or after two seconds.

        Raises what the change raised if it has failed by then, ConflictError while another one runs.
        """
        return self._run(
            request.operation.value,
            request.target,
            who,
            lambda controller: controller.begin(request),
        )

    def resume(self, who: str) -> RoleChange:
        """Finish what is under way; as `begin`."""
        return self._run("resume", None, who, lambda controller: controller.resume())

    def cancel(self, who: str, reason: str = "") -> RoleChange:
        """Take back what is under way; as `begin`."""
        return self._run("cancel", None, who, lambda controller: controller.cancel(reason))

    def _run(
        self, what: str, target: str | None, who: str, work: Callable[[Controller], ControlRecord]
    ) -> RoleChange:
        change = RoleChange(what, target, who, self.clock.now())
        with self._lock:
            if self.change is not None and not self.change.done.is_set():
                raise ConflictError(
                    f"a {self.change.what} runs here since {self.change.began.isoformat()};"
                    " wait for its end",
                    condition="CHANGE_UNDER_WAY",
                )
            before, self.change = self.change, change

        def job() -> None:
            try:
                work(self._open_controller(who, change.sentences.append))
            except ProaError as error:
                change.error = error
                _log.warning("a change of roles did not end", what=what, error=str(error))
            except Exception as error:  # noqa: BLE001 - it is shown, and the next one may work
                change.error = ProaError(f"a mistake: {error!r}; the log of the witness says more")
                _log.exception("a change of roles made a mistake", what=what)
            finally:
                change.done.set()

        self._begin(job)
        self.clock.wait(_QUICK_S, change.done)
        self.look_at_record()
        if change.error is not None:
            if self.record.is_steady:
                self.change = before  # it was refused: nothing is under way
            raise change.error
        return change
