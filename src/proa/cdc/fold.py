"""From all known events of the touched keys to the rows that the target has for them.

A fold reads the tables `touched` (keys), `fresh` and `known` (events: the batch's, the memory's)
and `old` (rows of the target: key, period `s` to `e`, `v`, and where they lie: `file`, `pos`), and
makes `result` (key, `s`, `e`, `v`: all rows that the touched keys have from now on) and `remember`
(events: all that the memory is to hold of them). Its outcome is a function of the set of events
alone, so batches and order do not matter.
"""

# ruff: noqa: S608 - identifiers are quoted, no value of a row is put into a query

from __future__ import annotations

from proa.cdc.shape import ChangeShape, part_of


def fold_statements(shape: ChangeShape) -> list[str]:
    """The SQL statements that make `result` and `remember`."""
    if shape.history:
        return _history(shape)
    return _partial(shape) if shape.partial else _newest(shape)


def _newest(shape: ChangeShape) -> list[str]:
    """SCD type 1 of whole rows: the greatest event of each key holds.

    `fresh` has one event for each key, and no older ones than the memory knows; `known` is what was
    there at the same moment.
    """
    keys = shape.key_names
    return [
        f"""CREATE TABLE result AS
            SELECT {keys}, NULL AS s, NULL AS e, v FROM fresh ANTI JOIN known USING ({keys})
            WHERE NOT d
            UNION ALL BY NAME
            SELECT {keys}, NULL AS s, NULL AS e,
              CASE WHEN old.v > fresh.v THEN old.v ELSE fresh.v END AS v
            FROM fresh JOIN known USING ({keys}) LEFT JOIN
              (SELECT {keys}, max(v) AS v FROM old GROUP BY {keys}) old USING ({keys})
            WHERE NOT fresh.d""",
        f"""CREATE TABLE remember AS SELECT {keys}, o, d,
            CAST(NULL AS {shape.value_type}) AS v, CAST(NULL AS VARCHAR[]) AS u FROM fresh""",
    ]


def _partial(shape: ChangeShape) -> list[str]:
    """SCD type 1 of changes that may say nothing about a column: each column has its newest value
    since the key was deleted last.
    """
    keys = shape.key_names
    columns: list[str] = []
    supplies: list[str] = []

    def newest(path: tuple[str, ...], given: str) -> str:
        name = f"c{len(columns)}"
        packed = f"struct_pack(o := o, x := {part_of(path)})"
        columns.append(f"max({packed}) FILTER ({given}) AS {name}")
        supplies.append(f"({given} AND {packed} = w.{name})")
        return f"{name}.x"

    value = shape.resolve(newest)
    found = "".join(f", {column}" for column in columns)
    return [
        f"""CREATE TABLE event AS SELECT DISTINCT {keys}, o, d, v, u FROM
            (SELECT * FROM fresh UNION ALL BY NAME SELECT * FROM known)""",
        f"""CREATE TABLE deletion AS
            SELECT {keys}, max(o) AS gone FROM event WHERE d GROUP BY {keys}""",
        f"""CREATE TABLE living AS
            SELECT event.* FROM event LEFT JOIN deletion USING ({keys})
            WHERE NOT d AND (gone IS NULL OR o > gone)""",
        f"""CREATE TABLE winner AS
            SELECT {keys}, max(o) AS latest{found} FROM living GROUP BY {keys}""",
        f"""CREATE TABLE result AS
            SELECT {keys}, NULL AS s, NULL AS e, {value} AS v FROM winner""",
        f"""CREATE TABLE remember AS
            SELECT {keys}, o, d, v, u FROM living JOIN winner w USING ({keys})
            WHERE o = latest {"".join(f" OR {text}" for text in supplies)}
            UNION ALL BY NAME
            SELECT {keys}, gone AS o, true AS d FROM deletion""",
    ]


def _history(shape: ChangeShape) -> list[str]:
    """SCD type 2: one event per key and moment; equal neighbours are one row."""
    keys = shape.key_names
    window = f"PARTITION BY {keys} ORDER BY o"
    shown = "" if shape.partial else f"UNION ALL BY NAME {_target_events(shape)}"
    whole = _filled_events(shape) if shape.partial else "SELECT * FROM event"
    statements = [
        f"""CREATE TABLE event AS
            SELECT {keys}, o, m.d AS d, m.v AS v, m.u AS u FROM (
              SELECT {keys}, o, max(struct_pack(d := d, v := v, u := u)) AS m FROM
                (SELECT * FROM fresh UNION ALL BY NAME SELECT * FROM known
                 {shown})
              GROUP BY {keys}, o)""",
        f"""CREATE TABLE whole AS {whole}""",
        f"""CREATE TABLE step AS
            SELECT *, lag(d) OVER w AS was_deletion, lead(o) OVER w AS next,
              lag({shape.tracked_of("v")}) OVER w IS DISTINCT FROM {shape.tracked_of("v")} AS differs
            FROM whole WINDOW w AS ({window})""",
        f"""CREATE TABLE run AS
            SELECT *, sum(CAST(coalesce(was_deletion, true) OR differs AS INTEGER))
              OVER ({window} ROWS UNBOUNDED PRECEDING) AS number
            FROM step WHERE NOT d""",
        f"""CREATE TABLE result AS
            SELECT {keys}, s, m.next AS e, m.v AS v FROM (
              SELECT {keys}, min(o) AS s, max(struct_pack(o := o, v := v, next := next)) AS m
              FROM run GROUP BY {keys}, number)""",
    ]
    if shape.partial:
        return [*statements, "CREATE TABLE remember AS SELECT * FROM event"]
    # A row tells its first event and its end. It does not tell what else went into it, nor
    # deletions of what was not there.
    return [
        *statements,
        f"""CREATE TABLE remember AS
            SELECT {keys}, o, d, v, u FROM
              (SELECT *, count(*) OVER (PARTITION BY {keys}, number) AS parts FROM run)
            WHERE parts > 1
            UNION ALL BY NAME
            SELECT {keys}, o, d, v, u FROM step WHERE d AND coalesce(was_deletion, true)""",
    ]


def _target_events(shape: ChangeShape) -> str:
    """The events that the target's rows tell and the memory does not."""
    keys = shape.key_names
    named = ", ".join(f"old.k{i}" for i in range(len(shape.keys)))
    return f"""
        SELECT {named}, old.s AS o, false AS d, old.v AS v FROM old
          ANTI JOIN known ON {_same(shape, "old", "known")} AND known.o = old.s
        UNION ALL BY NAME
        SELECT {named}, old.e AS o, true AS d FROM old
          ANTI JOIN (SELECT {keys}, s FROM old) n ON {_same(shape, "old", "n")} AND n.s = old.e
          WHERE old.e IS NOT NULL"""


def _filled_events(shape: ChangeShape) -> str:
    """Events whose unsaid columns are what they were, since the last deletion."""
    keys = shape.key_names
    since = f"PARTITION BY {keys}, epoch ORDER BY o ROWS UNBOUNDED PRECEDING"

    def latest(path: tuple[str, ...], given: str) -> str:
        packed = f"CASE WHEN {given} THEN struct_pack(x := {part_of(path)}) END"
        return f"(last_value({packed} IGNORE NULLS) OVER since).x"

    return f"""
        SELECT {keys}, o, d, CASE WHEN NOT d THEN {shape.resolve(latest)} END AS v, u FROM
          (SELECT *, sum(CAST(d AS INTEGER)) OVER (PARTITION BY {keys} ORDER BY o) AS epoch FROM event)
        WINDOW since AS ({since})"""


def _same(shape: ChangeShape, left: str, right: str) -> str:
    return " AND ".join(f"{left}.k{i} = {right}.k{i}" for i in range(len(shape.keys)))
