"""Compare two tables: equal, or which rows and columns differ.

Each side is read once: the 128-bit hashes of its rows go into buckets of (count, sum of hashes modulo
2^128). A sum, so that a row that is there twice counts twice. Where buckets differ, their rows are
looked at; what is left over on both sides is paired by its key and compared column by column.
"""

# ruff: noqa: S608 - identifiers are quoted, no value is put into a query

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from proa.errors import SettingsError
from proa.recovery.row_hash import (
    BUCKET_BITS,
    has_floats,
    hash_halves,
    row_floats,
    row_hash,
    row_shape,
    row_text,
)
from proa.text import duckdb_identifier

if TYPE_CHECKING:
    import duckdb

EXAMPLES = 10
MEMORY_LIMIT = "1GB"
"""Of a comparison; tables may be larger."""


@dataclass(frozen=True)
class Rules:
    """What counts as equal."""

    key: tuple[str, ...] = ()
    """Columns that tell rows apart; guessed, for the report only, when empty."""
    key_needed: bool = True
    """False: the key is meant for those of many tables that have its columns."""
    tolerance: float = 0.0
    """Floats a and b are equal when |a - b| <= tolerance * max(1, |a|, |b|); NaN equals NaN."""
    tolerances: Mapping[str, float] = field(default_factory=dict)
    """By column: another tolerance for the floats in it."""
    ignore: tuple[str, ...] = ()
    """Columns that are left out."""

    def tolerance_of(self, column: str) -> float:
        """The tolerance for the floats of a column."""
        return self.tolerances.get(column, self.tolerance)


@dataclass(frozen=True)
class ChangedRow:
    """A row that is there on both sides with other values."""

    key: Mapping[str, Any]
    columns: Mapping[str, tuple[Any, Any]]
    """The columns that differ: (left, right)."""


@dataclass(frozen=True)
class Comparison:
    """What is equal and what is not."""

    rows: tuple[int, int]
    """Rows on the left and on the right."""
    columns: tuple[str, ...] = ()
    """The columns that were compared."""
    schema: tuple[str, ...] = ()
    """How the columns differ, a sentence each."""
    changed: int = 0
    """Rows with the same key and other values."""
    only: tuple[int, int] = (0, 0)
    """Rows that are on the left, or on the right, alone."""
    tolerated: int = 0
    """Pairs of rows that differ within the tolerance."""
    key: tuple[str, ...] = ()
    """The columns by which rows were paired, when rows differ."""
    changes: tuple[ChangedRow, ...] = ()
    """The first of the changed rows."""
    only_left: tuple[Mapping[str, Any], ...] = ()
    """The first of the rows that are on the left alone."""
    only_right: tuple[Mapping[str, Any], ...] = ()
    ignored: tuple[str, ...] = ()
    """Columns that were left out because the rules say so."""

    @property
    def equal(self) -> bool:
        return not (self.schema or self.changed or any(self.only))


def compare(left: Any, right: Any, rules: Rules | None = None) -> Comparison:
    """Compare two pyarrow tables or datasets.

    Column order does not matter; a column that one side lacks, or has with another type, is a
    difference of the schema, and the other columns are compared all the same.
    """
    rules = rules or Rules()
    shared, schema = _shared_fields(left.schema, right.schema, rules)
    missing = [name for name in rules.key if name not in {one.name for one in shared[0]}]
    if missing and rules.key_needed:
        raise SettingsError(
            f"there is no column {missing[0]!r} to tell rows apart by; the tables share"
            f" {', '.join(sorted(one.name for one in shared[0]))}"
        )
    if missing:
        rules = replace(rules, key=())
    if not shared[0]:
        rows = (_count(left), _count(right))
        only = (max(0, rows[0] - rows[1]), max(0, rows[1] - rows[0]))
        return Comparison(rows, schema=schema, only=only, ignored=tuple(sorted(rules.ignore)))
    with connect() as db:
        names = [one.name for one in shared[0]]
        for side, data in zip(_ROWS, (left, right), strict=True):
            db.register(f"{side}_given", data)
            # By position: no column's own name ever stands in a query.
            columns = (
                f"#{data.schema.get_field_index(name) + 1} AS {_column(number)}"
                for number, name in enumerate(names)
            )
            db.execute(f"CREATE TEMP VIEW {side} AS SELECT {', '.join(columns)} FROM {side}_given")
        fields = tuple(
            [one.with_name(_column(number)) for number, one in enumerate(side)] for side in shared
        )
        return _Comparing(db, (fields[0], fields[1]), tuple(names), schema, rules).run()


@contextmanager
def connect() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory that moves to disk what is more than its share."""
    import duckdb

    with (
        TemporaryDirectory(prefix="proa-verify-") as folder,
        duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": folder}) as db,
    ):
        yield db


def rename_shared(
    left: pa.Schema, right: pa.Schema, rules: Rules
) -> tuple[tuple[dict[str, pa.Field], dict[str, pa.Field]], tuple[str, ...]]:
    """The columns that both sides have, by name and under names of ours, and sentences about the others.

    The names of ours follow from the set of the columns alone, whatever their order.
    """
    shared, sentences = _shared_fields(left, right, rules)
    first, second = (
        {
            one.name: one.with_name(_column(number))
            for number, one in enumerate(sorted(side, key=lambda one: one.name))
        }
        for side in shared
    )
    return (first, second), sentences


def sum_rows(
    batches: Iterable[tuple[int, pa.RecordBatch]], fields: Sequence[pa.Field]
) -> dict[int, tuple[int, int]]:
    """By the number that stands beside each batch: rows, and the sum of their hashes modulo 2^128.

    `fields` are columns of the batches under names of ours, see `rename_shared`. Sums can be compared where the
    other side's fields have the same types: where `rename_shared` has no sentences.
    """
    schema = pa.schema([*fields, pa.field("part", pa.int32())])
    numbered = (
        pa.RecordBatch.from_arrays(
            [*batch.columns, pa.repeat(pa.scalar(number, pa.int32()), batch.num_rows)],
            schema=schema,
        )
        for number, batch in batches
        if batch.num_rows
    )
    high, low = hash_halves(fields, typed=True)
    with connect() as db:
        db.register("numbered", pa.RecordBatchReader.from_batches(schema, numbered))
        found = db.execute(
            "SELECT part, count(*), sum(high), sum(low)"
            f" FROM (SELECT part, {high} AS high, {low} AS low FROM numbered) GROUP BY part"
        ).fetchall()
    return {
        part: (rows, ((int(upper) << 64) + int(lower)) % (1 << 128))
        for part, rows, upper, lower in found
    }


def _shared_fields(
    left: pa.Schema, right: pa.Schema, rules: Rules
) -> tuple[tuple[list[pa.Field], list[pa.Field]], tuple[str, ...]]:
    """The columns of both sides, and sentences about the others."""
    lefts = {one.name: one for one in left if one.name not in rules.ignore}
    rights = {one.name: one for one in right if one.name not in rules.ignore}
    sentences = []
    for name in sorted(lefts.keys() | rights.keys()):
        if name not in rights:
            sentences.append(f"the column {name!r} is missing on the right")
        elif name not in lefts:
            sentences.append(f"the column {name!r} is missing on the left")
        elif _plain(lefts[name].type) != _plain(rights[name].type):
            sentences.append(
                f"the column {name!r} is {lefts[name].type} on the left"
                f" and {rights[name].type} on the right"
            )
    both = [name for name in lefts if name in rights]
    return ([lefts[name] for name in both], [rights[name] for name in both]), tuple(sentences)


def _count(data: Any) -> int:
    return int(data.num_rows if isinstance(data, pa.Table) else data.count_rows())


def _plain(kind: pa.DataType) -> str:
    """A type's name without the spellings that mean the same; a struct's fields sorted by name."""
    types = pa.types
    if types.is_struct(kind):
        fields = sorted(f"{field.name!r}: {_plain(field.type)}" for field in kind)
        return f"struct<{', '.join(fields)}>"
    if types.is_map(kind):
        return f"map<{_plain(kind.key_type)}, {_plain(kind.item_type)}>"
    if types.is_list(kind) or types.is_large_list(kind):
        return f"list<{_plain(kind.value_type)}>"
    text = str(kind).replace("large_", "").replace("_view", "").replace("Etc/UTC", "UTC")
    return text.replace(" not null", "").replace("element:", "item:")


@dataclass
class _Comparing:
    db: duckdb.DuckDBPyConnection
    shared: tuple[list[pa.Field], list[pa.Field]]
    """The columns of both sides, under names of ours."""
    names: tuple[str, ...]
    """The user's names of these columns."""
    schema: tuple[str, ...]
    rules: Rules

    def __post_init__(self) -> None:
        self._is_typed = all(
            _plain(one.type) == _plain(other.type) for one, other in zip(*self.shared, strict=True)
        )

    def run(self) -> Comparison:
        buckets = [self._buckets(side) for side in (0, 1)]
        rows = tuple(sum(count for count, _ in side.values()) for side in buckets)
        facts: dict[str, Any] = {
            "rows": rows,
            "columns": tuple(sorted(self.names)),
            "schema": self.schema,
            "ignored": tuple(sorted(self.rules.ignore)),
        }
        differing = [
            bucket
            for bucket in buckets[0].keys() | buckets[1].keys()
            if buckets[0].get(bucket) != buckets[1].get(bucket)
        ]
        if not differing:
            return Comparison(**facts)
        self._leftovers(differing)
        tolerated = self._tolerate()
        return Comparison(**facts, tolerated=tolerated, **self._pair())

    def _buckets(self, side: int) -> dict[int, tuple[int, int]]:
        """The (count, sum of hashes modulo 2^128) of each bucket of one side."""
        high, low = hash_halves(self.shared[side], typed=self._is_typed)
        found = self.db.execute(
            f"SELECT CAST(high >> {64 - BUCKET_BITS} AS INTEGER), count(*), sum(high), sum(low)"
            f" FROM (SELECT {high} AS high, {low} AS low FROM {_ROWS[side]}) GROUP BY 1"
        ).fetchall()
        return {
            bucket: (count, ((int(high) << 64) + int(low)) % (1 << 128))
            for bucket, count, high, low in found
        }

    def _leftovers(self, differing: list[int]) -> None:
        """Tables `l` and `r`: the rows that the other side does not have (as often)."""
        self.db.execute("CREATE TEMP TABLE differing (bucket INTEGER)")
        self.db.register("differing_buckets", pa.table({"bucket": pa.array(differing, pa.int32())}))
        self.db.execute("INSERT INTO differing SELECT bucket FROM differing_buckets")
        for side, name in enumerate(("l0", "r0")):
            self.db.execute(
                f"CREATE TEMP TABLE {name} AS SELECT *, row_number() OVER (PARTITION BY proa_h) AS proa_n"
                f" FROM (SELECT *, {row_hash(self.shared[side], typed=self._is_typed)} AS proa_h"
                f" FROM {_ROWS[side]})"
                f" WHERE CAST(proa_h >> {128 - BUCKET_BITS} AS INTEGER) IN (FROM differing)"
            )
        for name, mine, other in (("l", "l0", "r0"), ("r", "r0", "l0")):
            self.db.execute(
                f"CREATE TEMP TABLE {name} AS FROM {mine} ANTI JOIN {other} USING (proa_h, proa_n)"
            )

    def _tolerate(self) -> int:
        """Take away pairs of rows that differ in floats only, and by little. Returns how many."""
        exact: list[tuple[str, pa.Field, pa.Field]] = []
        near: list[tuple[str, pa.Field, pa.Field]] = []
        for name, one, other in zip(self.names, *self.shared, strict=True):
            loose = self.rules.tolerance_of(name) > 0 and has_floats(one.type)
            (near if loose and has_floats(other.type) else exact).append((name, one, other))
        if not near:
            return 0
        for side, name in enumerate("lr"):
            fields = [column[side + 1] for column in near]
            shape = f"concat({row_text(column[side + 1] for column in exact)}, {row_shape(fields)})"
            limits = ", ".join(
                f"list_transform({row_floats([column[side + 1]])}, lambda y:"
                f" CAST({self.rules.tolerance_of(column[0])!r} AS DOUBLE))"
                for column in near
            )
            self.db.execute(
                f"CREATE TEMP TABLE {name}_near AS SELECT proa_h, proa_n, {shape} AS proa_e,"
                f" {row_floats(fields)} AS proa_f, list_concat({limits}) AS proa_t FROM {name}"
            )
        found = self._pair_in_order()
        while (more := self._pair_any()) > 0:
            found += more
        return found

    def _pair_in_order(self) -> int:
        """Pair rows of one shape by the order of their floats: right for all but close neighbours."""
        for name in "lr":
            self.db.execute(
                f"CREATE TEMP TABLE {name}_order AS SELECT *, row_number() OVER"
                f" (PARTITION BY proa_e ORDER BY proa_f) AS proa_m FROM {name}_near"
            )
        return self._take_away(
            "SELECT l.proa_h AS lh, l.proa_n AS ln, r.proa_h AS rh, r.proa_n AS rn"
            f" FROM l_order l JOIN r_order r USING (proa_e, proa_m) WHERE {_NEAR}"
        )

    def _pair_any(self) -> int:
        """Pair rows of one shape that are left and near, each with one other."""
        return self._take_away(
            "SELECT lh, ln, rh, rn FROM (SELECT *, row_number() OVER (PARTITION BY rh, rn ORDER BY lh, ln)"
            " AS proa_x FROM (SELECT l.proa_h AS lh, l.proa_n AS ln, r.proa_h AS rh, r.proa_n AS rn,"
            " row_number() OVER (PARTITION BY l.proa_h, l.proa_n ORDER BY r.proa_h, r.proa_n) AS proa_m"
            f" FROM l_near l JOIN r_near r USING (proa_e) WHERE {_NEAR}) WHERE proa_m = 1)"
            " WHERE proa_x = 1"
        )

    def _take_away(self, pairs: str) -> int:
        self.db.execute(f"CREATE OR REPLACE TEMP TABLE near AS {pairs}")
        for name in "lr":
            for table in (name, f"{name}_near"):
                self.db.execute(
                    f"DELETE FROM {table} WHERE (proa_h, proa_n) IN"
                    f" (SELECT ({name}h, {name}n) FROM near)"
                )
        return int(self._one("SELECT count(*) FROM near"))

    def _pair(self) -> dict[str, Any]:
        """Pair what is left by its key and tell changed rows from those that one side lacks."""
        left, right = (int(self._one(f"SELECT count(*) FROM {name}")) for name in "lr")
        if not left or not right:
            return self._unpaired_rows((left, right))
        key = self.rules.key or guess_key(self.db, _ROWS[0], self.shared[0], self.names)
        if not key:
            return self._unpaired_rows((left, right))
        chosen = [self.names.index(name) for name in key]
        texts = [row_text(fields[number] for number in chosen) for fields in self.shared]
        for text, name in zip(texts, "lr", strict=True):
            self.db.execute(
                f"CREATE TEMP TABLE {name}_keyed AS SELECT *, {text} AS proa_k,"
                f" row_number() OVER (PARTITION BY {text} ORDER BY proa_h) AS proa_d FROM {name}"
            )
        changed = int(self._one("SELECT count(*) FROM l_keyed JOIN r_keyed USING (proa_k, proa_d)"))
        facts = self._unpaired_rows((left - changed, right - changed), keyed=True)
        return {**facts, "changed": changed, "key": key, "changes": self._changes(key)}

    def _changes(self, key: Sequence[str]) -> tuple[ChangedRow, ...]:
        pairs = [
            self._dicts(
                f"SELECT {side}.* FROM l_keyed JOIN r_keyed USING (proa_k, proa_d)"
                f" ORDER BY proa_k, proa_d LIMIT {EXAMPLES}",
                texts=fields,
            )
            for side, fields in zip(("l_keyed", "r_keyed"), self.shared, strict=True)
        ]
        changes = []
        for (row, texts), (other, other_texts) in zip(*pairs, strict=True):
            columns = {
                name: (row[name], other[name])
                for name in self.names
                if texts[name] != other_texts[name]
            }
            changes.append(ChangedRow({name: row[name] for name in key}, columns))
        return tuple(changes)

    def _unpaired_rows(self, only: tuple[int, int], *, keyed: bool = False) -> dict[str, Any]:
        examples = []
        for mine, other, count in (("l", "r", only[0]), ("r", "l", only[1])):
            source = (
                f"{mine}_keyed ANTI JOIN {other}_keyed USING (proa_k, proa_d)" if keyed else mine
            )
            query = f"FROM {source} ORDER BY proa_h, proa_n LIMIT {EXAMPLES}"
            examples.append(tuple(row for row, _ in self._dicts(query)) if count else ())
        return {"only": only, "only_left": examples[0], "only_right": examples[1]}

    def _dicts(
        self, query: str, texts: Iterable[pa.Field] = ()
    ) -> list[tuple[dict[str, Any], dict[str, str]]]:
        """Rows as dictionaries, and the text of each of the columns `texts`."""
        columns = ", ".join(_column(number) for number in range(len(self.names)))
        fields = list(texts)
        texted = "".join(f", {row_text([one])}" for one in fields)
        found = self.db.execute(f"SELECT {columns}{texted} FROM ({query})").to_arrow_table()
        rows = zip(*(column.to_pylist() for column in found.columns), strict=True)
        return [
            (
                dict(zip(self.names, row, strict=False)),
                dict(zip(self.names if fields else (), row[len(self.names) :], strict=True)),
            )
            for row in rows
        ]

    def _one(self, query: str) -> Any:
        row = self.db.execute(query).fetchone()
        assert row is not None
        return row[0]


_ROWS = ("left_rows", "right_rows")


_NEAR = (
    "list_bool_and(list_transform(list_zip(l.proa_f, r.proa_f, l.proa_t), lambda z:"
    " abs(z[1] - z[2]) <= z[3] * greatest(1, abs(z[1]), abs(z[2])))) IS NOT FALSE"
)


def _column(number: int) -> str:
    """Our name of a column that both sides have."""
    return f"c{number}"


_MOST_KEY_COLUMNS = 4
_ID = re.compile(r"(^|_)(id|key|uuid|guid|no|nr|number|code|pk|sk)$|id$", re.IGNORECASE)


def guess_key(
    db: duckdb.DuckDBPyConnection, table: str, fields: list[pa.Field], names: Sequence[str]
) -> tuple[str, ...]:
    """Guess a smallest set of columns that tells the rows of `table` apart; empty without one.

    `fields` are the table's columns, `names` what the user calls them. Columns named like identifiers
    are tried first, then the others in the order of `fields`; floats and nested columns never.
    """
    able = [one.name for one in fields if _can_be_key(one.type)]
    if not able:
        return ()
    counts = db.execute(
        f"SELECT count(*), {', '.join(f'approx_count_distinct({duckdb_identifier(name)})' for name in able)}"
        f" FROM {table}"
    ).fetchone()
    assert counts is not None
    rows, distinct = counts[0], dict(zip(able, counts[1:], strict=True))
    called = {one.name: name for one, name in zip(fields, names, strict=True)}
    order = sorted(able, key=lambda name: not _ID.search(called[name]))
    for name in order:
        # The estimate is off by a few per cent: only a clear miss is believed.
        if distinct[name] >= 0.8 * rows and _unique(db, table, (name,), rows):
            return (called[name],)
    chosen: tuple[str, ...] = ()
    for name in order[:_MOST_KEY_COLUMNS]:
        chosen = (*chosen, name)
        if len(chosen) > 1 and _unique(db, table, chosen, rows):
            return tuple(called[name] for name in chosen)
    return ()


def _unique(db: duckdb.DuckDBPyConnection, table: str, columns: tuple[str, ...], rows: int) -> bool:
    listed = ", ".join(duckdb_identifier(name) for name in columns)
    found = db.execute(f"SELECT count(*) FROM (SELECT DISTINCT {listed} FROM {table})").fetchone()
    return found is not None and found[0] == rows


def _can_be_key(kind: pa.DataType) -> bool:
    types = pa.types
    return not (types.is_floating(kind) or types.is_nested(kind) or types.is_null(kind))
