"""What stands between SELECT and WHERE, written so that the embedded engine reads it.

* `* EXCEPT (a, b.c)`: the columns that stay, one by one.
* `t.*` and `t.key` behind a join by USING (key): the key by its own name.
* A column that uses another column of the same list by its alias: what the alias stands for.
* `explode` of a map: `inline` of its entries.
* WHERE behind LATERAL VIEW: a subquery, so that it sees what the view adds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyspark.sql import types as t
from sqlglot import TokenType

from proa.engine.spark_functions import GENERATORS, RANDOM, words
from proa.engine.sql_blocks import Clause, Span
from proa.engine.sql_select import AS_IT_IS, SelectItem, SelectText
from proa.text import quote_identifier

_EXPLODES = words("explode explode_outer posexplode posexplode_outer")


def star_except(select: SelectText) -> str | None:
    """The columns that stay, in place of the first `* EXCEPT (...)`."""
    first, behind = select.block.clauses[0].body
    for index in range(first, behind):
        if select.blocks.is_star_except(index) and select.is_own(index):
            return _without(select, index)
    return None


def _without(select: SelectText, index: int) -> str:
    blocks, closing = select.blocks, select.blocks.closing[index + 1]
    first = index - 1
    while blocks.word(first - 1) == ".":
        first -= 2
    qualifier = blocks.token_text((first, index - 2)) if first < index - 1 else ""
    columns = select.star(qualifier, index)
    for span in blocks.split((index + 2, closing)):
        columns = _remove_column(select, columns, span)
    if not columns:
        raise select.fail("* EXCEPT (...) leaves no column", index)
    inside = ", ".join(columns.values())
    return blocks.replace_tokens((first, closing + 1), inside)


def _remove_column(
    select: SelectText, columns: dict[tuple[str, ...], str], span: Span
) -> dict[tuple[str, ...], str]:
    """The columns without the one that is named; a field is taken out of its struct."""
    parts = [select.blocks.name(index) or "" for index in range(span[0], span[1], 2)]
    lowered = [part.lower() for part in parts]
    matches = [key for key in columns if _means(key, lowered)]
    if len(matches) > 1:
        raise select.fail(
            f"the column {'.'.join(parts)!r} may be that of several tables; write the table's"
            " name before it",
            span[0],
            "AMBIGUOUS_REFERENCE",
        )
    if matches:
        return {key: text for key, text in columns.items() if key not in matches}
    for key, text in columns.items():
        start = next((n for n in (1, 2) if _means(key, lowered[:n])), None)
        struct = None if start is None else _struct(select, key[1], parts[start:])
        if struct is not None:
            smaller = _drop_field(text, struct, lowered[start:])
            return {
                **columns,
                key: f"{smaller} AS {quote_identifier(_column_spelling(select, key[1]))}",
            }
    near = ", ".join(name for _, name in list(columns)[:10])
    raise select.fail(
        f"* EXCEPT names the column {'.'.join(parts)!r}, which is not there; there are {near}",
        span[0],
        "UNRESOLVED_COLUMN",
    )


def _column_spelling(select: SelectText, name: str) -> str:
    return next((known for known in select.rows.names if known.lower() == name), name)


def _struct(select: SelectText, name: str, path: Sequence[str]) -> t.StructType | None:
    column = next((field for field in select.rows.fields if field.name.lower() == name), None)
    if column is None or not path or not isinstance(column.dataType, t.StructType):
        return None
    return column.dataType


def joined_key(select: SelectText) -> str | None:
    """`t.*` and `t.key` behind USING: the engine knows the key by its own name only."""
    blocks = select.blocks
    if AS_IT_IS in blocks.text or not select.join_keys.known:
        return None
    for clause in select.block.clauses:
        for index in range(*clause.body) if clause.name != "from" else ():
            table = blocks.name(index)
            if table is None or blocks.word(index - 1) == "." or blocks.word(index + 1) != ".":
                continue
            keys = select.join_keys.of_table(table) if select.is_own(index) else {}
            is_star = blocks.tokens[index + 2].token_type is TokenType.STAR
            if keys and is_star and not blocks.is_star_except(index + 3):
                columns = select.star(blocks.token_text((index, index + 1)), index)
                return blocks.replace_tokens((index, index + 3), ", ".join(columns.values()))
            key = blocks.name(index + 2)
            if key is not None and keys.get(key.lower()):
                return blocks.replace_tokens((index, index + 3), quote_identifier(key))
    return None


def lateral_alias(select: SelectText) -> str | None:
    """What an alias of the same list stands for, in place of its first use."""
    if len(select.block.items) < 2:
        return None
    items = select.items()
    known: dict[str, SelectItem] = {}
    for item in items:
        for name, index in _names(select, item):
            if name in known and not select.is_column(name):
                if _names_what_comes_later(select, known[name], items):
                    return None  # the engine says which column is not there
                return _substitute(select, index, known[name])
        if item.alias is not None:
            known.setdefault(item.alias.lower(), item)
    return None


def _names(select: SelectText, item: SelectItem) -> Iterator[tuple[str, int]]:
    for index in select.names_in(item.expression):
        yield (select.blocks.name(index) or "").lower(), index


def _names_what_comes_later(
    select: SelectText, item: SelectItem, items: Sequence[SelectItem]
) -> bool:
    """Whether an item needs its own alias, or one behind it, as a column that is not there.

    What stands for its alias would name that alias again, without end.
    """
    before = {each.alias.lower() for each in items if each.alias and each.span < item.span}
    later = {each.alias.lower() for each in items if each.alias} - before
    return any(name in later and not select.is_column(name) for name, _ in _names(select, item))


def _substitute(select: SelectText, index: int, item: SelectItem) -> str:
    expression = select.blocks.token_text(item.expression)
    called = {select.blocks.word(i) for i in range(*item.expression)}
    if called & (RANDOM | GENERATORS):
        raise select.fail(
            f"{item.alias!r} is not the same value each time it is computed, and is used by"
            " another column of its SELECT; use it in a SELECT around this one",
            index,
        )
    return select.blocks.replace_tokens((index, index + 1), f"({expression})")


def exploded_map(select: SelectText) -> str | None:
    """`inline` over the entries, in place of the first `explode` of a map."""
    for clause in select.block.clauses:
        if clause.name not in ("select", "from"):
            continue
        for index in range(*clause.body):
            word = select.blocks.word(index)
            if word in _EXPLODES and select.blocks.word(index + 1) == "(" and select.is_own(index):
                changed = _inline_clause(select, index, word, clause)
                if changed is not None:
                    return changed
    return None


def _inline_clause(select: SelectText, index: int, word: str, clause: Clause) -> str | None:
    closing = select.blocks.closing[index + 1]
    argument = select.blocks.token_text((index + 2, closing))
    if not isinstance(_type_of(select, argument, index, clause), t.MapType):
        return None
    entries = f"map_entries({argument})"
    if word.startswith("pos"):
        entries = (
            f"transform({entries}, (__proa_e, __proa_i) -> named_struct('pos', __proa_i,"
            " 'key', __proa_e.key, 'value', __proa_e.value))"
        )
    outer = "_outer" if word.endswith("_outer") else ""
    return select.blocks.replace_tokens((index, closing + 1), f"inline{outer}({entries})")


def _type_of(select: SelectText, argument: str, index: int, clause: Clause) -> t.DataType:
    source = select.source
    if clause.name == "from":  # a LATERAL VIEW sees what stands before it
        start = index
        while start > clause.body[0] and select.blocks.word(start) != "lateral":
            start -= 1
        source = select.blocks.token_text((clause.body[0], start)).rstrip().rstrip(",")
    text = f"SELECT {argument} AS a" + (f" FROM {source}" if source else "")
    found = select.schema(text)
    return found.fields[0].dataType


def lateral_view(select: SelectText) -> str | None:
    """The engine's WHERE does not see what a LATERAL VIEW adds: put both into a subquery."""
    clause, blocks = select.block.clause("from"), select.blocks
    if clause is None or select.block.clause("where") is None:
        return None
    if not any(
        blocks.word(index) == "lateral" and blocks.word(index + 1) == "view"
        for index in range(*clause.body)
        if select.is_own(index)
    ):
        return None
    names = [name.lower() for name in select.rows.names]
    if len(set(names)) < len(names):
        raise select.fail(
            "LATERAL VIEW and WHERE over tables that share the names of columns: select the"
            " columns that are meant in a subquery",
            clause.span[0],
        )
    aliases = {alias.lower() for alias, _ in select.tables()}
    pieces, at = [], blocks.tokens[select.block.span[0]].start
    for index in range(*select.block.span):
        if index == clause.span[0]:
            end = blocks.tokens[clause.span[1] - 1].end + 1
            pieces += [
                blocks.text[at : blocks.tokens[index].start],
                f"FROM (SELECT * FROM {select.source}) AS __proa_v",
            ]
            at = end
        qualifies = (blocks.name(index) or "").lower() in aliases and (
            blocks.word(index + 1) == "." and blocks.word(index - 1) != "."
        )
        if not qualifies or clause.span[0] <= index < clause.span[1]:
            continue
        token, following = blocks.tokens[index], blocks.tokens[index + 2]
        pieces.append(blocks.text[at : token.start])
        at = following.start
        if following.token_type is TokenType.STAR:
            columns = select.columns(f"{blocks.token_text((index, index + 1))}.*").names
            pieces.append(", ".join(map(quote_identifier, columns)))
            at = following.end + 1
    pieces.append(blocks.text[at : blocks.tokens[select.block.span[1] - 1].end + 1])
    return blocks.replace_tokens(select.block.span, "".join(pieces))


def _means(key: tuple[str, ...], parts: Sequence[str]) -> bool:
    """Whether dotted names mean the column (table, name)."""
    if len(parts) == 1:
        return key[1] == parts[0]
    return len(parts) > 1 and key[1] == parts[-1] and key[0] in ("", parts[-2])


def _drop_field(text: str, struct: t.StructType, path: Sequence[str]) -> str:
    """The struct without a field; NULL stays NULL."""
    fields = []
    for field in struct.fields:
        inner = f"{text}.{quote_identifier(field.name)}"
        if field.name.lower() != path[0]:
            fields.append(f"'{field.name}', {inner}")
        elif len(path) > 1 and isinstance(field.dataType, t.StructType):
            fields.append(f"'{field.name}', {_drop_field(inner, field.dataType, path[1:])}")
    return f"CASE WHEN {text} IS NOT NULL THEN named_struct({', '.join(fields)}) END"
