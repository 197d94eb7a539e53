"""SQL that the embedded engine cannot read, written so that it can, by spans.

PIVOT and UNPIVOT are rewritten in `sql_pivot`, the rest here. Each rewrite replaces one construct,
innermost ones first, until nothing is left; everything else of the text stays as it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import sqlglot
from pyspark.sql import types as t
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from proa.engine import sql_pivot
from proa.engine.spark_functions import AGGREGATES, GENERATORS, RANDOM, words
from proa.engine.sql_blocks import Clause, SelectBlock, Span, SqlBlocks, text_literal
from proa.errors import UserError
from proa.text import quote_identifier

UNSUPPORTED = "UNSUPPORTED_FEATURE"
SchemaOf = Callable[[str], t.StructType]
"""The columns of another query text that sees the same tables."""

_EXPLODES = words("explode explode_outer posexplode posexplode_outer")
_KEYWORDS = words(
    "all and any asc between by case current desc distinct div else end escape exists false first"
    " following from ignore ilike in interval is last like not null nulls or order over partition"
    " preceding range regexp respect rlike row rows some then true unbounded when where"
)
"""Words inside of an expression that name no column, unless there is one of the name."""
_LITERALS = (TokenType.STRING, TokenType.NUMBER)
_SETS = ("rollup", "cube", "grouping sets")
_ORDERS = ("asc", "desc", "nulls", "first", "last")
_SOME_ROW = "count(1) > 0"
_LIMIT = 1000
"""More rewrites than this in one text are a mistake of ours."""


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
        first = index - 1
        while blocks.word(first - 1) == "." and blocks.name(first - 2):
            first -= 2
        path, behind = _path(blocks, index + 1)
        call = f"get_json_object({blocks.token_text((first, index))}, {text_literal(path)})"
        return blocks.replace_tokens((first, behind), call)
    return None


def _path(blocks: SqlBlocks, index: int) -> tuple[str, int]:
    """(a path as get_json_object takes it, the token behind it)."""
    path = "$"
    if blocks.word(index) != "[":
        path, index = f"$.{blocks.name(index)}", index + 1
    while True:
        if blocks.word(index) == "." and blocks.name(index + 1):
            path, index = f"{path}.{blocks.name(index + 1)}", index + 2
        elif blocks.word(index) == "[":
            closing = blocks.closing[index]
            path, index = path + blocks.token_text((index, closing + 1)), closing + 1
        else:
            return path, index


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
        changed = _Select(blocks, found, schema_of).rewritten()
        if changed is not None:
            return changed
    return None


@dataclass(frozen=True)
class _Item:
    """One thing that is selected."""

    span: Span
    expression: Span
    """Without its alias."""
    alias: str | None


class _Select:
    """Rewrites one SELECT, which holds no construct in its inner ones any more."""

    def __init__(self, blocks: SqlBlocks, block: SelectBlock, schema_of: SchemaOf) -> None:
        self.blocks = blocks
        self.block = block
        self.schema_of = schema_of
        self._rows: t.StructType | None = None

    def rewritten(self) -> str | None:
        """The whole text with the first construct of the SELECT rewritten."""
        for rewrite in (
            self.star_except,
            self.lateral_alias,
            self.exploded_map,
            self.lateral_view,
            self.group_by_all,
            self.order_by_all,
            self.empty_groups,
            self.ordered_groups,
            self.qualify,
        ):
            changed = rewrite()
            if changed is not None:
                return changed
        return None

    # -- what is known of the rows --------------------------------------------------------------

    @property
    def source(self) -> str:
        """The text behind FROM; "" if there is none."""
        clause = self.block.clause("from")
        return "" if clause is None else self.blocks.token_text(clause.body)

    def columns(self, selected: str = "*") -> t.StructType:
        """The columns of a select list over the same tables."""
        return schema_in_scope(
            self.blocks, self.block.span[0], f"SELECT {selected} FROM {self.source}", self.schema_of
        )

    @property
    def rows(self) -> t.StructType:
        """The columns that the SELECT may name."""
        if self._rows is None:
            self._rows = self.columns() if self.source else t.StructType()
        return self._rows

    def fail(self, what: str, index: int, condition: str = UNSUPPORTED) -> UserError:
        line = self.blocks.line(index)
        at = f" (line {line} of the query)" if line > 1 else ""
        return UserError(f"{what}{at}", condition=condition)

    # -- * EXCEPT -------------------------------------------------------------------------------

    def star_except(self) -> str | None:
        first, behind = self.block.clauses[0].body
        for index in range(first, behind):
            if self.blocks.is_star_except(index) and self._is_own(index):
                return self._without(index)
        return None

    def _is_own(self, index: int) -> bool:
        """Whether the token is in no SELECT inside this one."""
        return self.blocks.owners.get(index) == self.block.span[0]

    def _without(self, index: int) -> str:
        blocks, closing = self.blocks, self.blocks.closing[index + 1]
        first = index - 1
        while blocks.word(first - 1) == ".":
            first -= 2
        qualifier = blocks.token_text((first, index - 2)) if first < index - 1 else ""
        columns = self.star(qualifier, index)
        for span in blocks.split((index + 2, closing)):
            columns = self._remove_column(columns, span)
        if not columns:
            raise self.fail("* EXCEPT (...) leaves no column", index)
        inside = ", ".join(columns.values())
        return blocks.replace_tokens((first, closing + 1), inside)

    def star(self, qualifier: str, index: int) -> dict[tuple[str, ...], str]:
        """The columns of a star, by (table, name) in lower case, as they are written in its place."""
        if not self.source:
            raise self.fail("* needs a FROM", index)
        if qualifier:
            names = self.columns(f"{qualifier}.*").names
            return _by_name(qualifier.strip("`").rpartition(".")[2], qualifier, names)
        names = self.rows.names
        if len({name.lower() for name in names}) == len(names):
            return {("", name.lower()): quote_identifier(name) for name in names}
        together: dict[tuple[str, ...], str] = {}
        for alias in self.aliases():
            spelled = quote_identifier(alias)
            together |= _by_name(alias, spelled, self.columns(f"{spelled}.*").names)
        if [name for _, name in together] != [name.lower() for name in names]:
            raise self.fail(
                "* EXCEPT (...) over tables that share the names of columns: name the columns that"
                " stay",
                index,
            )
        return together

    def aliases(self) -> Iterator[str]:
        """The names of the tables in FROM, in order."""
        tree = _parse(f"SELECT * FROM {self.source}")
        if tree is None:
            return
        source = tree.args.get("from_")
        for table in (
            *([source.this] if source is not None else []),
            *(join.this for join in tree.args.get("joins") or ()),
            *(tree.args.get("laterals") or ()),
        ):
            yield str(table.alias_or_name)

    def _remove_column(
        self, columns: dict[tuple[str, ...], str], span: Span
    ) -> dict[tuple[str, ...], str]:
        """The columns without the one that is named; a field is taken out of its struct."""
        parts = [self.blocks.name(index) or "" for index in range(span[0], span[1], 2)]
        lowered = [part.lower() for part in parts]
        matches = [key for key in columns if _means(key, lowered)]
        if len(matches) > 1:
            raise self.fail(
                f"the column {'.'.join(parts)!r} may be that of several tables; write the table's"
                " name before it",
                span[0],
                "AMBIGUOUS_REFERENCE",
            )
        if matches:
            return {key: text for key, text in columns.items() if key not in matches}
        for key, text in columns.items():
            start = next((n for n in (1, 2) if _means(key, lowered[:n])), None)
            struct = None if start is None else self._struct(key[1], parts[start:])
            if struct is not None:
                smaller = _drop_field(text, struct, lowered[start:])
                return {
                    **columns,
                    key: f"{smaller} AS {quote_identifier(self._column_spelling(key[1]))}",
                }
        near = ", ".join(name for _, name in list(columns)[:10])
        raise self.fail(
            f"* EXCEPT names the column {'.'.join(parts)!r}, which is not there; there are {near}",
            span[0],
            "UNRESOLVED_COLUMN",
        )

    def _column_spelling(self, name: str) -> str:
        return next((known for known in self.rows.names if known.lower() == name), name)

    def _struct(self, name: str, path: Sequence[str]) -> t.StructType | None:
        column = next((field for field in self.rows.fields if field.name.lower() == name), None)
        if column is None or not path or not isinstance(column.dataType, t.StructType):
            return None
        return column.dataType

    # -- lateral column aliases -----------------------------------------------------------------

    def items(self) -> list[_Item]:
        """What is selected, with aliases apart."""
        return [self._item(span) for span in self.block.items]

    def _item(self, span: Span) -> _Item:
        first, behind = span
        name = self.blocks.name(behind - 1)
        if name is None or behind - first < 2 or self.blocks.word(behind - 2) in (".", "->", "::"):
            return _Item(span, span, None)
        if self.blocks.word(behind - 2) == "as":
            return _Item(span, (first, behind - 2), name)
        tree = _parse(f"SELECT {self.blocks.token_text(span)}")
        item = tree.expressions[0] if tree is not None and tree.expressions else None
        if isinstance(item, exp.Alias) and item.alias.lower() == name.lower():
            return _Item(span, (first, behind - 1), name)
        return _Item(span, span, None)

    def lateral_alias(self) -> str | None:
        if len(self.block.items) < 2:
            return None
        known: dict[str, _Item] = {}
        for item in self.items():
            for index in self._names_in(item.expression):
                name = (self.blocks.name(index) or "").lower()
                if name in known and not self._is_column(name):
                    return self._substitute(index, known[name])
            if item.alias is not None:
                known.setdefault(item.alias.lower(), item)
        return None

    def _names_in(self, span: Span) -> Iterator[int]:
        """The tokens of an expression that may be a column's name."""
        parameters: set[str] = set()
        blocks = self.blocks
        for index in range(*span):
            if blocks.word(index) != "->":
                continue
            before = index - 1
            if blocks.word(before) == ")":
                opening = next(o for o, closing in blocks.closing.items() if closing == before)
                parameters |= {(blocks.name(i) or "").lower() for i in range(opening + 1, before)}
            else:
                parameters.add((blocks.name(before) or "").lower())
        for index in range(*span):
            name = blocks.name(index)
            if name is None or name.lower() in parameters:
                continue
            if blocks.word(index - 1) in (".", ":", "::", "as"):  # a field, a type, a name
                continue
            if blocks.word(index + 1) in ("(", "=>", "->") or not self._is_own(index):
                continue
            around = (
                *blocks.tokens[max(index - 1, 0) : index],
                *blocks.tokens[index + 1 : index + 2],
            )
            if not any(token.token_type in _LITERALS for token in around):  # DATE 'x', 1 DAY
                yield index

    def _is_column(self, name: str) -> bool:
        return any(known.lower() == name for known in self.rows.names)

    def _substitute(self, index: int, item: _Item) -> str:
        expression = self.blocks.token_text(item.expression)
        called = {self.blocks.word(i) for i in range(*item.expression)}
        if called & (RANDOM | GENERATORS):
            raise self.fail(
                f"{item.alias!r} is not the same value each time it is computed, and is used by"
                " another column of its SELECT; use it in a SELECT around this one",
                index,
            )
        return self.blocks.replace_tokens((index, index + 1), f"({expression})")

    # -- generators over maps -------------------------------------------------------------------

    def exploded_map(self) -> str | None:
        for clause in self.block.clauses:
            if clause.name not in ("select", "from"):
                continue
            for index in range(*clause.body):
                word = self.blocks.word(index)
                if word in _EXPLODES and self.blocks.word(index + 1) == "(" and self._is_own(index):
                    changed = self._inline_clause(index, word, clause)
                    if changed is not None:
                        return changed
        return None

    def _inline_clause(self, index: int, word: str, clause: Clause) -> str | None:
        closing = self.blocks.closing[index + 1]
        argument = self.blocks.token_text((index + 2, closing))
        if not isinstance(self._type_of(argument, index, clause), t.MapType):
            return None
        entries = f"map_entries({argument})"
        if word.startswith("pos"):
            entries = (
                f"transform({entries}, (__proa_e, __proa_i) -> named_struct('pos', __proa_i,"
                " 'key', __proa_e.key, 'value', __proa_e.value))"
            )
        outer = "_outer" if word.endswith("_outer") else ""
        return self.blocks.replace_tokens((index, closing + 1), f"inline{outer}({entries})")

    def _type_of(self, argument: str, index: int, clause: Clause) -> t.DataType:
        source = self.source
        if clause.name == "from":  # a LATERAL VIEW sees what stands before it
            start = index
            while start > clause.body[0] and self.blocks.word(start) != "lateral":
                start -= 1
            source = self.blocks.token_text((clause.body[0], start)).rstrip().rstrip(",")
        text = f"SELECT {argument} AS a" + (f" FROM {source}" if source else "")
        found = schema_in_scope(self.blocks, self.block.span[0], text, self.schema_of)
        return found.fields[0].dataType

    # -- LATERAL VIEW with WHERE -------------------------------------------------------------------

    def lateral_view(self) -> str | None:
        """The engine's WHERE does not see what a LATERAL VIEW adds: put both into a subquery."""
        clause, blocks = self.block.clause("from"), self.blocks
        if clause is None or self.block.clause("where") is None:
            return None
        if not any(
            blocks.word(index) == "lateral" and blocks.word(index + 1) == "view"
            for index in range(*clause.body)
            if self._is_own(index)
        ):
            return None
        names = [name.lower() for name in self.rows.names]
        if len(set(names)) < len(names):
            raise self.fail(
                "LATERAL VIEW and WHERE over tables that share the names of columns: select the"
                " columns that are meant in a subquery",
                clause.span[0],
            )
        aliases = {alias.lower() for alias in self.aliases()}
        pieces, at = [], blocks.tokens[self.block.span[0]].start
        for index in range(*self.block.span):
            if index == clause.span[0]:
                end = blocks.tokens[clause.span[1] - 1].end + 1
                pieces += [
                    blocks.text[at : blocks.tokens[index].start],
                    f"FROM (SELECT * FROM {self.source}) AS __proa_v",
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
                columns = self.columns(f"{blocks.token_text((index, index + 1))}.*").names
                pieces.append(", ".join(map(quote_identifier, columns)))
                at = following.end + 1
        pieces.append(blocks.text[at : blocks.tokens[self.block.span[1] - 1].end + 1])
        return blocks.replace_tokens(self.block.span, "".join(pieces))

    # -- GROUP BY ALL ---------------------------------------------------------------------------

    def group_by_all(self) -> str | None:
        clause = self.block.clause("group by")
        if clause is None or self.blocks.token_text(clause.body).lower() != "all":
            return None
        keys: dict[str, None] = {}
        for first, behind in self.block.items:
            if self.blocks.tokens[behind - 1].token_type is TokenType.STAR:
                qualifier = (
                    self.blocks.token_text((first, behind - 2)) if behind - first > 1 else ""
                )
                columns = ", ".join(self.star(qualifier, first).values())
                return self.blocks.replace_tokens((first, behind), columns)
        for item in self.items():
            keys |= dict.fromkeys(self._keys(item.expression))
        aggregates = any(map(self._is_aggregate, range(*self.block.clauses[0].body)))
        if not keys and not aggregates:  # constants only: one row
            keys = {str(number + 1): None for number in range(len(self.block.items))}
        text = f"GROUP BY {', '.join(keys)}" if keys else ""
        return self.blocks.replace_tokens(clause.span, text)

    def _is_aggregate(self, index: int) -> bool:
        return self.blocks.word(index) in AGGREGATES and self.blocks.word(index + 1) == "("

    def _keys(self, span: Span) -> Iterator[str]:
        """What GROUP BY ALL groups by, of one selected expression."""
        blocks = self.blocks
        inside: set[int] = set()
        for index in range(*span):
            if self._is_aggregate(index):
                end = blocks.closing[index + 1]
                while blocks.word(end + 1) == "filter" and blocks.word(end + 2) == "(":
                    end = blocks.closing[end + 2]
                inside |= set(range(index, end + 1))
        if not inside:
            if span[1] - span[0] > 1 or blocks.name(span[0]) is not None:
                yield blocks.token_text(span)
        else:
            for index in self._names_in(span):
                keyword = blocks.word(index) in _KEYWORDS and not self._is_column(
                    blocks.word(index)
                )
                if index not in inside and not keyword:
                    end = index + 1
                    while blocks.word(end) == ".":
                        end += 2
                    yield blocks.token_text((index, end))

    # -- ROLLUP, CUBE, GROUPING SETS --------------------------------------------------------------

    def empty_groups(self) -> str | None:
        """Leave out the group of () where there are no rows: the engine has it, Spark has not."""
        blocks, clause = self.blocks, self.block.clause("group by")
        if clause is None or not any(map(self._makes_sets, range(*clause.body))):
            return None
        if all(blocks.name(index) is None for index in range(*clause.body)):
            return None  # only (): one row, as without GROUP BY
        having = self.block.clause("having")
        if having is None:
            text = f"{blocks.token_text(clause.span)} HAVING {_SOME_ROW}"
            return blocks.replace_tokens(clause.span, text)
        condition = blocks.token_text(having.body)
        if condition.startswith(_SOME_ROW):
            return None
        if self.block.clause("qualify") or "over" in map(blocks.word, range(*self.block.span)):
            return blocks.replace_tokens(having.body, f"{_SOME_ROW} AND ({condition})")
        # In HAVING the engine takes the columns of the groups for their keys, in aggregates too.
        return blocks.replace_tokens(having.span, f"QUALIFY {condition}")

    def _makes_sets(self, index: int) -> bool:
        if self.blocks.word(index) not in _SETS or not self._is_own(index):
            return False
        return self.blocks.word(index + 1) == "(" or self.blocks.word(index - 1) == "with"

    # -- ORDER BY an aggregate ------------------------------------------------------------------

    def ordered_groups(self) -> str | None:
        """Order groups by an aggregate, which the engine does for selected ones without HAVING only.

        QUALIFY puts what ORDER BY needs into a subquery.
        """
        blocks, block = self.blocks, self.block
        order, last = block.clause("order by"), block.clause("group by")
        if order is None or last is None or block.in_set_operation or block.clause("qualify"):
            return None
        keys = [s for s in blocks.split(order.body) if any(map(self._is_aggregate, range(*s)))]
        selected = {blocks.token_text(item.expression) for item in self.items()}
        having = block.clause("having")
        known = all(blocks.token_text((k[0], self._end_of_key(k))) in selected for k in keys)
        if not keys or (having is None and known):
            return None
        span = (having or last).span
        return blocks.replace_tokens(span, f"{blocks.token_text(span)} QUALIFY true")

    def _end_of_key(self, span: Span) -> int:
        """Where ASC, DESC and NULLS begin in an element of ORDER BY."""
        first, end = span
        while self.blocks.word(end - 1) in _ORDERS and end > first + 1:
            end -= 1
        return end

    # -- QUALIFY --------------------------------------------------------------------------------

    def qualify(self) -> str | None:
        clause = self.block.clause("qualify")
        if clause is None:
            return None
        blocks, block = self.blocks, self.block
        order = None if block.in_set_operation else block.clause("order by")
        kept = [c for c in block.clauses[1:] if c.span < clause.span or c.name == "window"]
        tail = [c for c in block.clauses if c.span > clause.span and c not in kept]
        columns = self._expand_stars()
        aliases = {item.alias.lower(): item for item in self.items() if item.alias}
        inner = [f"{text} AS __proa_c{n}" for n, (text, _) in enumerate(columns)]
        condition = self._with_aliases(clause.body, aliases)
        inner.append(f"({condition}) AS __proa_q")
        last = ""
        if order is not None:
            last = self._order_by(order, aliases, columns, inner)
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

    def _expand_stars(self) -> list[tuple[str, str]]:
        """What is selected as (expression, column name), stars expanded."""
        spans: list[tuple[str, str | None]] = []
        for item in self.items():
            first, behind = item.expression
            if item.alias is None and self.blocks.tokens[behind - 1].token_type is TokenType.STAR:
                qualifier = (
                    self.blocks.token_text((first, behind - 2)) if behind - first > 1 else ""
                )
                spans += [(text, None) for text in self.star(qualifier, first).values()]
            else:
                spans.append((self.blocks.token_text(item.expression), item.alias))
        if all(alias is not None for _, alias in spans):
            return [(text, str(alias)) for text, alias in spans]
        head = ", ".join(
            text if a is None else f"{text} AS {quote_identifier(a)}" for text, a in spans
        )
        body = " ".join(
            self.blocks.token_text(clause.span)
            for clause in self.block.clauses[1:]
            if clause.name in ("from", "where", "group by", "having", "window")
        )
        schema = schema_in_scope(
            self.blocks, self.block.span[0], f"SELECT {head} {body}", self.schema_of
        )
        if len(schema.names) != len(spans):
            raise UserError(
                f"the columns of this query cannot be told apart: {head[:60]!r}; write them one by one",
                condition=UNSUPPORTED,
            )
        return [(text, name) for (text, _), name in zip(spans, schema.names, strict=True)]

    def _with_aliases(self, span: Span, aliases: dict[str, _Item]) -> str:
        """The text with names of selected columns replaced by what they stand for."""
        blocks = self.blocks
        pieces, at = [], blocks.tokens[span[0]].start
        for index in self._names_in(span):
            item = aliases.get((blocks.name(index) or "").lower())
            if item is not None and not self._is_column((blocks.name(index) or "").lower()):
                token = blocks.tokens[index]
                pieces += [blocks.text[at : token.start], f"({blocks.token_text(item.expression)})"]
                at = token.end + 1
        return "".join([*pieces, blocks.text[at : blocks.tokens[span[1] - 1].end + 1]])

    def _order_by(
        self,
        order: Clause,
        aliases: dict[str, _Item],
        columns: list[tuple[str, str]],
        inner: list[str],
    ) -> str:
        """The ORDER BY of the outer SELECT; what it needs is added to the inner one."""
        blocks, keys = self.blocks, []
        names = [name.lower() for _, name in columns]
        texts = [text for text, _ in columns]
        for number, (first, behind) in enumerate(blocks.split(order.body)):
            end = self._end_of_key((first, behind))
            suffix = blocks.token_text((end, behind))
            name = (blocks.name(first) or "").lower() if end - first == 1 else ""
            if blocks.tokens[first].token_type is TokenType.NUMBER and end - first == 1:
                keys.append(f"{blocks.token_text((first, end))} {suffix}")
            elif name in names:
                keys.append(f"__proa_c{names.index(name)} {suffix}")
            elif (text := blocks.token_text((first, end))) in texts:
                keys.append(f"__proa_c{texts.index(text)} {suffix}")
            else:
                inner.append(f"{self._with_aliases((first, end), aliases)} AS __proa_o{number}")
                keys.append(f"__proa_o{number} {suffix}")
        return f"ORDER BY {', '.join(key.strip() for key in keys)}"

    # -- ORDER BY ALL ---------------------------------------------------------------------------

    def order_by_all(self) -> str | None:
        clause = self.block.clause("order by")
        if clause is None or self.blocks.word(clause.body[0]) != "all":
            return None
        first, behind = clause.body
        if self.blocks.word(first + 1) not in ("", "asc", "desc", "nulls") or (
            self.blocks.tokens[first].token_type is TokenType.IDENTIFIER
        ):
            return None
        suffix = self.blocks.token_text((first + 1, behind))
        keys = [f"{n} {suffix}".strip() for n in range(1, self._width() + 1)]
        return self.blocks.replace_tokens(clause.span, f"ORDER BY {', '.join(keys)}")

    def _width(self) -> int:
        """How many columns the SELECT has."""
        stars = any(
            self.blocks.tokens[behind - 1].token_type is TokenType.STAR
            or self.blocks.word(first) in GENERATORS
            for first, behind in self.block.items
        )
        if not stars:
            return len(self.block.items)
        body = [
            self.blocks.token_text(clause.span)
            for clause in self.block.clauses
            if clause.name in ("select", "from", "where", "group by", "having")
        ]
        found = schema_in_scope(self.blocks, self.block.span[0], " ".join(body), self.schema_of)
        return len(found.fields)


def schema_in_scope(blocks: SqlBlocks, index: int, text: str, schema_of: SchemaOf) -> t.StructType:
    """The columns of a query that stands where the token is: it sees the same WITH clauses."""
    scopes = list(blocks.scopes(index))
    return schema_of(f"WITH {', '.join(scopes)} {text}" if scopes else text)


def _by_name(table: str, qualifier: str, names: Sequence[str]) -> dict[tuple[str, ...], str]:
    return {
        (table.lower(), name.lower()): f"{qualifier}.{quote_identifier(name)}" for name in names
    }


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


def _parse(text: str) -> exp.Expr | None:
    try:
        return sqlglot.parse_one(text, dialect="databricks")
    except (SqlglotError, IndexError, RecursionError):
        return None
