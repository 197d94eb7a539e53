"""The manifest is contiguous, created and never replaced, and read fast however long it is."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.errors import ConflictError, DataError, UnavailableError
from proa.landing import Manifest, Shipment, ShippedFile
from proa.landing.manifest import FOLDER, LOOSE_SHIPMENTS, SCHEMA, microseconds
from proa.steps import Step, probing
from proa.storage import Store
from proa.testing import FaultProbe, Killed, every_fault

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = st.timedeltas(timedelta(), timedelta(80_000)).map(lambda gone: EPOCH + gone)


def shipment(first: int, count: int = 1) -> Shipment:
    files = tuple(
        ShippedFile(path=f"{seq}.json", size=seq, sha256=f"{seq:064x}", modified=NOON)
        for seq in range(first, first + count)
    )
    return Shipment(first=first, shipped_at=NOON + timedelta(seconds=first), files=files)


def fill(manifest: Manifest, shipments: int, *, compact: bool = True) -> None:
    manifest.refresh()
    for _ in range(shipments):
        manifest.append(shipment(manifest.head + 1))
        if compact:
            manifest.compact()


def segments(store: Store) -> list[str]:
    return sorted(info.path for info in store.walk(f"{FOLDER}/orders/segments"))


@given(
    st.builds(
        ShippedFile,
        path=st.text(st.characters(exclude_categories=("Cs",)), min_size=1),
        size=st.integers(0, 2**50),
        sha256=st.integers(0, 2**256 - 1).map("{:064x}".format),
        modified=TIMES,
        event_min=st.none() | TIMES,
        event_max=st.none() | TIMES,
    ),
    st.integers(1, 2**40),
)
def test_a_shipment_is_read_as_it_was_written(file: ShippedFile, first: int):
    written = Shipment(first=first, shipped_at=NOON, files=(file, file))
    read = Shipment.model_validate_json(written.encode())
    assert read == written
    assert read.encode() == written.encode()
    assert read.last == first + 1


def test_shipments_follow_one_another(store: Store):
    manifest = Manifest(store, "orders")
    manifest.refresh()
    manifest.append(shipment(1, 3))
    manifest.append(shipment(4, 2))
    again = Manifest(store, "orders")
    assert [one.first for one in again.refresh()] == [1, 4]
    assert again.head == 5
    assert again.table().schema == SCHEMA
    assert again.table()["path"].to_pylist() == [f"{seq}.json" for seq in range(1, 6)]
    assert again.refresh() == []


def test_the_loser_at_one_number_sees_a_conflict(store: Store):
    one, other = Manifest(store, "orders"), Manifest(store, "orders")
    one.refresh()
    other.refresh()
    one.append(shipment(1, 2))
    with pytest.raises(ConflictError):
        other.append(shipment(1))
    assert other.refresh() == [shipment(1, 2)]
    other.append(shipment(3))


def test_sources_do_not_share_a_manifest(store: Store):
    fill(Manifest(store, "orders"), 2)
    other = Manifest(store, "order")
    assert (other.refresh(), other.head) == ([], 0)


def test_an_empty_manifest_is_an_empty_table(store: Store):
    table = Manifest(store, "orders").table()
    assert (table.num_rows, table.schema) == (0, SCHEMA)


def test_many_shipments_are_gathered_in_few_segments(tmp_path):
    store = Store.open(str(tmp_path))
    manifest = Manifest(store, "orders")
    count = 20 * LOOSE_SHIPMENTS + 5
    fill(manifest, count)
    assert len(segments(store)) <= 5
    fresh = Manifest(store, "orders")
    assert len(fresh.refresh()) < LOOSE_SHIPMENTS
    assert fresh.head == manifest.head == count
    for one in (fresh, manifest):
        assert one.table()["seq"].to_pylist() == list(range(1, count + 1))


def test_a_reader_finds_what_was_merged_meanwhile(tmp_path):
    store = Store.open(str(tmp_path))
    writer, reader = Manifest(store, "orders"), Manifest(store, "orders")
    fill(writer, LOOSE_SHIPMENTS)
    reader.refresh()
    before = segments(store)
    fill(writer, 3 * LOOSE_SHIPMENTS)
    assert not set(before) & set(segments(store))
    assert reader.table()["seq"].to_pylist() == list(range(1, 4 * LOOSE_SHIPMENTS + 1))


def test_two_who_compact_at_once_lose_nothing(tmp_path):
    store = Store.open(str(tmp_path))
    one, other = Manifest(store, "orders"), Manifest(store, "orders")
    fill(one, LOOSE_SHIPMENTS + 3, compact=False)
    other.refresh()
    threads = [threading.Thread(target=each.compact) for each in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh = Manifest(store, "orders")
    assert fresh.table()["seq"].to_pylist() == list(range(1, LOOSE_SHIPMENTS + 4))


@pytest.mark.parametrize("fault", every_fault([Step.SHIP_COMPACT]), ids=str)
def test_nothing_is_lost_when_compacting_fails(tmp_path, fault):
    store = Store.open(str(tmp_path))
    fill(Manifest(store, "orders"), LOOSE_SHIPMENTS)
    with probing(FaultProbe(fault)), pytest.raises((Killed, UnavailableError)):
        fill(Manifest(store, "orders"), LOOSE_SHIPMENTS)
    fill(Manifest(store, "orders"), LOOSE_SHIPMENTS)
    count = 3 * LOOSE_SHIPMENTS
    assert Manifest(store, "orders").table()["seq"].to_pylist() == list(range(1, count + 1))


def test_overlapping_segments_are_read_once(tmp_path):
    store = Store.open(str(tmp_path))
    manifest = Manifest(store, "orders")
    fill(manifest, LOOSE_SHIPMENTS)
    (short,) = segments(store)
    content = store.get(short)
    fill(manifest, 2 * LOOSE_SHIPMENTS)
    store.put(short, content)
    fresh = Manifest(store, "orders")
    assert fresh.table()["seq"].to_pylist() == list(range(1, 3 * LOOSE_SHIPMENTS + 1))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"format": 1}',
        shipment(2).encode(),
        shipment(1).encode().replace(b'"format":1', b'"format":2'),
        shipment(1).encode().replace(b'"sha256":"0', b'"sha256":"X'),
        shipment(1).encode().replace(b'"size":1', b'"size":-1'),
    ],
)
def test_a_damaged_entry_is_named(store: Store, content: bytes):
    store.put(f"{FOLDER}/orders/{1:020d}.json", content)
    with pytest.raises(DataError, match=r"_proa/manifest/orders/0{19}1\.json"):
        Manifest(store, "orders").refresh()


def test_a_damaged_segment_is_named(tmp_path):
    store = Store.open(str(tmp_path))
    fill(Manifest(store, "orders"), LOOSE_SHIPMENTS)
    (path,) = segments(store)
    store.put(path, b"not parquet")
    with pytest.raises(DataError, match=r"delete it, it is only a copy"):
        Manifest(store, "orders").table()
    store.delete(path)
    assert Manifest(store, "orders").table().num_rows == LOOSE_SHIPMENTS


@given(TIMES)
def test_microseconds_are_exact(moment: datetime):
    assert EPOCH + timedelta(microseconds=microseconds(moment)) == moment
