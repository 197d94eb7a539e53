"""ActiveRegion, which follows the control record: what is served never goes back.

Each place that holds the record is looked at by itself, so that one that hangs delays no other. The gateway
only reads the record; it never completes or repairs it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from proa.clock import Clock
from proa.errors import ConflictError, ProaError, UnavailableError, UnknownOutcome
from proa.recovery.control_record import ControlRecord, ControlStore, first_record
from proa.settings import ProjectSettings, RecoverySettings
from proa.storage import Store, is_url

_EPOCHS = "epochs"
_WHO = "gateway"


@dataclass(frozen=True)
class Serving:
    """What is served."""

    region: str
    epoch: int


class EpochMemory:
    """The newest epoch that was ever served, kept where the gateway's recipients are."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_loaded = False
        self.highest = 0

    def refresh(self) -> None:
        """Look what other gateways have served.

        Raises UnavailableError when it cannot be read, and never was; later, what is known is enough.
        """
        try:
            self._load()
        except UnavailableError:
            if not self._is_loaded:
                raise

    def _load(self) -> None:
        stems = (info.path.rsplit("/", 1)[-1] for info in self._store.walk(_EPOCHS))
        self.highest = max([self.highest, *(int(stem) for stem in stems if stem.isdigit())])
        self._is_loaded = True

    def remember(self, epoch: int) -> None:
        """Keep an epoch before it is served. Raises UnavailableError when it cannot be kept."""
        if epoch <= self.highest:
            return
        path = f"{_EPOCHS}/{epoch:010d}"
        try:
            with suppress(ConflictError):
                self._store.create(path, b"")
        except UnknownOutcome:
            if not self._store.exists(path):
                raise
        self.highest = epoch


@dataclass(frozen=True)
class _Look:
    """What a place said, and when."""

    at: float
    records: Sequence[ControlRecord]


class ActiveRegion:
    """Says which region is served now, from looks at the places that hold the control record."""

    def __init__(self, settings: ProjectSettings, memory: EpochMemory, clock: Clock) -> None:
        recovery = settings.recovery or RecoverySettings()
        self._settings = settings
        self._memory = memory
        self._clock = clock
        self._grace = settings.gateway.grace
        self._locations: dict[str, tuple[str, Mapping[str, str]]] = (
            {"the third place": (recovery.control.path, recovery.control.options)}
            if recovery.control is not None
            else {name: (one.storage, one.options) for name, one in settings.regions.items()}
        )
        self._stores = {
            name: ControlStore(recovery.group, {name: place})
            for name, place in self._locations.items()
        }
        self._is_third_place = recovery.control is not None
        self._looks: dict[str, _Look] = {}
        self._why: dict[str, str] = {}
        self._served: Serving | None = None
        self._refusal: ProaError | None = None
        self._lock = threading.Lock()

    @property
    def places(self) -> Sequence[str]:
        """The places that are to be looked at, again and again."""
        return tuple(self._locations)

    def look(self, place: str) -> None:
        """Read the record in a place and decide what is served. Never raises a ProaError."""
        at = self._clock.monotonic()
        try:
            records = self._records(place)
        except ProaError as error:
            self._why[place] = str(error)
        else:
            self._looks[place] = _Look(at, records)
        with self._lock:
            try:
                self._memory.refresh()
                self._served, self._refusal = self._decide(), None
            except ProaError as error:
                self._served, self._refusal = None, error

    def serving(self) -> Serving:
        """The region and epoch that are served now. Raises UnavailableError when none may be."""
        refusal, served = self._refusal, self._served
        if refusal is not None:
            raise UnavailableError(str(refusal)) from refusal
        if served is None or not self._fresh_looks():
            raise self._unreadable()
        return served

    def region_in(self, epoch: int) -> str | None:
        """The region that was active in an epoch. Returns None for one that is not known."""
        records = self._longest()
        if not records:
            return self._first().active if epoch == 1 else None
        return next((entry.active for entry in records if entry.epoch == epoch), None)

    def _records(self, place: str) -> Sequence[ControlRecord]:
        """The entries in a place. Makes nothing. Raises UnavailableError when it does not answer."""
        location, _ = self._locations[place]
        if not is_url(location) and not Path(location).is_dir():
            if self._is_third_place and not Path(location).exists():
                return ()  # nothing was ever changed; what was served is remembered elsewhere
            raise UnavailableError(f"{place} is not there: {location!r}")
        return self._stores[place].history()

    def _decide(self) -> Serving:
        looks = self._fresh_looks()
        if not looks:
            raise self._unreadable()
        longest = max(looks.values(), key=lambda look: len(look.records)).records
        for place, look in looks.items():
            count = len(look.records)
            # A list only grows, so two lists with one last common entry have one beginning.
            if count and look.records[-1] != longest[count - 1]:
                raise UnavailableError(
                    f"the regions disagree who is active: {place} says"
                    f" {look.records[-1].active!r} in entry {count} of the control record;"
                    " `proa history` says how to decide it"
                )
        record = longest[-1] if longest else self._first()
        if record.active not in self._settings.regions:
            raise UnavailableError(
                f"the control record says that {record.active!r} is active, and the gateway's proa.yml"
                " has no such region; give it the current file"
            )
        if record.epoch < self._memory.highest:
            raise UnavailableError(
                f"the control record that can be read ends with epoch {record.epoch}, and epoch"
                f" {self._memory.highest} was served already; nothing older is served"
            )
        self._memory.remember(record.epoch)
        return Serving(record.active, record.epoch)

    def _longest(self) -> Sequence[ControlRecord]:
        looks = list(self._looks.values())
        return max((look.records for look in looks), key=len, default=())

    def _fresh_looks(self) -> dict[str, _Look]:
        now = self._clock.monotonic()
        return {
            place: look for place, look in list(self._looks.items()) if now - look.at <= self._grace
        }

    def _first(self) -> ControlRecord:
        return first_record(self._settings, self._clock.now(), _WHO)

    def _unreadable(self) -> UnavailableError:
        why = "; ".join(self._why.values()) or "no place has answered yet"
        return UnavailableError(f"which region is active cannot be read: {why}")
