"""The answer is that of an oracle that knows every file, whatever the tables have read and when."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.autoloader.file_ref import FileRef
from proa.graph import DatasetLeaf, FilesLeaf
from proa.recovery import read_caught_up
from proa.runtime.checkpoint import FilesInput, TableInput
from proa.runtime.declared import (
    DeclaredFlow,
    DeclaredPipeline,
    DeclaredTable,
    write_declared,
)
from proa.testing import FakeClock
from two_region_project import SCHEMA, Project, event, new_project

READS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "bronze": {"bronze": ()},
    "picked": {"picked": ()},
    "silver": {"silver": ("bronze",)},
    "both": {"from_bronze": ("bronze",), "from_picked": ("picked",)},
    "snap": {"once": ("bronze",)},
    "late": {"late": ("snap",)},
    "gold": {"gold": ("silver", "both")},
}
"""The declared tables: by flow, the tables that it reads. `bronze` reads every file, `picked` those
whose number is even; `once` runs once; `gold` is recomputed; the others are streams."""

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("ship"), st.lists(st.booleans(), min_size=1, max_size=3)),
        st.tuples(st.just("run"), st.sampled_from(list(READS)), st.integers(1, 3)),
    ),
    min_size=1,
    max_size=14,
)


@dataclass
class Oracle:
    """What every version of every table was made from."""

    has_rows: dict[int, bool] = field(default_factory=dict)
    shipped: list[tuple[float, int]] = field(default_factory=list)
    """(seconds, file), in order."""
    versions: dict[str, list[tuple[bool, dict[str, set[int]], dict[str, int]]]] = field(
        default_factory=lambda: {table: [] for table in READS}
    )
    """By table and version: whether it has rows, the files read, and the positions, by flow."""

    def position(self, table: str, flow: str, upstream: str) -> int:
        """The version of `upstream` that a flow has read, or one that holds the same rows."""
        read = next(
            (
                at[f"{flow}:{upstream}"]
                for _, _, at in reversed(self.versions[table])
                if f"{flow}:{upstream}" in at
            ),
            -1,
        )
        return self.moved(upstream, read)

    def moved(self, table: str, version: int) -> int:
        while version + 1 < len(self.versions[table]) and not self.versions[table][version + 1][0]:
            version += 1
        return version

    def holds(self, table: str, version: int, file: int, through: str) -> bool:
        """Whether a version holds a file that came in through `bronze` or `picked`, on every way."""
        if table in {"bronze", "picked"}:
            return table != through or any(
                file in read
                for _, files, _ in self.versions[table][: version + 1]
                for read in files.values()
            )
        for flow, upstreams in READS[table].items():
            if flow == "once":
                continue
            for upstream in upstreams:
                if not follows(upstream, through):
                    continue
                positions = [at for _, _, at in self.versions[table][: version + 1]]
                name = f"{flow}:{upstream}"
                read = next((at[name] for at in reversed(positions) if name in at), -1)
                if table == "gold" and read < 0:
                    return False
                if not self.holds(upstream, self.moved(upstream, read), file, through):
                    return False
        return True

    def lacks(self, file: int) -> bool:
        ways = ["bronze", *(["picked"] if file % 2 == 0 else [])]
        return any(
            not self.holds(table, len(self.versions[table]) - 1, file, through)
            for table in READS
            for through in ways
            if follows(table, through)
        )

    def unfinished(self) -> bool:
        """Whether a table that reads no file itself was never computed, or lacks the once flow's rows."""
        bronze, snap = self.versions["bronze"], self.versions["snap"]
        if bronze and not snap:
            return True
        if self.versions["silver"] and self.versions["both"] and not self.versions["gold"]:
            return True
        return bool(snap) and self.position("late", "late", "snap") < 0


def follows(table: str, through: str) -> bool:
    """Whether files that come in through `through` must reach `table`."""
    if table == through:
        return True
    return any(
        follows(upstream, through)
        for flow, upstreams in READS[table].items()
        if flow != "once"
        for upstream in upstreams
    )


def declare(project: Project) -> None:
    zone = project.settings.region("west").landing_zone
    tables = {}
    for table, flows in READS.items():
        declared = []
        for flow, upstreams in flows.items():
            leaves = [
                DatasetLeaf(
                    f"table:{upstream}", upstream, streaming=table != "gold" and flow != "once"
                )
                for upstream in upstreams
            ]
            if not upstreams:
                glob = "" if table == "bronze" else "/*[02468].json"
                leaves = [
                    FilesLeaf(
                        "files:orders:0", f"{zone}/orders{glob}", {"cloudFiles.format": "json"}
                    )
                ]
            declared.append(DeclaredFlow(flow, flow == "once", tuple(leaves)))
        tables[table] = DeclaredTable(tuple(declared), table == "gold")
    write_declared(project.settings.region("west").storage, {}, DeclaredPipeline(tables))


def run(project: Project, oracle: Oracle, table: str, most: int) -> None:
    """One batch of each of a table's flows, as the runtime would plan it."""
    zone = project.settings.region("west").landing_zone
    for flow, upstreams in READS[table].items():
        inputs = {}
        files: set[int] = set()
        at: dict[str, int] = {}
        rows = False
        if not upstreams:
            known = {f for _, read, _ in oracle.versions[table] for f in read.get(flow, ())}
            fits = [f for _, f in oracle.shipped if table == "bronze" or f % 2 == 0]
            files = set([f for f in fits if f not in known][:most])
            if not files:
                continue
            inputs["files:orders:0"] = FilesInput(
                tuple(FileRef(f"{zone}/orders/{f}.json", 1, 0) for f in files)
            )
            rows = any(oracle.has_rows[f] for f in files)
        elif not all(oracle.versions[upstream] for upstream in upstreams):
            continue
        for upstream in upstreams:
            newest = len(oracle.versions[upstream]) - 1
            before = oracle.position(table, flow, upstream)
            streams = table != "gold" and flow != "once"
            if (streams and before >= newest) or (flow == "once" and oracle.versions[table]):
                continue
            after = before if streams else None
            inputs[f"table:{upstream}"] = TableInput(upstream, newest, 0, after)
            at[f"{flow}:{upstream}"] = newest
            span = oracle.versions[upstream][before + 1 :] if streams else oracle.versions[upstream]
            rows = rows or any(changed for changed, _, _ in span)
        if not inputs or (
            table == "gold" and oracle.versions["gold"] and oracle.versions["gold"][-1][2] == at
        ):
            continue
        data = pa.Table.from_pylist([{"id": "x", "at": event(1)}] if rows else [], SCHEMA)
        project.commit("west", table, inputs, data, replaces=table == "gold", flow=flow)
        changed = rows or (table == "gold" and any(was for was, _, _ in oracle.versions["gold"]))
        oracle.versions[table].append((changed, {flow: files}, at))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(OPERATIONS, st.data())
def test_caught_up_is_what_an_oracle_says_that_knows_every_file(operations, data):
    with tempfile.TemporaryDirectory() as folder:
        clock = FakeClock()
        Path(folder, "source").mkdir()
        project = new_project(folder, {}, clock)
        project.settings = project.settings.model_copy(update={"event_time": None})
        declare(project)
        oracle = Oracle()
        project.ship()
        for operation in operations:
            clock.advance(60)
            if operation[0] == "ship":
                numbers = [len(oracle.has_rows) + n for n in range(len(operation[1]))]
                oracle.has_rows.update(zip(numbers, operation[1], strict=True))
                project.arrive(*numbers)
                project.ship()
                oracle.shipped += [
                    (clock.monotonic(), number) for number in sorted(numbers, key=str)
                ]
            else:
                run(project, oracle, operation[1], operation[2])
        clock.advance(60)
        back = data.draw(st.integers(0, 60 * (len(operations) + 1)))
        moment = clock.monotonic() - back
        needed = sum(1 for when, _ in oracle.shipped if when <= moment)
        lacking = [oracle.lacks(file) for _, file in oracle.shipped]
        processed = lacking.index(True) if any(lacking) else len(lacking)
        as_of = clock.now().__class__.fromtimestamp(
            clock.now().timestamp() - back, clock.now().tzinfo
        )
        answer = read_caught_up(project.settings, "west", as_of, clock)
        orders = next(source for source in answer.sources if source.source == "orders")
        assert (orders.needed, orders.processed) == (needed, processed), answer.sentence
        assert answer.caught_up == (processed >= needed and not (needed and oracle.unfinished()))
