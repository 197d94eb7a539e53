"""The control record: which region is active, since which epoch, and what is being changed.

It is a list of numbered entries, each created if absent and never changed, so of two writers at one
point one loses and looks again. The last entry is the state; the list is the history.

The list lies in a third place or, without one, in the storage of every region. Then the longest list
wins, a list that is a beginning of it is completed, and two lists that differ at a number are a conflict
that people decide: nobody can tell which of two halves of the world is the right one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from proa.clock import Clock, SystemClock
from proa.errors import ConflictError, DataError, ProaError, UnavailableError, UnknownOutcome
from proa.settings import ProjectSettings, RecoverySettings
from proa.steps import Step, step
from proa.storage import QUICK_ANSWERS, NotFoundError, Store, is_url

FOLDER = "_proa/control"
_SILENCE_S = 30.0
"""For how long a place in a bucket that did not answer is not asked again."""


class Phase(StrEnum):
    """What a change of roles is at."""

    STEADY = "steady"
    FENCING = "fencing"
    DRAINING = "draining"
    PROVING = "proving"
    PROMOTING = "promoting"
    REPOINTING = "repointing"
    DEMOTING = "demoting"
    RESTORING = "restoring"


class Operation(StrEnum):
    """What is being done."""

    SWITCHOVER = "switchover"
    FAILOVER = "failover"
    FAILBACK = "failback"
    DRILL = "drill"


class ControlRecord(BaseModel):
    """One entry of the record: the state from then on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1
    number: int
    """Entries count from 1."""
    group: str
    epoch: int
    """Grows by one whenever the active region changes."""
    active: str
    """The region whose tables consumers read."""
    phase: Phase = Phase.STEADY
    operation: Operation | None = None
    target: str | None = None
    """The region that is to be active, or practises it."""
    source: str | None = None
    """The region that was active when the operation began."""
    fence: AwareDatetime | None = None
    """Everything that was shipped by then must be processed."""
    began: AwareDatetime | None = None
    """When the operation began."""
    owed: tuple[str, ...] = ()
    """Regions that must be demoted when they answer again."""
    at: AwareDatetime
    """When the entry was written, by the clock of who wrote it."""
    who: str
    reason: str = ""
    """Why, in the words of who asked for it."""
    sentence: str
    """What happened."""

    @property
    def is_steady(self) -> bool:
        """Whether no change of roles is under way."""
        return self.phase is Phase.STEADY

    @property
    def under_way(self) -> str:
        """Say what is under way, and what finishes it. Empty when nothing is."""
        what = f"a {self.operation} to {self.target}"
        if self.is_steady:
            return ""
        if self.phase is Phase.RESTORING:
            return f"{what} is being taken back; `proa resume` finishes that, and {self.active} stays active"
        return f"{what} is under way ({self.phase}); `proa resume` finishes it"


@dataclass(frozen=True)
class ControlPlace:
    """One of the places that hold the record."""

    name: str
    store: Store

    def entry(self, group: str, number: int) -> bytes | None:
        """The bytes of an entry. None when there is no such entry."""
        try:
            return self.store.get(_path(group, number))
        except NotFoundError:
            return None

    def newest(self, group: str) -> int:
        """The number of the last entry; 0 when there is none."""
        numbers = [
            int(stem)
            for info in self.store.walk(f"{FOLDER}/{group}")
            if info.path.count("/") == 3
            and (stem := info.path.rsplit("/", 1)[-1].removesuffix(".json")).isdigit()
        ]
        return max(numbers, default=0)


class ControlStore:
    """The control record of one group, wherever it is held."""

    def __init__(
        self,
        group: str,
        places: Mapping[str, tuple[str, Mapping[str, str]]],
        clock: Clock | None = None,
    ) -> None:
        """`places` are locations with their options, by name. One is enough when it is a third place."""
        self.group = group
        self._locations = dict(places)
        self._clock = clock or SystemClock()
        self._silent_until: dict[str, float] = {}
        self._known: list[ControlRecord] = []
        self.silent: dict[str, ProaError] = {}
        """The places that did not answer at the last `read`."""

    @classmethod
    def of(cls, settings: ProjectSettings) -> ControlStore:
        """The record that `proa.yml` names."""
        recovery = settings.recovery or RecoverySettings()
        return cls(recovery.group, places_of(settings))

    @property
    def is_in_third_place(self) -> bool:
        """Whether one place holds the record for all regions."""
        return len(self._locations) == 1

    def read(self) -> ControlRecord | None:
        """The last entry. None before the first one.

        Completes the lists of places that lack entries. Raises ConflictError when two places differ,
        UnavailableError when no place answers.
        """
        records = self.history()
        return records[-1] if records else None

    def history(self) -> list[ControlRecord]:
        """All entries, oldest first; see `read`."""
        places = self._places()
        newest = {place.name: place.newest(self.group) for place in places}
        last = max(newest.values())
        records: list[ControlRecord] = []
        for number in range(1, last + 1):
            if number <= len(self._known) and self.is_in_third_place:
                records.append(self._known[number - 1])
                continue
            records.append(self._agreed_record(places, newest, number))
        self._known = records
        return records

    def append(self, record: ControlRecord) -> ControlRecord:
        """Write the entry after those that were read. Raises ConflictError when another was first.

        With several places all that answer are written, the record's target and active region first;
        one is enough, the others are completed when they answer again.
        """
        data = record.model_dump_json(exclude_none=True).encode()
        first = {record.target, record.active}
        places = sorted(self._places(), key=lambda place: place.name not in first)
        written = 0
        for place in places:
            try:
                with step(Step.CONTROL_PUT):
                    place.store.create(_path(self.group, record.number), data)
                written += 1
            except ConflictError:
                if place.entry(self.group, record.number) == data:
                    written += 1  # ours, from an attempt whose answer was lost
                elif not written:
                    raise
            except UnknownOutcome:
                if place.entry(self.group, record.number) == data:
                    written += 1
            except UnavailableError as error:
                self.silent[place.name] = error
        if not written:
            raise UnavailableError(
                f"the control record of {self.group!r} could not be written anywhere:"
                f" {'; '.join(map(str, self.silent.values()))}"
            )
        self._known.append(record)
        return record

    def file(self, name: str, report: bytes) -> None:
        """Keep a report beside the record, in every place that answers.

        Raises UnavailableError when none of them takes it.
        """
        refused: list[UnavailableError] = []
        places = self._places()
        for place in places:
            try:
                place.store.put(f"{FOLDER}/{self.group}/reports/{name}.json", report)
            except UnavailableError as error:
                refused.append(error)
        if len(refused) == len(places):
            raise refused[0]

    def reports(self) -> dict[str, bytes]:
        """The reports that were filed, by name, oldest first."""
        found: dict[str, bytes] = {}
        folder = f"{FOLDER}/{self.group}/reports"
        for place in self._places():
            for info in place.store.walk(folder):
                name = info.path.rsplit("/", 1)[-1].removesuffix(".json")
                if name not in found:
                    found[name] = place.store.get(f"{folder}/{name}.json")
        return dict(sorted(found.items()))

    def _places(self) -> list[ControlPlace]:
        known, self.silent = self.silent, {}
        places = []
        for name, (location, options) in self._locations.items():
            if name in known and self._clock.monotonic() < self._silent_until.get(name, 0.0):
                self.silent[name] = known[name]  # a change of roles waits for a lost region once
                continue
            try:
                if not self.is_in_third_place and not is_url(location):
                    _must_be_there(name, location)
                store = Store.open(location, {**QUICK_ANSWERS, **options})
                store.exists(_path(self.group, 1))
                places.append(ControlPlace(name, store))
            except ProaError as error:
                self.silent[name] = error
                if is_url(location) and not self.is_in_third_place:
                    self._silent_until[name] = self._clock.monotonic() + _SILENCE_S
        if not places:
            raise UnavailableError(
                f"no place that holds the control record of {self.group!r} answers:"
                f" {'; '.join(map(str, self.silent.values()))}"
            )
        return places

    def _agreed_record(
        self, places: Sequence[ControlPlace], newest: Mapping[str, int], number: int
    ) -> ControlRecord:
        found = {
            place.name: place.entry(self.group, number)
            for place in places
            if newest[place.name] >= number
        }
        texts = {data for data in found.values() if data is not None}
        if len(texts) != 1:
            raise self._disagree(found, number)
        (data,) = texts
        for place in places:
            if found.get(place.name) is None:
                with suppress(ConflictError, UnavailableError):
                    place.store.create(_path(self.group, number), data)
        try:
            return ControlRecord.model_validate_json(data)
        except ValidationError as error:
            raise DataError(
                f"entry {number} of the control record of {self.group!r} is damaged or written by"
                f" another version of Proa ({error.errors()[0]['msg']}). Use that version. If the file"
                f" {_path(self.group, number)} is the last one and was cut off while it was written or"
                " copied, delete it and run `proa resume`: its step is done again",
                condition="INVALID_CONTROL_RECORD",
            ) from error

    def _disagree(self, found: Mapping[str, bytes | None], number: int) -> ConflictError:
        told = {name: _told_record(data) for name, data in found.items()}
        says = "; ".join(
            f"{name} says {_summary(data, told[name])}" for name, data in found.items()
        )
        damaged = [
            name for name, record in told.items() if record is None and found[name] is not None
        ]
        whole = {found[name] for name, record in told.items() if record is not None}
        if damaged and len(whole) == 1:
            remedy = (
                f"Delete {_path(self.group, number)} in the storage of {' and '.join(damaged)}; the next"
                " command writes it anew from the other"
            )
        else:
            remedy = (
                f"Decide which one is right, and delete the entries from {number} on below"
                f" {FOLDER}/{self.group}/ in the other's storage; a third place (recovery.control in"
                " proa.yml) makes this impossible"
            )
        return ConflictError(
            f"the regions disagree since entry {number} of the control record of {self.group!r}:"
            f" {says}. {remedy}",
            condition="CONTROL_RECORD_CONFLICT",
        )


@dataclass(frozen=True)
class ControlAddress:
    """Where the control record of a group is, as plain data that travels to a worker."""

    group: str
    first: str
    """The region that is active until the record has an entry."""
    places: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)
    """Locations with their options, by name."""

    @classmethod
    def of(cls, settings: ProjectSettings) -> Self:
        """The record that `proa.yml` names."""
        recovery = settings.recovery or RecoverySettings()
        return cls(recovery.group, first_active(settings), places_of(settings))


def places_of(settings: ProjectSettings) -> dict[str, tuple[str, Mapping[str, str]]]:
    """The locations that hold a project's record, with their options, by name."""
    control = (settings.recovery or RecoverySettings()).control
    if control is not None:
        return {"the third place": (control.path, control.options)}
    return {name: (one.storage, one.options) for name, one in settings.regions.items()}


def first_active(settings: ProjectSettings) -> str:
    """The region that is active until the record has an entry. Raises SettingsError."""
    active = (settings.recovery or RecoverySettings()).active or next(iter(settings.regions))
    settings.region(active)
    return active


def first_record(settings: ProjectSettings, now: datetime, who: str) -> ControlRecord:
    """The entry that a group begins with."""
    active = first_active(settings)
    return ControlRecord(
        number=1,
        group=(settings.recovery or RecoverySettings()).group,
        epoch=1,
        active=active,
        at=now,
        who=who,
        sentence=f"{active} is active in epoch 1",
    )


def _told_record(data: bytes | None) -> ControlRecord | None:
    """The record in an entry's bytes. Returns None when there is none, or it cannot be read."""
    try:
        return None if data is None else ControlRecord.model_validate_json(data)
    except ValidationError:
        return None


def _summary(data: bytes | None, record: ControlRecord | None) -> str:
    """What an entry says, for people who must decide between two."""
    if record is None:
        return "nothing" if data is None else f"{len(data)} bytes that are no entry: it is damaged"
    return (
        f"{record.active} is active in epoch {record.epoch} ({record.at.isoformat()}, {record.who})"
    )


def _must_be_there(name: str, location: str) -> None:
    from pathlib import Path

    if not Path(location).is_dir():
        raise UnavailableError(f"the storage of region {name!r} is not there: {location!r}")


def _path(group: str, number: int) -> str:
    return f"{FOLDER}/{group}/{number:010d}.json"
