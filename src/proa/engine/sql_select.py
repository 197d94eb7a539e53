"""One SELECT of a text and what is known of it: its columns, its tables, which tokens are names.

What `sql_columns` and `sql_groups` rewrite is found here, by asking the engine for the columns of
queries over the same tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import sqlglot
from pyspark.sql import types as t
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from proa.engine.join_keys import JoinKeys
from proa.engine.spark_functions import AGGREGATES
from proa.engine.sql_blocks import SelectBlock, Span, SqlBlocks
from proa.errors import UserError
from proa.text import quote_identifier

UNSUPPORTED = "UNSUPPORTED_FEATURE"
SchemaOf = Callable[[str], t.StructType]
"""The columns of another query text that sees the same tables."""

AS_IT_IS = "/* as the engine has it */"
"""Marks a query in which `t.*` stays as it is."""
_LITERALS = (TokenType.STRING, TokenType.NUMBER)


@dataclass(frozen=True)
class SelectItem:
    """One thing that is selected."""

    span: Span
    expression: Span
    """Without its alias."""
    alias: str | None


class SelectText:
    """One SELECT, which holds no construct in its inner ones any more."""

    def __init__(self, blocks: SqlBlocks, block: SelectBlock, schema_of: SchemaOf) -> None:
        self.blocks = blocks
        self.block = block
        self.schema_of = schema_of
        self._rows: t.StructType | None = None

    @property
    def source(self) -> str:
        """The text behind FROM; "" if there is none."""
        clause = self.block.clause("from")
        return "" if clause is None else self.blocks.token_text(clause.body)

    def columns(self, selected: str = "*") -> t.StructType:
        """The columns of a select list over the same tables."""
        return self.schema(f"SELECT {selected} FROM {self.source}")

    def schema(self, text: str) -> t.StructType:
        """The columns of a query that stands in place of this one."""
        return schema_in_scope(self.blocks, self.block.span[0], text, self.schema_of)

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

    def is_own(self, index: int) -> bool:
        """Whether the token is in no SELECT inside this one."""
        return self.blocks.owners.get(index) == self.block.span[0]

    def star(self, qualifier: str, index: int) -> dict[tuple[str, ...], str]:
        """The columns of a star, by (table, name) in lower case, as they are written in its place."""
        if not self.source:
            raise self.fail("* needs a FROM", index)
        if qualifier:
            table = qualifier.replace("`", "").rpartition(".")[2]
            common = self._keys_of(table, index)
            try:
                names = self.columns(f"{qualifier}.* {AS_IT_IS}").names
            except UserError:
                if not common:
                    raise
                names = []  # it has no other columns
            return common | _by_name(table, qualifier, names)
        names = self.rows.names
        if len({name.lower() for name in names}) == len(names):
            return {("", name.lower()): quote_identifier(name) for name in names}
        together: dict[tuple[str, ...], str] = {}
        for alias, keys in self.tables():
            spelled = quote_identifier(alias)
            right = _by_name(alias, spelled, self.columns(f"{spelled}.* {AS_IT_IS}").names)
            shared = {("", key.lower()): quote_identifier(key) for key in keys}
            together = shared | {
                key: text for key, text in (together | right).items() if ("", key[1]) not in shared
            }
        if [name for _, name in together] != [name.lower() for name in names]:
            raise self.fail(
                "* EXCEPT (...) over tables that share the names of columns: name the columns that"
                " stay",
                index,
            )
        return together

    def _keys_of(self, table: str, index: int) -> dict[tuple[str, ...], str]:
        keys = self.join_keys.of_table(table)
        if not all(keys.values()):
            raise self.fail(
                f"{table}.* behind a join by USING ({', '.join(keys)}): name its columns, or write the join's"
                " condition (ON)",
                index,
            )
        return {(table.lower(), key): quote_identifier(key) for key in keys}

    @cached_property
    def join_keys(self) -> JoinKeys:
        """What USING in FROM joins by."""
        found = JoinKeys()
        clause = self.block.clause("from")
        words = range(*clause.body) if clause is not None else ()
        tree = (
            _parse(f"SELECT * FROM {self.source}")
            if any(self.blocks.word(index) == "using" and self.is_own(index) for index in words)
            else None
        )
        source = tree.args.get("from_") if tree is not None else None
        if tree is None or source is None:
            return found
        found = JoinKeys.of(str(source.this.alias_or_name))
        for join in tree.args.get("joins") or ():
            side = (join.kind if join.kind in {"SEMI", "ANTI"} else join.side or "").lower()
            keys = [key.name for key in join.args.get("using") or ()]
            found = found.join(JoinKeys.of(str(join.this.alias_or_name)), side, keys)
        return found

    def columns_of_star(self, item: Span) -> list[str] | None:
        """What `*` or `table.*` stands for. Returns None if the item is something else."""
        first, behind = item
        if self.blocks.tokens[behind - 1].token_type is not TokenType.STAR:
            return None
        return list(self.star(self.blocks.token_text((first, behind - 2)), first).values())

    def tables(self) -> Iterator[tuple[str, list[str]]]:
        """The names of the tables in FROM, in order, each with the columns that USING joins it by."""
        tree = _parse(f"SELECT * FROM {self.source}")
        if tree is None:
            return
        source = tree.args.get("from_")
        if source is not None:
            yield str(source.this.alias_or_name), []
        for join in tree.args.get("joins") or ():
            yield str(join.this.alias_or_name), [key.name for key in join.args.get("using") or ()]
        for lateral in tree.args.get("laterals") or ():
            yield str(lateral.alias_or_name), []

    def items(self) -> list[SelectItem]:
        """What is selected, with aliases apart."""
        return [self._item(span) for span in self.block.items]

    def _item(self, span: Span) -> SelectItem:
        first, behind = span
        name = self.blocks.name(behind - 1)
        if name is None or behind - first < 2 or self.blocks.word(behind - 2) in (".", "->", "::"):
            return SelectItem(span, span, None)
        if self.blocks.word(behind - 2) == "as":
            return SelectItem(span, (first, behind - 2), name)
        tree = _parse(f"SELECT {self.blocks.token_text(span)}")
        item = tree.expressions[0] if tree is not None and tree.expressions else None
        if isinstance(item, exp.Alias) and item.alias.lower() == name.lower():
            return SelectItem(span, (first, behind - 1), name)
        return SelectItem(span, span, None)

    def names_in(self, span: Span) -> Iterator[int]:
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
            if blocks.word(index + 1) in ("(", "=>", "->") or not self.is_own(index):
                continue
            around = (
                *blocks.tokens[max(index - 1, 0) : index],
                *blocks.tokens[index + 1 : index + 2],
            )
            if not any(token.token_type in _LITERALS for token in around):  # DATE 'x', 1 DAY
                yield index

    def is_column(self, name: str) -> bool:
        return any(known.lower() == name for known in self.rows.names)

    def is_aggregate(self, index: int) -> bool:
        return self.blocks.word(index) in AGGREGATES and self.blocks.word(index + 1) == "("

    def expand_stars(self) -> list[tuple[str, str]]:
        """What is selected as (expression, column name), stars expanded."""
        spans: list[tuple[str, str | None]] = []
        for item in self.items():
            columns = self.columns_of_star(item.expression) if item.alias is None else None
            if columns is not None:
                spans += [(text, None) for text in columns]
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
        schema = self.schema(f"SELECT {head} {body}")
        if len(schema.names) != len(spans):
            raise UserError(
                f"the columns of this query cannot be told apart: {head[:60]!r}; write them one by one",
                condition=UNSUPPORTED,
            )
        return [(text, name) for (text, _), name in zip(spans, schema.names, strict=True)]


def schema_in_scope(blocks: SqlBlocks, index: int, text: str, schema_of: SchemaOf) -> t.StructType:
    """The columns of a query that stands where the token is: it sees the same WITH clauses."""
    scopes = list(blocks.scopes(index))
    return schema_of(f"WITH {', '.join(scopes)} {text}" if scopes else text)


def _by_name(table: str, qualifier: str, names: Sequence[str]) -> dict[tuple[str, ...], str]:
    return {
        (table.lower(), name.lower()): f"{qualifier}.{quote_identifier(name)}" for name in names
    }


def _parse(text: str) -> exp.Expr | None:
    try:
        return sqlglot.parse_one(text, dialect="databricks")
    except (SqlglotError, IndexError, RecursionError):
        return None
