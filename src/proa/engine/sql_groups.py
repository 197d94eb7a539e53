"""What stands behind WHERE, written so that the embedded engine reads it as Apache Spark does.

* `GROUP BY ALL` and `ORDER BY ALL`: the columns that they stand for.
* Windows of time: a group by one, and `window` for it everywhere else, as the engine knows it.
* ROLLUP, CUBE and GROUPING SETS: the engine has the group of () over no rows too, Spark has not.
* ORDER BY an aggregate that is not selected, and QUALIFY: a subquery that computes them first.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sqlglot import TokenType

from proa.engine.spark_functions import GENERATORS, words
from proa.engine.sql_blocks import Clause, Span
from proa.engine.sql_select import SelectItem, SelectText
from proa.text import quote_identifier

_KEYWORDS = words(
    "all and any asc between by case current desc distinct div else end escape exists false first"
    " following from ignore ilike in interval is last like not null nulls or order over partition"
    " preceding range regexp respect rlike row rows some then true unbounded when where"
)
"""Words inside of an expression that name no column, unless there is one of the name."""
_SETS = ("rollup", "cube", "grouping sets")
_ORDERS = ("asc", "desc", "nulls", "first", "last")
_SOME_ROW = "count(1) > 0"


def group_by_all(select: SelectText) -> str | None:
    """The columns that GROUP BY ALL stands for: those that no aggregate is over."""
    clause = select.block.clause("group by")
    if clause is None or select.blocks.token_text(clause.body).lower() != "all":
        return None
    keys: dict[str, None] = {}
    for span in select.block.items:
        if (columns := select.columns_of_star(span)) is not None:
            return select.blocks.replace_tokens(span, ", ".join(columns))
    for item in select.items():
        keys |= dict.fromkeys(_keys(select, item.expression))
    aggregates = any(map(select.is_aggregate, range(*select.block.clauses[0].body)))
    if not keys and not aggregates:  # constants only: one row
        keys = {str(number + 1): None for number in range(len(select.block.items))}
    text = f"GROUP BY {', '.join(keys)}" if keys else ""
    return select.blocks.replace_tokens(clause.span, text)


def _keys(select: SelectText, span: Span) -> Iterator[str]:
    """What GROUP BY ALL groups by, of one selected expression."""
    blocks = select.blocks
    inside: set[int] = set()
    for index in range(*span):
        if select.is_aggregate(index):
            end = blocks.closing[index + 1]
            while blocks.word(end + 1) == "filter" and blocks.word(end + 2) == "(":
                end = blocks.closing[end + 2]
            inside |= set(range(index, end + 1))
    if not inside:
        if span[1] - span[0] > 1 or blocks.name(span[0]) is not None:
            yield blocks.token_text(span)
    else:
        for index in select.names_in(span):
            keyword = blocks.word(index) in _KEYWORDS and not select.is_column(blocks.word(index))
            if index not in inside and not keyword:
                end = index + 1
                while blocks.word(end) == ".":
                    end += 2
                yield blocks.token_text((index, end))


def time_windows(select: SelectText) -> str | None:
    """Group by window(...) itself, where its alias, its number or its start stands for it."""
    blocks, clause = select.blocks, select.block.clause("group by")
    if clause is None:
        return None
    calls = []
    for key in blocks.split(clause.body):
        found = _window_behind(select, key)
        if found is not None and found != key:
            return blocks.replace_tokens(key, blocks.token_text(found))
        calls += [found] if found is not None else []
    if len(calls) != 1 or select.is_column("window"):
        return None
    for index in range(*select.block.span):
        call = _window_call(select, index)
        if call is None or index in range(*calls[0]) or not _same_words(select, call, calls[0]):
            continue
        behind = call[1] + 2 if blocks.word(call[1]) == "." else call[1]
        name = f"window{blocks.token_text((call[1], behind))}"
        alias = f" AS `{name}`" if (index, behind) in select.block.items and "." in name else ""
        return blocks.replace_tokens((index, behind), name + alias)
    return None


def _window_behind(select: SelectText, key: Span) -> Span | None:
    """The window(...) that a key of GROUP BY stands for."""
    blocks, expression = select.blocks, key
    if key[1] - key[0] == 1:
        token, items = blocks.tokens[key[0]], select.items()
        ends = [blocks.tokens[behind - 1] for _, behind in select.block.items]
        stars = any(end.token_type is TokenType.STAR for end in ends)
        if token.token_type is TokenType.NUMBER:
            place = int(token.text) - 1 if token.text.isdigit() and not stars else -1
            named = items[place : place + 1] if place >= 0 else []
        else:
            name = (blocks.name(key[0]) or "").lower()
            named = [item for item in items if item.alias and item.alias.lower() == name]
        if not named or _window_call(select, named[0].expression[0]) is None:
            return None
        if token.token_type is not TokenType.NUMBER and select.is_column(token.text.lower()):
            return None
        expression = named[0].expression
    call = _window_call(select, expression[0])
    if call is None:
        return None
    of_it = blocks.word(call[1]) == "." and blocks.word(call[1] + 1) in ("start", "end")
    return call if expression[1] == call[1] + 2 * of_it else None


def _window_call(select: SelectText, index: int) -> Span | None:
    blocks = select.blocks
    if blocks.word(index) != "window" or blocks.word(index + 1) != "(" or not select.is_own(index):
        return None
    return index, blocks.closing[index + 1] + 1


def _same_words(select: SelectText, one: Span, other: Span) -> bool:
    texts = [[t.text for t in select.blocks.tokens[slice(*span)]] for span in (one, other)]
    return [text.lower() for text in texts[0]] == [text.lower() for text in texts[1]]


def empty_groups(select: SelectText) -> str | None:
    """Leave out the group of () where there are no rows: the engine has it, Spark has not."""
    blocks, clause = select.blocks, select.block.clause("group by")
    if clause is None or not any(map(partial(_makes_sets, select), range(*clause.body))):
        return None
    if all(blocks.name(index) is None for index in range(*clause.body)):
        return None  # only (): one row, as without GROUP BY
    having = select.block.clause("having")
    if having is None:
        text = f"{blocks.token_text(clause.span)} HAVING {_SOME_ROW}"
        return blocks.replace_tokens(clause.span, text)
    condition = blocks.token_text(having.body)
    if condition.startswith(_SOME_ROW):
        return None
    if select.block.clause("qualify") or "over" in map(blocks.word, range(*select.block.span)):
        return blocks.replace_tokens(having.body, f"{_SOME_ROW} AND ({condition})")
    # In HAVING the engine takes the columns of the groups for their keys, in aggregates too.
    return blocks.replace_tokens(having.span, f"QUALIFY {condition}")


def _makes_sets(select: SelectText, index: int) -> bool:
    if select.blocks.word(index) not in _SETS or not select.is_own(index):
        return False
    return select.blocks.word(index + 1) == "(" or select.blocks.word(index - 1) == "with"


def ordered_groups(select: SelectText) -> str | None:
    """Order groups by an aggregate, which the engine does for selected ones without HAVING only.

    QUALIFY puts what ORDER BY needs into a subquery.
    """
    blocks, block = select.blocks, select.block
    order, last = block.clause("order by"), block.clause("group by")
    if order is None or last is None or block.in_set_operation or block.clause("qualify"):
        return None
    keys = [s for s in blocks.split(order.body) if any(map(select.is_aggregate, range(*s)))]
    selected = {blocks.token_text(item.expression) for item in select.items()}
    having = block.clause("having")
    known = all(blocks.token_text((k[0], _end_of_key(select, k))) in selected for k in keys)
    if not keys or (having is None and known):
        return None
    span = (having or last).span
    return blocks.replace_tokens(span, f"{blocks.token_text(span)} QUALIFY true")


def _end_of_key(select: SelectText, span: Span) -> int:
    """Where ASC, DESC and NULLS begin in an element of ORDER BY."""
    first, end = span
    while select.blocks.word(end - 1) in _ORDERS and end > first + 1:
        end -= 1
    return end


def qualify(select: SelectText) -> str | None:
    """Compute the condition in a subquery, and keep its rows around it."""
    clause = select.block.clause("qualify")
    if clause is None:
        return None
    blocks, block = select.blocks, select.block
    order = None if block.in_set_operation else block.clause("order by")
    kept = [c for c in block.clauses[1:] if c.span < clause.span or c.name == "window"]
    tail = [c for c in block.clauses if c.span > clause.span and c not in kept]
    columns = select.expand_stars()
    aliases = {item.alias.lower(): item for item in select.items() if item.alias}
    inner = [f"{text} AS __proa_c{n}" for n, (text, _) in enumerate(columns)]
    condition = _with_aliases(select, clause.body, aliases)
    inner.append(f"({condition}) AS __proa_q")
    last = ""
    if order is not None:
        last = _order_by(select, order, aliases, columns, inner)
    rest = " ".join(blocks.token_text(c.span) for c in tail if c is not order)
    body = " ".join(blocks.token_text(c.span) for c in kept)
    outer = ", ".join(
        f"__proa_c{n} AS {quote_identifier(name)}" for n, (_, name) in enumerate(columns)
    )
    distinct = "DISTINCT " if block.distinct else ""
    text = (
        f"SELECT {distinct}{outer} FROM (SELECT {', '.join(inner)} {body}) AS __proa_w"
        f" WHERE __proa_q {last} {rest}"
    )
    return blocks.replace_tokens(block.span, text.rstrip())


def _with_aliases(select: SelectText, span: Span, aliases: dict[str, SelectItem]) -> str:
    """The text with names of selected columns replaced by what they stand for."""
    blocks = select.blocks
    pieces, at = [], blocks.tokens[span[0]].start
    for index in select.names_in(span):
        item = aliases.get((blocks.name(index) or "").lower())
        if item is not None and not select.is_column((blocks.name(index) or "").lower()):
            token = blocks.tokens[index]
            pieces += [blocks.text[at : token.start], f"({blocks.token_text(item.expression)})"]
            at = token.end + 1
    return "".join([*pieces, blocks.text[at : blocks.tokens[span[1] - 1].end + 1]])


def _order_by(
    select: SelectText,
    order: Clause,
    aliases: dict[str, SelectItem],
    columns: list[tuple[str, str]],
    inner: list[str],
) -> str:
    """The ORDER BY of the outer SELECT; what it needs is added to the inner one."""
    blocks, keys = select.blocks, []
    names = [name.lower() for _, name in columns]
    texts = [text for text, _ in columns]
    for number, (first, behind) in enumerate(blocks.split(order.body)):
        end = _end_of_key(select, (first, behind))
        suffix = blocks.token_text((end, behind))
        name = (blocks.name(first) or "").lower() if end - first == 1 else ""
        if blocks.tokens[first].token_type is TokenType.NUMBER and end - first == 1:
            keys.append(f"{blocks.token_text((first, end))} {suffix}")
        elif name in names:
            keys.append(f"__proa_c{names.index(name)} {suffix}")
        elif (text := blocks.token_text((first, end))) in texts:
            keys.append(f"__proa_c{texts.index(text)} {suffix}")
        else:
            inner.append(f"{_with_aliases(select, (first, end), aliases)} AS __proa_o{number}")
            keys.append(f"__proa_o{number} {suffix}")
    return f"ORDER BY {', '.join(key.strip() for key in keys)}"


def order_by_all(select: SelectText) -> str | None:
    """The numbers of all columns in place of ALL."""
    clause = select.block.clause("order by")
    if clause is None or select.blocks.word(clause.body[0]) != "all":
        return None
    first, behind = clause.body
    if select.blocks.word(first + 1) not in ("", "asc", "desc", "nulls") or (
        select.blocks.tokens[first].token_type is TokenType.IDENTIFIER
    ):
        return None
    suffix = select.blocks.token_text((first + 1, behind))
    keys = [f"{n} {suffix}".strip() for n in range(1, _width(select) + 1)]
    return select.blocks.replace_tokens(clause.span, f"ORDER BY {', '.join(keys)}")


def _width(select: SelectText) -> int:
    """How many columns the SELECT has."""
    stars = any(
        select.blocks.tokens[behind - 1].token_type is TokenType.STAR
        or select.blocks.word(first) in GENERATORS
        for first, behind in select.block.items
    )
    if not stars:
        return len(select.block.items)
    body = [
        select.blocks.token_text(clause.span)
        for clause in select.block.clauses
        if clause.name in ("select", "from", "where", "group by", "having")
    ]
    found = select.schema(" ".join(body))
    return len(found.fields)
