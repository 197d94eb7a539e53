"""SQL that the embedded engine cannot read, written so that it can, by spans.

Each rewrite replaces one construct, innermost ones first, until nothing is left; everything else of
the text stays as it was written. `column:path` is rewritten here, PIVOT and UNPIVOT in `sql_pivot`,
what stands before WHERE in `sql_columns`, and what stands behind it in `sql_groups`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sqlglot import TokenType
from sqlglot.errors import SqlglotError

from proa.engine import sql_columns, sql_groups, sql_pivot
from proa.engine.sql_blocks import SelectBlock, Span, SqlBlocks, text_literal
from proa.engine.sql_select import SchemaOf, SelectText, schema_in_scope
from proa.errors import UserError
from proa.text import quote_identifier

_REWRITES: tuple[Callable[[SelectText], str | None], ...] = (
    sql_columns.star_except,
    sql_columns.joined_key,
    sql_columns.lateral_alias,
    sql_columns.exploded_map,
    sql_columns.lateral_view,
    sql_groups.group_by_all,
    sql_groups.time_windows,
    sql_groups.order_by_all,
    sql_groups.empty_groups,
    sql_groups.ordered_groups,
    sql_groups.qualify,
)
"""What is tried on a SELECT, in this order."""
_LIMIT = 1000
"""More rewrites than this in one text are a mistake of ours."""


_CAST = re.compile(r"\s*::\s*\w+\s*(?:\([\d\s,]*\)|<.*>)?", re.DOTALL)


def rewritten(text: str, schema_of: SchemaOf) -> str:
    """The query as the embedded engine reads it; the same object if there is nothing to rewrite.

    Raises UserError for what cannot be rewritten: columns that do not exist or are ambiguous.
    """
    for _ in range(_LIMIT):
        try:
            blocks = SqlBlocks.of(text)
        except (SqlglotError, ValueError):
            return text  # the engine says what is wrong with it
        changed = _first_rewrite(blocks, schema_of)
        if changed is None:
            return text
        text = changed
    raise UserError(f"the query has too many constructs to rewrite: {text[:60]!r}")


def _json_path(blocks: SqlBlocks) -> str | None:
    """The text with its first `column:path.to[0].field` written as get_json_object."""
    for index in range(1, len(blocks.tokens) - 1):
        token, before, after = blocks.tokens[index], *blocks.tokens[index - 1 : index + 2 : 2]
        touches = before.end + 1 == token.start and token.end + 1 == after.start
        if token.token_type is not TokenType.COLON or not touches or not blocks.name(index - 1):
            continue
        if index in blocks.in_types:
            continue
        first = index - 1
        while blocks.word(first - 1) == "." and blocks.name(first - 2):
            first -= 2
        if not (blocks.name(index + 1) or blocks.word(index + 1) == "["):
            continue
        path, name, behind = _path(blocks, index + 1)
        call = f"get_json_object({blocks.token_text((first, index))}, {text_literal(path)})"
        if end := _end_of_bare_item(blocks, (first, behind)):
            call += f"{blocks.token_text((behind, end))} AS {quote_identifier(name)}"
            behind = end
        return blocks.replace_tokens((first, behind), call)
    return None


def _end_of_bare_item(blocks: SqlBlocks, path: Span) -> int | None:
    """The token behind what is selected, if it is the path without a name, or a cast of it."""
    for item in (item for select in blocks.selects for item in select.items):
        rest = blocks.token_text((path[1], item[1]))
        if item[0] == path[0] and item[1] >= path[1] and (not rest or _CAST.fullmatch(rest)):
            return item[1]
    return None


def _path(blocks: SqlBlocks, index: int) -> tuple[str, str, int]:
    """(a path as get_json_object takes it, the name of its last step, the token behind it)."""
    path, name = "$", ""
    if blocks.word(index) != "[":
        name = blocks.name(index) or ""
        path, index = f"$.{name}", index + 1
    while True:
        if blocks.word(index) == "." and (found := blocks.name(index + 1)):
            path, name, index = f"{path}.{found}", found, index + 2
        elif blocks.word(index) == "[":
            closing = blocks.closing[index]
            if blocks.tokens[index + 1].token_type is TokenType.STRING:
                name = blocks.tokens[index + 1].text
            path, index = path + blocks.token_text((index, closing + 1)), closing + 1
        else:
            return path, name or "col", index


def _first_rewrite(blocks: SqlBlocks, schema_of: SchemaOf) -> str | None:
    if (changed := _json_path(blocks)) is not None:
        return changed
    constructs: list[sql_pivot.PivotClause | SelectBlock]
    constructs = [*sql_pivot.pivots(blocks), *blocks.selects]
    for found in sorted(constructs, key=lambda each: -each.depth):  # stable: PIVOT comes first
        if isinstance(found, sql_pivot.PivotClause):
            return sql_pivot.rewritten(
                blocks, found, lambda index, query: schema_in_scope(blocks, index, query, schema_of)
            )
        select = SelectText(blocks, found, schema_of)
        for rewrite in _REWRITES:
            if (changed := rewrite(select)) is not None:
                return changed
    return None
