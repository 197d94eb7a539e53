"""The parity corpus: what Apache Spark answered, and whether the engine answers the same.

`tools/parity_record.py` records it. An outcome is one of

* equal: the values, the types and the names of the columns are Spark's, or both refuse;
* refused: Proa says by name that it does not compute this;
* value, type, name: something else came out (name: only the column's name differs);
* fails: the engine has no answer where Spark has one;
* lenient: the engine has an answer where Spark refuses;
* more: it has one by decision 0088 (arithmetic over two texts).
"""

import gzip
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

CORPUS = Path(__file__).with_name("parity.json.gz")
EDGE = Path(__file__).with_name("parity_edge.arrow")
ROWS = 18
_BATCH = 12
_APPROXIMATE = re.compile(
    r"\b(?:percentile_approx|approx_percentile|min|max|sort_array|array_sort|avg|mean|sum|stddev|std|stddev_pop|stddev_samp|variance|var_pop|var_samp|skewness|kurtosis|corr"
    r"|covar_\w+|regr_\w+|try_avg|try_sum|percentile|percentile_cont|median|acosh?|asinh?|atanh?|atan2|cosh?"
    r"|sinh?|tanh?|cot|csc|sec|exp|expm1|ln|log|log10|log1p|log2|pow|power|cbrt|degrees|radians|hypot|vector_\w+)\b",
    re.IGNORECASE,
)
"""Functions of doubles whose last digits may differ."""
NEAR = 1e-12
_LOOSE = 1e-6
_ORDERED = re.compile(r"\) (?:DESC|ASC|NULLS|LIMIT)\b[^()]*$|ORDER BY [^()]*\([^()]*\)[^()]*$")
"""A query that ends with ORDER BY over calls, of which `)` is no end of a subquery."""
_WRONG_TYPE = "DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE"
_TWO_TEXTS = re.compile(r"^(?:u2?|s|'\d') [-+*/%] (?:u2?|s|'\d')$")
"""For products of differences, of which large values leave few digits."""


@dataclass
class Outcome:
    query: str
    kind: str
    detail: str = ""


def corpus() -> dict[str, Any]:
    with gzip.open(CORPUS, "rt") as file:
        return json.load(file)


def edge(spark: Any, rows: pa.Table | None = None) -> Any:
    """The table of edge values, or other rows of its columns, and the view `edge`."""
    from pyspark.sql.connect import functions as F

    frame = spark.createDataFrame(rows or pa.ipc.open_file(EDGE).read_all())
    for name in ("g", "g2", "g3"):
        frame = frame.withColumn(name, F.expr(f"make_ym_interval(0, {name})"))
    for name in ("z", "z2", "z3"):
        frame = frame.withColumn(name, F.col(name).cast("timestamp_ntz"))
    frame.createOrReplaceTempView("edge")
    return frame


def encoded(value: Any) -> Any:  # noqa: PLR0911 - one return per type
    """A value out of Arrow, as the recorder writes it."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return {"d": repr(value)}
    if isinstance(value, Decimal):
        return {"n": f"{value:f}"}
    if isinstance(value, datetime):
        return {"v": value.replace(tzinfo=None).isoformat()}
    if isinstance(value, (date, time)):
        return {"t": value.isoformat()}
    if isinstance(value, timedelta):
        return {"e": (value.days * 86400 + value.seconds) * 1_000_000 + value.microseconds}
    if isinstance(value, bytes):
        return {"x": value.hex()}
    if isinstance(value, dict):
        return [encoded(item) for item in value.values()]
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return {"m": [[encoded(k), encoded(v)] for k, v in value]}
    return [encoded(item) for item in value]


def alike(ours: Any, theirs: Any, *, near: float) -> bool:  # noqa: PLR0911 - one return per kind
    if ours == theirs or (theirs == {"m": []} and ours == []):
        return True
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        key = next(iter(ours))
        if key == "d":
            a, b = float(ours["d"]), float(theirs["d"])
            if not (math.isfinite(a) or math.isfinite(b)):
                return bool(near)
            return bool(near) and math.isclose(a, b, rel_tol=near, abs_tol=1e-15)
        if key == "n":
            return Decimal(ours["n"]) == Decimal(theirs["n"])
        if key == "m":
            a, b = sorted(ours["m"], key=repr), sorted(theirs["m"], key=repr)
            return alike(a, b, near=near)
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return all(alike(a, b, near=near) for a, b in zip(ours, theirs, strict=True))
    return False


_DAYS = re.compile(r"interval (?:day|hour|minute|second)(?: to \w+)?")
"""Intervals of days and seconds: Arrow has one type for all."""


def typed(type_: Any) -> Any:
    """A type without what may be NULL."""
    if isinstance(type_, dict):
        return {
            k: typed(v)
            for k, v in type_.items()
            if k not in {"containsNull", "valueContainsNull", "nullable", "metadata"}
        }
    if isinstance(type_, list):
        return [typed(item) for item in type_]
    if isinstance(type_, str) and _DAYS.fullmatch(type_):
        return "interval day to second"
    return type_


class Judge:
    """Asks an engine, and compares. `run` computes SQL; it answers (columns, types, rows)."""

    def __init__(self, run: Callable[[str], tuple[list[str], list[Any], list[list[Any]]]]) -> None:
        self.run = run

    def expressions(self, entries: list[dict[str, Any]]) -> Iterator[Outcome]:
        together: list[dict[str, Any]] = []
        for entry in entries:
            if (
                "rows" in entry
                and len(entry["c"]) == 2
                and len(entry["rows"]) == ROWS
                and "errors" not in entry
                and "error" not in entry
                and "text" not in entry
            ):
                together.append(entry)
            else:
                yield self.expression(entry)
        for k in range(0, len(together), _BATCH):
            yield from self._batch(together[k : k + _BATCH])

    def everything(self, corpus: dict[str, Any]) -> Iterator[Outcome]:
        yield from self.expressions(corpus["expressions"])
        for entry in (*corpus["aggregates"], *corpus["queries"]):
            yield self.query(entry)

    def _batch(self, entries: list[dict[str, Any]]) -> Iterator[Outcome]:
        try:
            names, types, rows = self.run(
                f"SELECT id, {', '.join(e['q'] for e in entries)} FROM edge"
            )
        except Exception:  # noqa: BLE001 - one of them
            if len(entries) > 3:
                half = len(entries) // 2
                yield from self._batch(entries[:half])
                yield from self._batch(entries[half:])
                return
            yield from map(self.expression, entries)
            return
        for k, entry in enumerate(entries, 1):
            yield self.compared(
                entry,
                [names[0], names[k]],
                [types[0], types[k]],
                [[row[0], row[k]] for row in rows],
            )

    def expression(self, entry: dict[str, Any]) -> Outcome:
        text = entry["q"]
        over = "c" in entry and entry["c"][0] == "id" and len(entry["c"]) > 1
        if entry.get("at") == "analysis":
            over = True
        query = f"SELECT id, {text} FROM edge" if over or entry.get("window") else f"SELECT {text}"
        if "errors" not in entry:
            return self.query({**entry, "q": query})
        for row in list(entry["errors"])[:1]:
            outcome = self.query(
                {"q": f"{query} WHERE id = {row}", "error": entry["errors"][row], "at": "run"}
            )
            if outcome.kind != "equal":
                return outcome
        good = sorted({row[0] for row in entry["rows"]})
        if not good:
            return Outcome(text, "equal")
        return self.query({**entry, "q": f"{query} WHERE id IN ({', '.join(map(str, good))})"})

    def query(self, entry: dict[str, Any]) -> Outcome:
        text = entry["q"]
        if entry.get("text"):
            columns = [f"c{k}" for k in range(len(entry["c"]))]
            shown = ", ".join(f"CAST({name} AS STRING)" for name in columns)
            text = f"SELECT {shown} FROM ({text}) AS q({', '.join(columns)})"
        try:
            names, types, rows = self.run(text)
        except Exception as error:  # noqa: BLE001 - any failure of an engine is an outcome
            message = f"{type(error).__name__}: {error}"
            if getattr(error, "condition", None) == "UNSUPPORTED_FEATURE":
                return Outcome(entry["q"], "equal" if "error" in entry else "refused", message)
            return Outcome(entry["q"], "equal" if "error" in entry else "fails", message)
        if entry.get("error", "").startswith("client"):
            return Outcome(entry["q"], "equal", "Spark's client could not show the answer")
        asked = expression_of(entry["q"]) or ""
        if entry.get("error") == _WRONG_TYPE and _TWO_TEXTS.search(asked):
            return Outcome(entry["q"], "more", "arithmetic over two texts")
        if "error" in entry:
            return Outcome(entry["q"], "lenient", f"{rows[:1]} for {entry['error']}")
        return self.compared(entry, names, types, rows)

    def compared(
        self, entry: dict[str, Any], names: list[str], types: list[Any], rows: list[list[Any]]
    ) -> Outcome:
        loose = re.search(r"\b(?:covar_|regr_|corr)", entry["q"])
        near = (_LOOSE if loose else NEAR) if _APPROXIMATE.search(entry["q"]) else 0.0
        theirs = entry["rows"]
        if "ORDER BY" not in entry["q"].rpartition(")")[2] and not _ORDERED.search(entry["q"]):
            rows, theirs = sorted(rows, key=repr), sorted(theirs, key=repr)
            if near > 0 and len(rows) == len(theirs) and names[0] == "id":
                rows.sort(key=lambda row: row[0])
                theirs.sort(key=lambda row: row[0])
        if not alike(rows, theirs, near=near):
            differing = [
                (a, b) for a, b in zip(rows, theirs, strict=False) if not alike(a, b, near=near)
            ] or [(len(rows), len(theirs))]
            return Outcome(entry["q"], "value", f"{differing[0][0]} for {differing[0][1]}")
        if not entry.get("text") and typed(types) != typed(entry["t"]):
            return Outcome(entry["q"], "type", f"{typed(types)[-1]} for {typed(entry['t'])[-1]}")
        if not entry.get("text") and names != entry["c"]:
            return Outcome(entry["q"], "name", f"{names[-1]} for {entry['c'][-1]}")
        return Outcome(entry["q"], "equal")


def answer_of(frame: Any) -> tuple[list[str], list[Any], list[list[Any]]]:
    """(columns, types, rows) of a DataFrame."""
    table = frame.toArrow()
    columns = [[encoded(v) for v in column.to_pylist()] for column in table.columns]
    types = [json.loads(field.dataType.json()) for field in frame.schema.fields]
    return table.column_names, types, [list(row) for row in zip(*columns, strict=True)] or []


_SELECTED = re.compile(
    r"SELECT (?:id, |grp, )?(.*?)(?: FROM edge(?: WHERE id .*| WHERE false| GROUP BY grp ORDER BY grp)?)?",
    re.DOTALL,
)


def expression_of(query: str) -> str | None:
    """The expression that a query of the corpus was made of; None for the queries of their own."""
    if not query.startswith(("SELECT", "WITH", "(", "FROM", "VALUES")):
        return query
    match = _SELECTED.fullmatch(query)
    return match.group(1) if match else None


def sql_of(engine: Any) -> Callable[[str], Any]:
    """Computes SQL as Proa's users do."""
    from pyspark.sql.connect import proto

    def run(text: str) -> Any:
        relation = proto.Relation()
        relation.sql.query = text
        with engine.translating():
            return answer_of(engine.dataframe(relation))

    return run


def asker(engine: Any) -> Callable[[Any], Any]:
    """Tells the types of calls."""
    from proa.engine.parity import Parity

    return Parity(engine.schema, lambda *_: None).ask
