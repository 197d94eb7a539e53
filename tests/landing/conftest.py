"""A source, two zones and a shipper between them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from proa.landing import Manifest, Shipper, ShipReport, ShipSource, Zone
from proa.storage import Store
from proa.testing import FakeClock

Location = tuple[str, dict[str, str]]


@dataclass
class World:
    """A source 'orders' and the zones 'a' and 'b'."""

    source: Store
    options: dict[str, str]
    places: dict[str, str]
    clock: FakeClock
    settle: float = 0.0
    event_time: str | None = None
    opened: list[Shipper] = field(default_factory=list)

    def shipper(self, stop: threading.Event | None = None) -> Shipper:
        source = ShipSource("orders", self.source, self.source, self.settle, self.event_time)
        zones = [Zone(name, place, self.options) for name, place in self.places.items()]
        shipper = Shipper(source, zones, self.clock, stop=stop)
        self.opened.append(shipper)
        return shipper

    def ship(self) -> ShipReport:
        """What a new process would do."""
        return self.shipper().ship()

    def zone(self, name: str) -> Store:
        return Store.open(self.places[name], self.options)

    def landed(self, name: str) -> dict[str, bytes]:
        """The data files of a zone, by path below the source's folder."""
        store = self.zone(name)
        return {
            info.path.removeprefix("orders/"): store.get(info.path) for info in store.walk("orders")
        }

    def order(self, name: str | None = None) -> list[str]:
        """The paths in the manifest of a zone, or of the journal, in their order."""
        manifest = Manifest(self.zone(name) if name else self.source, "orders")
        manifest.refresh()
        table = manifest.table()
        assert table["seq"].to_pylist() == list(range(1, manifest.head + 1))
        found: list[str] = table["path"].to_pylist()
        return found


@pytest.fixture
def world(location: Location, clock: FakeClock) -> Iterator[World]:
    yield from _world(location, clock)


@pytest.fixture
def disk(tmp_path: Path, clock: FakeClock) -> Iterator[World]:
    """The world on disk only, where a zone can be taken away."""
    yield from _world((str(tmp_path), {}), clock)


def _world(location: Location, clock: FakeClock) -> Iterator[World]:
    base, options = location
    places = {"a": f"{base}/zone-a", "b": f"{base}/zone-b"}
    world = World(Store.open(f"{base}/source", options), options, places, clock)
    yield world
    for shipper in world.opened:
        shipper.close()


@pytest.fixture
def take_away(disk: World) -> Callable[[str], Callable[[], None]]:
    """Take a zone of `disk` down; returns how to bring it back."""

    def take(name: str) -> Callable[[], None]:
        place = Path(disk.places[name])
        aside = place.with_name(place.name + "-aside")
        if place.exists():
            place.rename(aside)
        place.write_text("a file where the folder was: nothing can be opened here")

        def back() -> None:
            place.unlink()
            if aside.exists():
                aside.rename(place)

        return back

    return take
