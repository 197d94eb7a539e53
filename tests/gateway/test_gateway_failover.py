"""What consumers read over a failover: never an older epoch, never a smaller version, never a wrong row."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gateway_world import TABLES, lines_of, new_world, numbers
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from proa.gateway.shared_versions import SPAN, parse_version, shared_version
from proa.steps import Step, probing
from proa.testing import FakeClock

ORDERS = f"{TABLES}/orders"
REGIONS = st.sampled_from(["east", "west"])


@pytest.fixture
def shop(world):
    """Orders in both regions, cut differently: three versions in the east, one in the west."""
    world.declare("orders")
    for first in (1, 4, 7):
        world.write("east", "orders", numbers(first, first + 2))
    world.write("west", "orders", numbers(1, 9))
    world.look()
    return world


def shown_version(client) -> int:
    answer = client.get(f"{ORDERS}/version")
    assert answer.status_code == 200, answer.text
    return int(answer.headers["delta-table-version"])


def is_unavailable(answer) -> bool:
    """Whether it is the answer of a gateway that serves nothing now."""
    if answer.status_code != 503:
        return False
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["errorCode"] == "TEMPORARILY_UNAVAILABLE"
    return True


def cut_off(world) -> None:
    """Let the place of the control record be there no more, with something else instead."""
    (world.base / "control").rename(world.base / "control-cut-off")
    (world.base / "control").touch()


def test_a_number_says_epoch_and_version():
    assert shared_version(1, 57) == 57
    assert shared_version(3, 57) == 2_000_000_057
    assert parse_version(2_000_000_057) == (3, 57)


def test_the_other_region_is_served_after_one_look_and_versions_grow(shop):
    client = shop.client()
    assert shown_version(client) == 2
    before = lines_of(client.get(f"{ORDERS}/metadata"))[1]["metaData"]["id"]
    shop.promote("west")
    shop.look()
    assert shown_version(client) == SPAN
    assert lines_of(client.get(f"{ORDERS}/metadata"))[1]["metaData"]["id"] == before
    assert client.get("/ready").json() == {"status": "ready", "region": "west", "epoch": 2}


def test_versions_of_the_other_region_are_refused_and_good_again_after_the_failback(shop):
    client = shop.client()
    shop.promote("west")
    shop.look()
    answer = client.post(f"{ORDERS}/query", json={"version": 1})
    assert answer.status_code == 400
    assert "another region" in answer.json()["message"]
    answer = client.post(f"{ORDERS}/query", json={"startingVersion": 1})
    assert f"from version {SPAN} on" in answer.json()["message"]
    shop.promote("east")
    shop.look()
    lines = lines_of(client.post(f"{ORDERS}/query", json={"version": 1}))
    assert len(lines) == 4
    assert shown_version(client) == 2 * SPAN + 2


def test_a_lost_region_is_503_at_once_and_its_return_is_seen(shop):
    client = shop.client()
    shop.lose("east")
    shop.look()
    for path in (f"{ORDERS}/version", "/delta-sharing/shares", "/ready"):
        assert is_unavailable(client.get(path))
    assert client.get("/health").is_success
    shop.give_back("east")
    shop.look()
    assert shown_version(client) == 2


def test_a_region_that_was_lost_this_moment_is_not_taken_for_one_without_tables(shop):
    client = shop.client()
    assert shown_version(client) == 2
    shop.lose("east")
    assert is_unavailable(client.get(f"{ORDERS}/version"))
    assert not (shop.base / "east" / "storage").exists()


class _HangingStore:
    """A probe that keeps every read of a store waiting until the test lets it go."""

    def __init__(self) -> None:
        self.reached, self.let_go = threading.Event(), threading.Event()

    def before(self, step: Step) -> None:
        if step is Step.STORE_READ:
            self.reached.set()
            assert self.let_go.wait(30)

    def after(self, step: Step) -> None:
        pass


def test_a_region_that_hangs_is_refused_without_waiting_for_it(shop):
    client, region, store = shop.client(), shop.gateway.regions["east"], _HangingStore()
    with probing(store):
        looking = threading.Thread(target=region.look)
        looking.start()
        assert store.reached.wait(30)
        assert client.get("/ready").is_success
        shop.clock.advance(6)
        assert is_unavailable(client.get("/ready"))
        store.let_go.set()
        looking.join()
    assert client.get("/ready").is_success


def test_a_lost_standby_disturbs_nobody(shop):
    shop.lose("west")
    shop.look()
    assert shown_version(shop.client()) == 2


def test_a_gateway_that_starts_anew_serves_nothing_older_than_it_did(tmp_path, clock):
    world = new_world(tmp_path, clock, third_place=False)
    world.declare("orders")
    for region in ("east", "west"):
        world.write(region, "orders", numbers(1, 3))
    world.promote("east")  # epoch 2; both regions know
    world.lose("east")
    world.promote("west")  # epoch 3; the east does not know
    world.look()
    assert shown_version(world.client()) == 2 * SPAN
    world.give_back("east")
    world.lose("west")
    world.restart()  # only the east's old record can be read now
    assert is_unavailable(world.client().get(f"{ORDERS}/version"))
    world.give_back("west")
    world.look()
    assert shown_version(world.client()) == 2 * SPAN


def test_what_another_gateway_has_served_is_not_gone_below(shop):
    other = new_world(shop.base, shop.clock, ids=shop.ids)
    shop.promote("west")
    other.look()
    cut_off(shop)
    shop.look()  # this one cannot read the record, but the state
    assert is_unavailable(shop.client().get(f"{ORDERS}/version"))


def test_a_third_place_that_nobody_has_written_to_yet_is_no_obstacle(tmp_path, clock):
    world = new_world(tmp_path, clock)
    world.declare("orders")
    world.write("east", "orders", numbers(1, 3))
    (tmp_path / "control").rmdir()
    world.restart()
    assert shown_version(world.client()) == 0
    assert not (tmp_path / "control").exists()


def test_a_record_that_cannot_be_read_is_believed_for_a_while(shop):
    client = shop.client()
    cut_off(shop)
    shop.look()
    assert shown_version(client) == 2
    shop.clock.advance(11)
    shop.look()
    assert is_unavailable(client.get(f"{ORDERS}/version"))
    assert "cannot be read" in client.get(f"{ORDERS}/version").json()["message"]


def test_regions_that_disagree_are_not_served(tmp_path, clock):
    world = new_world(tmp_path, clock, third_place=False)
    world.declare("orders")
    world.write("east", "orders", numbers(1, 3))
    world.promote("east")
    for region, other in (("east", "west"), ("west", "east")):
        world.lose(other)
        world.promote(region)
        world.give_back(other)
        world.control = type(world.control).of(world.settings)
        entry = next((tmp_path / region / "storage/_proa/control/default").glob("*3.json"))
        entry.rename(entry.with_suffix(".aside"))
    for region in ("east", "west"):
        entry = next((tmp_path / region / "storage/_proa/control/default").glob("*3.aside"))
        entry.rename(entry.with_suffix(".json"))
    world.look()
    answer = world.client().get(f"{ORDERS}/version")
    assert is_unavailable(answer)
    assert "disagree" in answer.json()["message"]


def test_a_table_that_begins_anew_is_not_served_below_what_was_seen(shop):
    client = shop.client()
    assert shown_version(client) == 2
    shutil.rmtree(shop.base / "east" / "storage" / "tables" / "orders")
    shop.write("east", "orders", numbers(1, 1))
    shop.look()
    answer = client.get(f"{ORDERS}/version")
    assert is_unavailable(answer)
    assert "begun anew" in answer.json()["message"]
    shop.promote("west")
    shop.look()
    assert shown_version(client) == SPAN


class Consumers(RuleBasedStateMachine):
    """Failovers, losses, restarts and commits in any order, and a consumer that reads in between."""

    @initialize(third_place=st.booleans())
    def begin(self, third_place) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.world = new_world(Path(self.folder.name), FakeClock(), third_place=third_place)
        self.world.declare("orders")
        self.rows = dict.fromkeys(("east", "west"), 0)
        for region in self.rows:
            self.commit(region, 1)
        self.world.look()
        self.client = self.world.client()
        self.lost: str | None = None
        self.seen = (0, -1)
        """The newest epoch and version that the consumer has seen."""

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def commit(self, region, count) -> None:
        first = self.rows[region] + 1
        self.world.write(region, "orders", numbers(first, first + count - 1))
        self.rows[region] += count

    @rule(region=REGIONS, count=st.integers(1, 3))
    def files_arrive(self, region, count) -> None:
        if region != self.lost:
            self.commit(region, count)

    @rule(region=REGIONS)
    def promote(self, region) -> None:
        active = self.world.control.read()
        if region != self.lost and (active is None or active.active != region):
            self.world.promote(region)

    @precondition(lambda self: self.lost is None)
    @rule(region=REGIONS)
    def lose(self, region) -> None:
        self.world.lose(region)
        self.lost = region

    @precondition(lambda self: self.lost is not None)
    @rule()
    def give_back(self) -> None:
        self.world.give_back(self.lost)
        self.lost = None

    @rule()
    def look(self) -> None:
        self.world.look()

    @rule(place=st.integers(0, 1))
    def look_at_one_place(self, place) -> None:
        places = self.world.gateway.active.places
        self.world.gateway.active.look(places[place % len(places)])

    @rule()
    def restart(self) -> None:
        self.world.restart()
        self.client = self.world.client()

    @rule(seconds=st.sampled_from([1, 11]))
    def time_passes(self, seconds) -> None:
        self.world.clock.advance(seconds)

    @rule()
    def the_consumer_loads(self) -> None:
        answer = self.client.post(f"{ORDERS}/query", json={})
        if is_unavailable(answer):
            return
        seen = parse_version(int(answer.headers["delta-table-version"]))
        assert seen >= self.seen
        self.seen = seen
        region = self.world.gateway.active.region_in(seen[0])
        ids: list[int] = []
        for line in lines_of(answer)[2:]:
            file = self.client.get(line["file"]["url"])
            if file.status_code != 200:
                assert region == self.lost
                return
            ids += pq.read_table(pa.BufferReader(file.content))["id"].to_pylist()
        assert sorted(ids) == list(range(1, self.rows[region] + 1))

    @precondition(lambda self: self.lost is None)
    @rule()
    def when_all_is_well_the_newest_epoch_is_served(self) -> None:
        self.world.control.read()  # the controller completes the places that lack entries
        self.world.look()
        record = self.world.control.read()
        epoch, active = (1, "east") if record is None else (record.epoch, record.active)
        ready = self.client.get("/ready").json()
        assert (ready["epoch"], ready["region"]) == (epoch, active)


TestConsumers = pytest.mark.slow(Consumers.TestCase)
TestConsumers.settings = settings(max_examples=25, stateful_step_count=15)
