"""An incremental comparison is always the whole one, and reads only what is new."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.recovery.compare import Rules, compare
from proa.recovery.kept_sums import KeptSums
from proa.storage import Store

REGIONS = ("east", "west")
ROWS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.5, -0.0, 0.0, None])), max_size=4)
SIDES = st.sampled_from([(0,), (1,), (0, 1)])
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), SIDES, ROWS),
        st.tuples(st.just("replace"), SIDES, ROWS),
        st.tuples(st.sampled_from(["rewrite", "compact", "widen", "forget"]), SIDES, st.just([])),
        st.tuples(st.just("delete"), SIDES, ROWS),
    ),
    min_size=1,
    max_size=7,
)


class Pair:
    """A table in two regions."""

    def __init__(self, folder: Path) -> None:
        self.urls = [f"{folder}/{region}" for region in REGIONS]
        self.sums = Store.open(f"{folder}/sums")
        for url in self.urls:
            write_deltalake(url, batch([(0, 0.5)]))

    def act(self, what: str, side: int, rows: list) -> None:
        url, table = self.urls[side], DeltaTable(self.urls[side])
        if what in {"append", "replace"}:
            mode = "append" if what == "append" else "overwrite"
            schema_mode = "merge" if mode == "append" else "overwrite"
            write_deltalake(url, batch(rows), mode=mode, schema_mode=schema_mode)
        elif what == "rewrite":
            whole = table.to_pyarrow_table().sort_by([("id", "descending")])
            write_deltalake(url, whole, mode="overwrite")
        elif what == "compact":
            table.optimize.compact()
        elif what == "delete":
            for number, _ in rows:
                table.delete(f"id = {number}")
        elif what == "widen":
            wide = batch([(1, 0.5)]).append_column("more", pa.array(["x"]))
            write_deltalake(url, wide, mode="append", schema_mode="merge")
        else:
            for info in self.sums.walk(REGIONS[side]):
                self.sums.delete(info.path)

    def sides(self):
        return tuple(DeltaTable(url).to_pyarrow_dataset() for url in self.urls)


def batch(rows: list) -> pa.Table:
    columns = {"value": pa.array([value for _, value in rows], pa.float64())}
    return pa.table({"id": pa.array([number for number, _ in rows], pa.int64()), **columns})


@pytest.mark.slow
@settings(max_examples=12)
@given(acts=ACTS, ignore=st.sampled_from([(), ("value",), ("more",)]))
def test_an_incremental_answer_is_the_whole_one(acts, ignore, tmp_path_factory):
    pair = Pair(tmp_path_factory.mktemp("pair"))
    rules = Rules(ignore=ignore)
    for what, sides, rows in acts:
        for side in sides:
            pair.act(what, side, rows)
        incremental = KeptSums(pair.sums).compare("orders", REGIONS, pair.sides(), rules)
        assert incremental == compare(*pair.sides(), rules)


@pytest.mark.slow
def test_only_new_files_are_read(tmp_path: Path):
    pair = Pair(tmp_path)
    for number in range(5):
        for side in (0, 1):
            pair.act("append", side, [(number, 0.5)])
    reads = []
    for _ in range(2):
        kept = KeptSums(pair.sums)
        assert kept.compare("orders", REGIONS, pair.sides(), Rules()).equal
        reads.append((kept.read_files, kept.known_files))
        pair.act("append", 0, [(9, 0.5)])
        pair.act("append", 1, [(9, 0.5)])
    assert reads == [(12, 0), (2, 12)]


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b'{"format": 1, "files": {"x": 1}}', b'{"format": 9}']
)
def test_sums_that_cannot_be_read_are_made_again(tmp_path: Path, damage: bytes):
    pair = Pair(tmp_path)
    KeptSums(pair.sums).compare("orders", REGIONS, pair.sides(), Rules())
    for info in list(pair.sums.walk()):
        pair.sums.put(info.path, damage)
    kept = KeptSums(pair.sums)
    assert kept.compare("orders", REGIONS, pair.sides(), Rules()).equal
    assert kept.read_files == 2
