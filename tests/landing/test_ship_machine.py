"""Whatever arrives, fails and dies in whatever order: zones are prefixes of one order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proa.errors import UnavailableError
from proa.landing import Manifest, Shipper, ShipReport, ShipSource, Zone
from proa.steps import Step, probing
from proa.storage import Store
from proa.testing import FakeClock, FaultProbe, Killed, every_fault

FAULTS = [
    fault
    for at in (1, 2, 3)
    for fault in every_fault([step for step in Step if step.startswith("ship.put")], at=at)
]


class Shipping(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.base = Path(tempfile.mkdtemp())
        self.clock = FakeClock()
        self.source = Store.open(str(self.base / "source"))
        self.zones = [Zone(name, str(self.base / name)) for name in "ab"]
        self.down: set[str] = set()
        self.arrived: dict[str, bytes] = {}
        self.shippers = [self.new(), self.new()]

    def new(self) -> Shipper:
        return Shipper(ShipSource("s", self.source, self.source), self.zones, self.clock)

    @rule(count=st.integers(1, 3), folder=st.sampled_from(["", "x/"]))
    def arrive(self, count: int, folder: str):
        for _ in range(count):
            name = f"{folder}{len(self.arrived)}.json"
            self.arrived[name] = name.encode()
            self.source.put(name, self.arrived[name])

    @precondition(lambda self: self.arrived)
    @rule(data=st.data())
    def arrive_again(self, data):
        name = data.draw(st.sampled_from(sorted(self.arrived)))
        self.source.put(name, self.arrived[name])

    @rule(zone=st.sampled_from("ab"))
    def go_down(self, zone: str):
        place = self.base / zone
        if zone not in self.down:
            self.down.add(zone)
            place.mkdir(exist_ok=True)
            place.rename(self.base / f"{zone}-aside")
            place.write_text("in the way")

    @rule(zone=st.sampled_from("ab"))
    def come_back(self, zone: str):
        if zone in self.down:
            self.down.discard(zone)
            (self.base / zone).unlink()
            (self.base / f"{zone}-aside").rename(self.base / zone)

    @rule(which=st.integers(0, 1))
    def ship(self, which: int):
        report = self.shippers[which].ship()
        assert not report.refused
        assert {zone.zone for zone in report.zones if zone.error} == self.down

    @rule(which=st.integers(0, 1), fault=st.sampled_from(FAULTS))
    def ship_and_fail(self, which: int, fault):
        with probing(FaultProbe(fault)):
            try:
                self.shippers[which].ship()
            except UnavailableError:
                pass
            except Killed:
                self.shippers[which] = self.new()

    def order(self, store: Store) -> list[str]:
        paths: list[str] = Manifest(store, "s").table()["path"].to_pylist()
        return paths

    def landed(self, zone: str) -> dict[str, bytes]:
        store = Store.open(str(self.base / zone))
        return {info.path.removeprefix("s/"): store.get(info.path) for info in store.walk("s")}

    @invariant()
    def zones_are_prefixes_of_one_order_and_hold_what_they_list(self):
        order = self.order(self.source)
        assert len(set(order)) == len(order)
        for zone in {"a", "b"} - self.down:
            listed = self.order(Store.open(str(self.base / zone)))
            assert listed == order[: len(listed)]
            landed = self.landed(zone)
            assert set(listed) <= set(landed)
            assert all(self.arrived[path] == content for path, content in landed.items())

    def teardown(self):
        for zone in "ab":
            self.come_back(zone)
        report: ShipReport = self.new().ship()
        assert [zone.error for zone in report.zones] == [None, None]
        assert sorted(self.order(self.source)) == sorted(self.arrived)
        for zone in "ab":
            assert self.order(Store.open(str(self.base / zone))) == self.order(self.source)
            assert self.landed(zone) == self.arrived
        shutil.rmtree(self.base)


TestShipping = Shipping.TestCase
TestShipping.settings = settings(
    max_examples=30,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
