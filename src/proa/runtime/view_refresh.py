"""How a batch of a materialized view is computed: from what changed, where its query allows, or whole.

The view's last batch says which versions of its inputs it holds. What these tables did since then is
read from their logs, and there are four ways to make the view what the query would yield:

* nothing changed: nothing is computed;
* rows only came, and the query works row by row: the rows that they give are added;
* rows are groups with sums, counts, least and greatest values: what came is added, what went taken off;
* else the keys of the rows that changed are found, and the rows of these keys are computed anew.

Whatever stands against it, the view is computed whole, and the event log says why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from pyspark.sql import types as T  # noqa: N812 - the name that Spark's users know it by
from pyspark.sql.connect import proto

from proa.cdc import ChangeShape, MergeInput
from proa.cdc.touched_rows import (
    PartialGroups,
    TouchedKeys,
    files_with_keys,
    key_name,
    merge_groups,
    replace_touched,
)
from proa.engine import Engine, Relation
from proa.errors import ProaError, UnavailableError
from proa.graph import FlowNode
from proa.graph.refresh_kinds import KEY_TYPES
from proa.graph.row_origins import RowOrigins, row_origins
from proa.graph.table_options import CHANGE_TYPE, FEED_PROPERTY
from proa.lake import DataFile, Destination, Table, WriteResult, discard_attempt, write_frame
from proa.lake.table_schema import to_arrow
from proa.layout import app_id
from proa.pipelines.definitions import Dataset
from proa.runtime.checkpoint import Input, Plan, TableInput
from proa.runtime.context import Context
from proa.runtime.declared import software_versions
from proa.runtime.flow_kinds import BatchWork, Stored
from proa.runtime.sources import Source, TableSource
from proa.runtime.table_rows import RowFile, TableRows, changed_rows
from proa.storage import NotFoundError

QUERY = "query"
"""In a commit's notes: a digest of all that its rows depend on besides their inputs."""
REFRESH = "refresh"
"""In a commit's notes: how its rows were computed, and why so."""
_STAGING = "_proa_cdc/changes"
"""Below the table: keys and partial groups on their way, gone when the batch is stored."""
_VERSIONS = 500
"""Versions of an input whose changes one batch follows at most."""
_KEYS = 8
"""Columns that a key is made of at most."""
_MANY = 10_000
"""Keys from which on it matters whether they are most of the view's rows."""
_CAME = "('insert', 'update_postimage')"


class Technique(StrEnum):
    """How a view is refreshed, as Databricks calls it."""

    NO_OP = "NO_OP"
    APPEND_ONLY = "APPEND_ONLY"
    GROUP_AGGREGATE = "GROUP_AGGREGATE"
    ROW_BASED = "ROW_BASED"
    COMPLETE_RECOMPUTE = "COMPLETE_RECOMPUTE"


@dataclass(frozen=True)
class Refresh:
    """How one batch is computed."""

    technique: Technique
    why: str
    relations: Mapping[str, Relation] = field(default_factory=dict)
    """What leaves are bound to, instead of all rows."""
    edit: ViewEdit | None = None

    @property
    def is_whole(self) -> bool:
        return self.technique is Technique.COMPLETE_RECOMPUTE


@dataclass(frozen=True)
class ViewEdit:
    """Takes the rows of touched keys out of a view."""

    version: int
    """The view's version that the edit was computed from."""
    feed: bool
    keys: TouchedKeys | None = None
    """None: no row goes."""
    computes: bool = True
    """Whether rows come that the query must yield."""

    def apply(self, work: BatchWork, result: WriteResult) -> Stored:
        """The batch with the rows that it takes out."""
        table = work.table
        assert table is not None
        if self.keys is None:
            return Stored(result, result.files, based_on=self.version, is_edit=True)
        given = MergeInput(
            table,
            self.version,
            table.generation,
            ChangeShape(self.keys.columns, work.columns, None),
            "",
            (),
            work.columns,
            work.destination.partition_by,
            work.destination.attempt,
            self.feed,
        )
        merged = replace_touched(given, self.keys, result.files)
        return Stored(
            result,
            (*result.files, *merged.adds),
            merged.removes,
            based_on=self.version,
            changes=merged.changes,
            is_edit=True,
        )


class _WholeError(Exception):
    """The view must be computed whole; the argument says why."""


@dataclass(frozen=True)
class ViewBatch:
    """A batch of a view that is to be computed."""

    before: Plan | None
    """The plan of the view's last batch."""
    generation: int
    inputs: Mapping[str, Input]
    sources: Mapping[str, Source]
    schemas: Mapping[str, Any]
    """The leaves' columns, StructTypes."""
    query: Any
    """The query's columns, a StructType."""
    columns: Any
    """The view's columns with the batch in it."""
    destination: Destination


@dataclass(frozen=True)
class _Changes:
    """What one leaf's table did since the view's last batch."""

    source: TableSource
    reader: TableRows
    files: Sequence[RowFile]

    @property
    def only_adds(self) -> bool:
        """Whether rows only came."""
        return all(file.constants.get(CHANGE_TYPE) == "insert" for file in self.files)

    def relation(self, condition: str = "") -> Relation:
        """The rows that came and went, or those of which a condition on the change's type holds."""
        plan = self.reader.relation(self.files)
        if condition:
            filtered = proto.Relation()
            filtered.filter.input.CopyFrom(plan)
            filtered.filter.condition.expression_string.expression = condition
            plan = filtered
        dropped = proto.Relation()
        dropped.drop.input.CopyFrom(plan)
        dropped.drop.column_names.append(CHANGE_TYPE)
        return dropped


class ViewRefresher:
    """Decides how the batches of one view are computed, and computes what leads there."""

    def __init__(self, node: FlowNode, dataset: Dataset, context: Context, table: Table) -> None:
        self._node = node
        self._dataset = dataset
        self._context = context
        self._table = table
        self._origins: tuple[Mapping[str, Any], RowOrigins] | None = None

    def digest(self, definition: str) -> str:
        """What a view's rows depend on besides their inputs; `definition` is its query's fingerprint."""
        parts = (definition, self._context.engine.digest(), sorted(software_versions().items()))
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    def plan(self, batch: ViewBatch, digest: str, released: ExitStack) -> Refresh:
        """How a batch is computed. What was written on the way is gone when `released` is closed."""
        import duckdb

        try:
            return self._plan(batch, digest, released)
        except _WholeError as reason:
            return Refresh(Technique.COMPLETE_RECOMPUTE, str(reason))
        except UnavailableError:
            raise
        except (ProaError, NotFoundError, duckdb.Error) as error:
            return Refresh(
                Technique.COMPLETE_RECOMPUTE, f"what changed cannot be followed: {error}"
            )

    def _plan(self, batch: ViewBatch, digest: str, released: ExitStack) -> Refresh:
        version = self._standing(batch, digest)
        changed = self._changes_by_leaf(batch)
        if not changed:
            edit = ViewEdit(version, feed=False, computes=False)
            return Refresh(Technique.NO_OP, "no row that it reads changed", edit=edit)
        work = _Refreshing(self, batch, version, changed, released)
        names = _names(changed)
        for leaf, changes in changed.items():
            if (
                len(changed) == 1
                and changes.only_adds
                and leaf in self._row_origins(batch).additive
            ):
                return Refresh(
                    Technique.APPEND_ONLY,
                    f"rows were only added to {names}, and each gives rows of its own",
                    {leaf: changes.relation()},
                    ViewEdit(version, feed=False),
                )
        if len(changed) == 1 and set(changed) <= self._row_origins(batch).summed and work.can_sum():
            return work.sums()
        return work.keys()

    def _row_origins(self, batch: ViewBatch) -> RowOrigins:
        if self._origins is None or self._origins[0] != batch.schemas:
            found = row_origins(self._node.plan.template, batch.schemas)
            self._origins = (batch.schemas, found)
        return self._origins[1]

    def _standing(self, batch: ViewBatch, digest: str) -> int:
        """The view's version, when its rows are those of its last batch and of this query."""
        before, table = batch.before, self._table
        if before is None:
            raise _WholeError(
                "it is computed for the first time since it was made or fully refreshed"
            )
        with table.lock:
            version, schema, partitions = table.version, table.schema, table.partition_by
        app = app_id(self._node.flow.name, batch.generation)
        for number in range(version, -1, -1):
            commit = table.commit_info(number)
            if commit.transactions.get(app) == before.batch:
                if commit.proa.get(QUERY) != digest:
                    raise _WholeError(
                        "its query, the settings or the software are others than before"
                    )
                break
            if commit.adds or commit.removes:
                raise _WholeError("somebody else changed its rows")
        if schema != batch.columns or partitions != batch.destination.partition_by:
            raise _WholeError("its columns change")
        return version

    def _changes_by_leaf(self, batch: ViewBatch) -> dict[str, _Changes]:
        """What changed, by leaf. Leaves without a change are left out."""
        assert batch.before is not None
        found: dict[str, _Changes] = {}
        for key, source in batch.sources.items():
            old, new = batch.before.inputs.get(key), batch.inputs[key]
            if old == new:
                continue
            name = source.leaf.dataset if isinstance(source, TableSource) else key
            if not (isinstance(source, TableSource) and source.is_plain_read):
                raise _WholeError(f"{name} changed, whose changes are not followed")
            if not isinstance(old, TableInput) or not isinstance(new, TableInput):
                raise _WholeError(f"{name} was not there before")
            changes = self._changes(source, name, old.version, new.version)
            if changes.files:
                found[key] = changes
        return found

    def _changes(self, source: TableSource, name: str, after: int, until: int) -> _Changes:
        table = source.table
        if not 0 <= after <= until:
            raise _WholeError(f"{name} was made anew")
        if until - after > _VERSIONS:
            raise _WholeError(f"{name} changed {until - after} times, which is too often to follow")
        columns = table.schema_at(until)
        if columns != table.schema_at(after):
            raise _WholeError(f"{name} has other columns now")
        if not table.is_plain(until):
            raise _WholeError(f"the files of {name} alone do not say what its rows are")
        reader, files = changed_rows(self._context.engine, table, columns, after, until)
        return _Changes(source, reader, files)


class _Refreshing:
    """One refresh from what changed."""

    def __init__(
        self,
        refresher: ViewRefresher,
        batch: ViewBatch,
        version: int,
        changed: Mapping[str, _Changes],
        released: ExitStack,
    ) -> None:
        self.batch = batch
        self.version = version
        self.changed = changed
        self.node = refresher._node  # noqa: SLF001 - its own kind
        self.dataset = refresher._dataset  # noqa: SLF001
        self.table = refresher._table  # noqa: SLF001
        self.context = refresher._context  # noqa: SLF001
        self.origins = refresher._row_origins(batch)  # noqa: SLF001
        self.released = released

    @property
    def engine(self) -> Engine:
        return self.context.engine

    @property
    def feed(self) -> bool:
        return self.table.properties.get(FEED_PROPERTY, "false").lower() == "true"

    # -- rows of keys -----------------------------------------------------------------------------

    def keys(self) -> Refresh:
        """Compute the rows of the touched keys anew."""
        columns = self._key_columns()
        files, count = self._touched_keys(columns)
        there = self.table.count(self.version)
        if count > _MANY and 2 * count > there:
            raise _WholeError(f"{count} of about {there} keys are touched by what changed")
        why = f"rows of {_names(self.changed)} changed, and those with their {_enumeration(columns)} are computed anew"
        if not count:
            edit = ViewEdit(self.version, self.feed, computes=False)
            return Refresh(Technique.ROW_BASED, why, edit=edit)
        edit = ViewEdit(self.version, self.feed, TouchedKeys(columns, files))
        return Refresh(Technique.ROW_BASED, why, self._rows_of_keys(columns, files), edit)

    def _key_columns(self) -> tuple[str, ...]:
        """The columns of the view that say which of its rows a change touches."""
        if self.origins.reason:
            raise _WholeError(self.origins.reason)
        types = {f.name: f.dataType for f in self.batch.query.fields}
        stored = {f.name: f.dataType for f in self.batch.columns.fields}
        names = [
            name
            for name, origins in self.origins.columns.items()
            if isinstance(types.get(name), KEY_TYPES)
            and types[name] == stored.get(name)
            and set(self.changed) <= set(origins)
        ]
        if not names:
            raise _WholeError(
                f"{_names(self.changed)} changed, and no column of its result says which rows that touches"
            )
        known = [name for name in names if self._is_key(name)]
        return tuple((known or names)[:_KEYS])

    def _is_key(self, name: str) -> bool:
        """Whether a column is one of a key that the graph knows of a table that changed."""
        for leaf, changes in self.changed.items():
            text = self.origins.columns[name].get(leaf, "")
            if any(
                text == f"`{key}`" for key in self.context.keys.get(changes.source.leaf.dataset, ())
            ):
                return True
        return False

    def _touched_keys(self, columns: Sequence[str]) -> tuple[tuple[str, ...], int]:
        """Files with the keys of all rows that came or went, and how many there are."""
        parts = [
            self._key_rows(changes.relation(), leaf, columns)
            for leaf, changes in self.changed.items()
        ]
        frames = [self.engine.dataframe(part) for part in parts]
        frame = frames[0]
        for other in frames[1:]:
            frame = frame.union(other)
        types = {f.name: f.dataType for f in self.batch.query.fields}
        schema = T.StructType(
            [T.StructField(key_name(n), types[name]) for n, name in enumerate(columns)]
        )
        result = self._stage(frame.distinct(), schema)
        return self._locations(result.files), result.rows

    def _key_rows(self, rows: Relation, leaf: str, columns: Sequence[str]) -> Relation:
        plan = proto.Relation()
        plan.project.input.CopyFrom(rows)
        for n, name in enumerate(columns):
            item = plan.project.expressions.add().alias
            item.name.append(key_name(n))
            item.expr.expression_string.expression = self._value(leaf, name)
        return plan

    def _value(self, leaf: str, column: str) -> str:
        """SQL over a leaf's columns of the value that a column of the view has."""
        kind = next(f.dataType for f in self.batch.query.fields if f.name == column)
        return f"CAST({self.origins.columns[column][leaf]} AS {kind.simpleString()})"

    def _rows_of_keys(self, columns: Sequence[str], files: Sequence[str]) -> dict[str, Relation]:
        """The leaves with nothing but the rows of the keys in `files`."""
        types = {f.name: f.dataType for f in self.batch.query.fields}
        keys = T.StructType(
            [T.StructField(key_name(n), types[name]) for n, name in enumerate(columns)]
        )
        found: dict[str, Relation] = {}
        for leaf, source in self.batch.sources.items():
            there = [n for n, c in enumerate(columns) if leaf in self.origins.columns[c]]
            if not (isinstance(source, TableSource) and source.is_plain_read and there):
                continue
            value = self.batch.inputs[leaf]
            rows = source.relation(self.engine, value, self._near(leaf, source, columns, files))
            plan = proto.Relation()
            plan.join.left.CopyFrom(rows)
            plan.join.right.CopyFrom(self.engine.parquet(list(files), keys))
            plan.join.join_type = proto.Join.JoinType.JOIN_TYPE_LEFT_SEMI
            plan.join.join_condition.expression_string.expression = " AND ".join(
                f"{self._value(leaf, columns[n])} <=> {key_name(n)}" for n in there
            )
            found[leaf] = plan
        return found

    def _near(
        self, leaf: str, source: TableSource, columns: Sequence[str], files: Sequence[str]
    ) -> Sequence[str] | None:
        """The files of a leaf's table that may hold rows of these keys. None: all."""
        value = self.batch.inputs[leaf]
        assert isinstance(value, TableInput)
        names = {f"`{f.name}`": f.name for f in self.batch.schemas[leaf].fields}
        plain = names.get(self.origins.columns[columns[0]].get(leaf, ""))
        if plain is None or not self._same_type(leaf, plain, columns[0]):
            return None
        return files_with_keys(source.table, value.version, plain, files)

    def _same_type(self, leaf: str, column: str, name: str) -> bool:
        types = [
            next(f.dataType for f in schema.fields if f.name == wanted)
            for schema, wanted in ((self.batch.schemas[leaf], column), (self.batch.query, name))
        ]
        return bool(types[0] == types[1])

    # -- sums of groups ---------------------------------------------------------------------------

    def can_sum(self) -> bool:
        """Whether what came and went can be added to groups and taken from them."""
        if self._dataset_judges or self.batch.query != self.batch.columns:
            return False
        for column in self.batch.columns.fields:
            role = self.origins.measures.get(column.name)
            if role is None or role in {"min", "max"}:
                if not isinstance(column.dataType, KEY_TYPES):
                    return False
            elif not isinstance(column.dataType, T.LongType | T.DecimalType):
                return False
        return True

    @property
    def _dataset_judges(self) -> bool:
        """Whether expectations look at the groups: only an engine evaluates them."""
        return bool(self.dataset.expectations)

    def sums(self) -> Refresh:
        """Add what came to the groups, and take off what went."""
        [(leaf, changes)] = self.changed.items()
        keys = tuple(
            f.name for f in self.batch.columns.fields if f.name not in self.origins.measures
        )
        came = self._partial_groups(leaf, changes.relation(f"{CHANGE_TYPE} IN {_CAME}"))
        went: tuple[str, ...] = ()
        if not changes.only_adds:
            went = self._partial_groups(leaf, changes.relation(f"{CHANGE_TYPE} NOT IN {_CAME}"))
        given = PartialGroups(
            self.table, self.version, self.batch.columns, keys, self.origins.measures, came, went
        )
        files = merge_groups(given, self._staging(self.batch.columns))
        for written in files:
            self.released.callback(discard_attempt, self._staging(self.batch.columns), written)
        touched, settled, unclear = map(self._locations, files)
        why = (
            f"rows of {_names(self.changed)} changed, and what they add to groups of {_enumeration(keys)} is"
            " added, what they take from them taken off"
        )
        relations: Mapping[str, Relation] = {}
        if unclear:
            why += "; groups of which the parts do not tell are computed anew"
            relations = self._rows_of_keys(keys, unclear)
        gone = TouchedKeys(keys, touched, settled) if touched else None
        edit = ViewEdit(self.version, self.feed, gone, computes=bool(unclear))
        return Refresh(Technique.GROUP_AGGREGATE, why, relations, edit)

    def _partial_groups(self, leaf: str, rows: Relation) -> tuple[str, ...]:
        """Files with the groups that the query makes of some rows of a leaf."""
        relations = {
            key: source.relation(self.engine, self.batch.inputs[key])
            for key, source in self.batch.sources.items()
            if key != leaf
        }
        frame = self.engine.dataframe(self.node.plan.bind({**relations, leaf: rows}))
        return self._locations(self._stage(frame, self.batch.query).files)

    # -- files on the way -------------------------------------------------------------------------

    def _staging(self, schema: Any) -> Destination:
        return replace(
            self.batch.destination,
            url=f"{self.table.url}/{_STAGING}",
            schema=to_arrow(schema),
            partition_by=(),
            flags=(),
        )

    def _stage(self, frame: Any, schema: Any) -> WriteResult:
        where = self._staging(schema)
        result = write_frame(self.engine, frame, where)
        self.released.callback(discard_attempt, where, result.files)
        return result

    def _locations(self, files: Sequence[DataFile]) -> tuple[str, ...]:
        return tuple(f"{self.table.url}/{_STAGING}/{file.path}" for file in files)


def _names(changed: Mapping[str, _Changes]) -> str:
    return _enumeration([changes.source.leaf.dataset for changes in changed.values()])


def _enumeration(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
