"""Would a failover work now? Every check is a sentence, and none of them changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from proa.clock import Clock
from proa.errors import ProaError
from proa.recovery.advice import Objectives, cheapest, forecasts
from proa.recovery.by_storage import StoredRegion
from proa.recovery.consumer_targets import Consumers
from proa.recovery.control_record import (
    ControlRecord,
    ControlStore,
    Operation,
    first_record,
)
from proa.recovery.controller import drift
from proa.recovery.driver import Driver, Role
from proa.recovery.measured_rates import measure
from proa.recovery.region_status import RegionStatus, lag_text
from proa.recovery.region_view import RegionsView
from proa.runtime.declared import DeclaredPipeline
from proa.settings import ProjectSettings, RecoverySettings

_NOT_ASKED = "a failover does not ask the active region for anything, a switchover would"


class Level(StrEnum):
    """What a check's answer means."""

    OK = "ok"
    WARNING = "warning"
    """It would work, and something should be looked at."""
    FAILURE = "failure"
    """It would not work, or not as promised."""


@dataclass(frozen=True)
class Check:
    """One answer."""

    name: str
    level: Level
    sentence: str

    def facts(self) -> dict[str, str]:
        """The answer for programs."""
        return {"check": self.name, "level": self.level.value, "sentence": self.sentence}


def checks(  # noqa: PLR0913, PLR0917 - what is looked at
    settings: ProjectSettings,
    store: ControlStore,
    driver: Driver,
    view: RegionsView,
    clock: Clock,
    begin: Callable[[str], None] = lambda _what: None,
) -> Iterator[Check]:
    """Look at everything that a failover needs, one thing after the other.

    `begin` is told what is looked at, before it is: a region that is silent is waited for.
    """
    recovery = settings.recovery or RecoverySettings()
    begin("the control record")
    try:
        history = store.history()
    except ProaError as error:
        yield Check("control record", Level.FAILURE, str(error))
        return
    record = history[-1] if history else None
    yield _record_check(record, store)
    now = clock.now()
    state = record or first_record(settings, now, "nobody")
    active = state.active
    for region in settings.regions:
        begin(f"region {region}")
        yield from _region_checks(region, state, driver, view, recovery, active=region == active)
    begin("what the regions ran last")
    declared = _declared_pipelines(settings)
    yield _texts_check(settings, declared)
    yield _software_check(declared)
    yield _settings_check(settings)
    begin("consumers")
    yield from _consumer_checks(settings, active)
    if recovery.rpo is not None or recovery.rto is not None:
        begin("how fast the regions process")
        yield _objectives_check(settings, recovery, active, history)
    yield _drill_check(history, recovery, now)
    yield _findings_check(settings, declared)


def last_drill(history: list[ControlRecord]) -> ControlRecord | None:
    """The entry that ended the last drill. None when there was no drill."""
    drills = [r for r in history if r.operation is Operation.DRILL and r.is_steady]
    return drills[-1] if drills else None


def _record_check(record: ControlRecord | None, store: ControlStore) -> Check:
    silent = f"; {', '.join(store.silent)} does not answer" if store.silent else ""
    level = Level.WARNING if silent else Level.OK
    if record is None:
        return Check("control record", level, f"nothing was changed yet{silent}")
    if not record.is_steady:
        return Check("control record", Level.FAILURE, f"{record.under_way}{silent}")
    if record.owed:
        sentence = f"{', '.join(record.owed)} is to be demoted; `proa resume` does it"
        return Check("control record", Level.WARNING, f"{sentence}{silent}")
    sentence = f"{record.active} is active in epoch {record.epoch}"
    return Check("control record", level, f"{sentence}{silent}")


def _region_checks(  # noqa: PLR0913 - what is looked at
    region: str,
    record: ControlRecord,
    driver: Driver,
    view: RegionsView,
    recovery: RecoverySettings,
    *,
    active: bool,
) -> Iterator[Check]:
    silent = Level.WARNING if active else Level.FAILURE
    lost = f"; {_NOT_ASKED}" if active else ""
    status = view.status(region)
    if status.error is not None:
        yield Check(f"{region}: storage", silent, f"{status.error}{lost}")
    else:
        lag = status.lag
        late = lag is not None and recovery.rpo is not None and lag > recovery.rpo
        yield Check(f"{region}: storage", Level.WARNING if late else Level.OK, _how_far(status))
    try:
        role = driver.role(region)
    except ProaError as error:
        yield Check(f"{region}: driver", silent, f"{error}{lost}")
        return
    wrong = drift(record, region, role)
    if wrong is not None:
        yield Check(f"{region}: role", Level.FAILURE, wrong)
    else:
        yield Check(f"{region}: role", Level.OK, _ROLES[role])
    if not active and status.error is None:
        loss = view.loss(region)
        over = loss.exceeds(recovery.rpo or 0.0)
        yield Check(f"{region}: loss", Level.WARNING if over else Level.OK, loss.sentence)


_ROLES = {
    Role.ACTIVE: "set to run as the active region",
    Role.STANDBY: "set to run as a standby",
    Role.FENCED: "set not to run at all",
    Role.UNKNOWN: "the driver cannot tell",
}


def _how_far(status: RegionStatus) -> str:
    """Say what a region lacks; an age alone would hide what clocks that disagree make young."""
    backlog = sum(source.backlog_files for source in status.sources)
    parts = [f"{backlog} landed files are not processed"] if backlog else []
    parts += [f"{lag_text(status.lag)} behind"] if status.lag else []
    if parts:
        return ", ".join(parts)
    if any(source.manifest and source.shipped is None for source in status.sources):
        return "everything that has landed is processed; what was shipped is not known"
    return "everything is processed"


def _declared_pipelines(settings: ProjectSettings) -> dict[str, DeclaredPipeline]:
    """What each region's last update wrote down of itself; without those of which nothing is known."""
    declared = {}
    for name, region in settings.regions.items():
        try:
            pipeline = StoredRegion.for_looks(name, region).lineage.declared_pipeline()
        except ProaError:
            continue
        if pipeline.whole:
            declared[name] = pipeline
    return declared


def _texts_check(settings: ProjectSettings, declared: Mapping[str, DeclaredPipeline]) -> Check:
    """Regions that run other files compute other rows."""
    if len(declared) < len(settings.regions):
        lacking = ", ".join(name for name in settings.regions if name not in declared)
        return Check("pipeline", Level.WARNING, f"it is not known which files {lacking} runs")
    if len({pipeline.text for pipeline in declared.values()}) == 1:
        return Check("pipeline", Level.OK, "all regions run the same files")
    first, *others = declared
    other = next(name for name in others if declared[name].text != declared[first].text)
    here, there = declared[first], declared[other]
    more = [
        f"{name} has the file {file!r}, {lacking} has not"
        for name, lacking in ((first, other), (other, first))
        for file in declared[name].files
        if declared[lacking].files and file not in declared[lacking].files
    ]
    more += [
        f"the file {file!r} is another one"
        for file, digest in here.files.items()
        if there.files.get(file, digest) != digest
    ]
    more += [
        f"{name} has {table!r}, {lacking} has not"
        for name, lacking in ((first, other), (other, first))
        for table in declared[name].tables
        if table not in declared[lacking].tables
    ]
    sentence = f"the last updates of {first} and {other} ran other files" + (
        f": {'; '.join(more)}" if more else ""
    )
    return Check("pipeline", Level.FAILURE, f"{sentence}; update both, then `proa verify`")


def _software_check(declared: Mapping[str, DeclaredPipeline]) -> Check:
    """Other versions of an engine or a library may compute other rows."""
    known = {name: pipeline.software for name, pipeline in declared.items() if pipeline.software}
    differing = [
        f"{library} is {' and '.join(f'{one.get(library)} in {name}' for name, one in known.items())}"
        for library in sorted({library for one in known.values() for library in one})
        if len({one.get(library) for one in known.values()}) > 1
    ]
    if differing:
        sentence = f"{'; '.join(differing)}: install the same, then `proa verify`"
        return Check("versions", Level.WARNING, sentence)
    if len(known) < 2:
        return Check(
            "versions",
            Level.WARNING,
            "what each region's engine and libraries are is known after an update of each",
        )
    return Check("versions", Level.OK, "all regions ran the same engine and libraries")


def open_findings(names: Iterable[str]) -> Check:
    """The answer where something depends on where it runs: `names` are findings, as `CLOCK in gold`."""
    sentence = f"regions may compute other rows: {', '.join(names)}; `proa dry-run` says more"
    return Check("findings", Level.WARNING, sentence)


def _findings_check(settings: ProjectSettings, declared: Mapping[str, DeclaredPipeline]) -> Check:
    """What depended on where it ran, in the last update of each region."""
    if settings.dr_safety == "off":
        return Check("findings", Level.OK, "nobody looks for them: `dr_safety` is off")
    known = [one.findings for one in declared.values() if one.findings is not None]
    names = sorted({name for findings in known for name in findings})
    if names:
        return open_findings(names)
    if len(known) < len(settings.regions):
        lacking = [name for name in settings.regions if name not in declared]
        lacking += [name for name, one in declared.items() if one.findings is None]
        sentence = f"what depends on where it runs is known after an update of {', '.join(lacking)}"
        return Check("findings", Level.WARNING, sentence)
    return Check("findings", Level.OK, "nothing depends on where it runs")


def _settings_check(settings: ProjectSettings) -> Check:
    """Settings that one region has and another lacks."""
    regions = settings.regions
    engines = {
        name: "a remote" if one.engine.remote else "the embedded" for name, one in regions.items()
    }
    wrong = []
    if len(set(engines.values())) > 1:
        wrong.append("; ".join(f"{name} has {kind} engine" for name, kind in engines.items()))
    for what in ("configuration", "tables"):
        keys = {name: set(getattr(one, what)) for name, one in regions.items()}
        every = set().union(*keys.values())
        wrong += [
            f"{name} lacks {what}.{key}" for name in regions for key in sorted(every - keys[name])
        ]
    if wrong:
        return Check("settings", Level.WARNING, f"the regions' settings differ: {'; '.join(wrong)}")
    return Check("settings", Level.OK, "all regions have the same settings")


def _consumer_checks(settings: ProjectSettings, active: str) -> Iterator[Check]:
    """Whether what consumers read leads to the active region, and could lead to the others."""
    for state in Consumers.of(settings).states():
        drift_of_it = state.drift(active)
        if state.error is not None:
            yield Check("consumers", Level.FAILURE, f"{state.title}: {state.error}")
        elif drift_of_it is not None:
            yield Check("consumers", Level.WARNING, drift_of_it)
        else:
            yield Check("consumers", Level.OK, f"{state.title} leads to {state.place}")


def _objectives_check(
    settings: ProjectSettings,
    recovery: RecoverySettings,
    active: str,
    history: list[ControlRecord],
) -> Check:
    """Whether any schedule of the standby can meet the objectives."""
    objectives = Objectives(recovery.rpo, recovery.rto)
    standby = next((name for name in settings.regions if name != active), active)
    try:
        measured = measure(settings, standby, history)
    except ProaError as error:
        return Check("objectives", Level.WARNING, str(error))
    best = cheapest(forecasts(measured.arrivals, measured.processing), objectives)
    if best is None:
        sentence = f"no schedule of {standby} meets rpo and rto; `proa advise` says why"
        return Check("objectives", Level.WARNING, sentence)
    how = f"runs all the time ({best.name})" if best.cron is None else f"runs {best.name}"
    return Check("objectives", Level.OK, f"rpo and rto are met if {standby} {how}")


def _drill_check(history: list[ControlRecord], recovery: RecoverySettings, now: datetime) -> Check:
    drill = last_drill(history)
    if drill is None:
        return Check("drill", Level.WARNING, "there was no drill yet; `proa drill` practises one")
    age = (now - drill.at).total_seconds()
    seconds = (drill.at - (drill.began or drill.at)).total_seconds()
    ago = f"was {age / 86_400:.1f} days ago" if age >= 0 else "is dated in the future"
    sentence = f"the last drill {ago} and took {seconds:,.0f} s"
    late = recovery.rto is not None and seconds > recovery.rto
    level = Level.WARNING if late or not 0 <= age <= recovery.drill_every else Level.OK
    return Check("drill", level, sentence)
