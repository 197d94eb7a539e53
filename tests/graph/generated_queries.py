"""Queries made by chance over the corpus's tables: selections, groups, windows, orders and limits, one
in the other.
"""

from dataclasses import dataclass

from hypothesis import strategies as st

NUMBERS = {"id", "n", "level"}
TABLES = {"events": ("id", "ts", "who", "n", "price"), "raw": ("id", "ts", "who", "n", "price")}
AGGREGATES = (
    "count(*)",
    "count(DISTINCT {x})",
    "max({x})",
    "first({x})",
    "collect_list({x})",
    "sort_array(collect_list({x}))",
    "size(collect_set({x}))",
    "max_by({x}, {y})",
    "min_by({x}, struct({y}, {z}))",
    "listagg(CAST({x} AS STRING), ',') WITHIN GROUP (ORDER BY {y})",
    "array_distinct(collect_list({x}))",
    "any_value({x})",
    "bool_or({x} IS NULL)",
)
SUMS = ("sum({x})", "avg({x})", "stddev({x})", "sum({x} * 0.5)", "sum(CAST({x} AS DOUBLE) / 3)")
WINDOWS = (
    "row_number()",
    "rank()",
    "ntile(3)",
    "lag({x})",
    "first_value({x})",
    "count(*)",
    "max({x})",
    "collect_list({x})",
    "cume_dist()",
)
FRAMES = ("", "", " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW")


@dataclass(frozen=True)
class Query:
    """A query's text and its columns."""

    text: str
    columns: tuple[str, ...]


@st.composite
def sources(draw, depth):
    if depth == 0 or draw(st.booleans()):
        table = draw(st.sampled_from(sorted(TABLES)))
        return Query(table, TABLES[table])
    inner = draw(queries(depth - 1))
    return Query(f"({inner.text})", inner.columns)


@st.composite
def queries(draw, depth=2):
    source = draw(sources(depth))
    column = st.sampled_from(source.columns)
    some = st.lists(column, min_size=1, max_size=3, unique=True)
    fill = {"x": draw(column), "y": draw(column), "z": draw(column)}
    kind = draw(st.sampled_from(["select", "distinct", "group", "window", "filtered window"]))
    where = f" WHERE {draw(column)} IS NOT NULL" if draw(st.booleans()) else ""
    source_text = f"{source.text} AS s{depth}"
    if kind == "group":
        keys = draw(some)
        functions = AGGREGATES + (SUMS if fill["x"] in NUMBERS | {"price"} else ())
        call = draw(st.sampled_from(functions)).format(**fill)
        columns = (*keys, f"a{depth}")
        text = (
            f"SELECT {', '.join(keys)}, {call} AS a{depth} FROM {source_text}{where}"
            f" GROUP BY {', '.join(keys)}"
        )
    elif "window" in kind:
        partition, order = draw(some), draw(some)
        call = draw(st.sampled_from(WINDOWS)).format(**fill)
        ranks = call in ("row_number()", "rank()", "ntile(3)", "cume_dist()", f"lag({fill['x']})")
        frame = "" if ranks else draw(st.sampled_from(FRAMES))
        kept = draw(some) if draw(st.booleans()) else list(source.columns)
        columns = (*kept, f"w{depth}")
        text = (
            f"SELECT {', '.join(kept)}, {call} OVER (PARTITION BY {', '.join(partition)}"
            f" ORDER BY {', '.join(order)}{frame}) AS w{depth} FROM {source_text}{where}"
        )
        if kind == "filtered window" and call == "row_number()":
            chosen = tuple(kept)
            text = f"SELECT {', '.join(chosen)} FROM ({text}) WHERE w{depth} = 1"
            columns = chosen
    else:
        columns = tuple(draw(some))
        distinct = "DISTINCT " if kind == "distinct" else ""
        text = f"SELECT {distinct}{', '.join(columns)} FROM {source_text}{where}"
    if draw(st.integers(0, 3)) == 0:
        keys = draw(st.lists(st.sampled_from(columns), min_size=1, max_size=3, unique=True))
        direction = draw(st.sampled_from(["", " DESC"]))
        text = f"{text} ORDER BY {', '.join(keys)}{direction} LIMIT {draw(st.integers(1, 9))}"
    return Query(text, columns)
