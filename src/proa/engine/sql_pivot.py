"""PIVOT and UNPIVOT as aggregates with FILTER, and as `stack`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyspark.sql import types as t
from sqlglot import TokenType

from proa.engine.spark_functions import AGGREGATES, words
from proa.engine.sql_blocks import Span, SqlBlocks, text_literal
from proa.errors import UserError
from proa.text import quote_identifier

_COUNTS = words("count count_if approx_count_distinct regr_count")
"""Aggregates that are 0 without rows; Spark's PIVOT makes that NULL."""
_COLLECTIONS = words("collect_list collect_set array_agg histogram_numeric map_agg")
"""Aggregates for which Spark's PIVOT takes another way, on which counts stay 0."""
_AFTER_FROM = words("from join , (")


@dataclass(frozen=True)
class PivotClause:
    """`PIVOT (...)` or `UNPIVOT (...)`, and the relation before it."""

    index: int
    depth: int
    source: Span
    inside: Span


def pivots(blocks: SqlBlocks) -> list[PivotClause]:
    """The clauses of a text, in its order."""
    found = []
    for index in range(1, len(blocks.tokens)):
        word = blocks.word(index)
        if word not in ("pivot", "unpivot") or blocks.word(index - 1) in _AFTER_FROM | {"."}:
            continue
        opening = index + 1
        if word == "unpivot" and blocks.word(opening) in ("include", "exclude"):
            opening += 2
        if blocks.word(opening) != "(" or not _is_clause(blocks, opening):
            continue
        start = index - 1
        depth = blocks.depths[index]
        while start > 0 and not (
            blocks.depths[start - 1] < depth
            or (blocks.depths[start - 1] == depth and _begins_relation(blocks, start - 1))
        ):
            start -= 1
        inside = (opening + 1, blocks.closing[opening])
        found.append(PivotClause(index, depth, (start, index), inside))
    return found


def _begins_relation(blocks: SqlBlocks, index: int) -> bool:
    """Whether the token is FROM, or a comma between relations: not one between rows of VALUES."""
    if blocks.word(index) != ",":
        return blocks.word(index) == "from"
    depth = blocks.depths[index]
    while index > 0 and blocks.depths[index] >= depth:
        index -= 1
        if blocks.depths[index] == depth and blocks.word(index) not in (",", ")", "("):
            return blocks.word(index) != "values"
    return True


def _is_clause(blocks: SqlBlocks, opening: int) -> bool:
    return any(blocks.word(index) == "for" for index in range(opening, blocks.closing[opening]))


def rewritten(
    blocks: SqlBlocks, clause: PivotClause, columns_of: Callable[[int, str], t.StructType]
) -> str:
    """The whole text with the clause replaced by a subquery.

    `columns_of` gives the columns of a query that stands where a token is.
    """
    rewriter = _Pivot(blocks, clause, columns_of)
    unpivots = blocks.word(clause.index) == "unpivot"
    subquery = rewriter.unpivot_subquery() if unpivots else rewriter.pivot_subquery()
    behind = clause.inside[1] + 1
    alias = "" if _has_alias(blocks, behind) else " AS __proa_p"
    return blocks.replace_tokens((clause.source[0], behind), f"({subquery}){alias}")


def _has_alias(blocks: SqlBlocks, index: int) -> bool:
    ends = words(
        """where group order having limit union intersect except minus join inner left right full
        cross natural anti semi on using lateral tablesample pivot unpivot window qualify cluster
        distribute sort offset select"""
    )
    name = blocks.name(index)
    return name is not None and (blocks.word(index) == "as" or name.lower() not in ends)


class _Pivot:
    def __init__(
        self,
        blocks: SqlBlocks,
        clause: PivotClause,
        columns_of: Callable[[int, str], t.StructType],
    ) -> None:
        self.blocks = blocks
        self.clause = clause
        self.source = blocks.token_text(clause.source)
        self.columns = columns_of(clause.index, f"SELECT * FROM {self.source}")
        names = [name.lower() for name in self.columns.names]
        for name in names:
            if names.count(name) > 1:
                raise self.fail(
                    f"the tables before it have two columns {name!r}; select the columns that are"
                    " meant in a subquery",
                    "AMBIGUOUS_REFERENCE",
                )

    def fail(self, what: str, condition: str) -> UserError:
        word = self.blocks.word(self.clause.index).upper()
        line = self.blocks.line(self.clause.index)
        return UserError(f"{word} in line {line} of the query: {what}", condition=condition)

    # -- PIVOT ----------------------------------------------------------------------------------

    def pivot_subquery(self) -> str:
        """The subquery for PIVOT (aggregates FOR columns IN (values))."""
        blocks = self.blocks
        first, behind = self.clause.inside
        middle = next(i for i in range(first, behind) if self._at_top(i, "for"))
        opening = next((i + 1 for i in range(middle, behind) if self._at_top(i, "in")), None)
        if opening is None or blocks.word(opening) != "(":
            raise self.fail("expected FOR column IN (values)", "PARSE_SYNTAX_ERROR")
        keys = self._list((middle + 1, opening - 1))
        aggregates = [self._named_expression(span) for span in blocks.split((first, middle))]
        values = blocks.split((opening + 1, blocks.closing[opening]))
        used = self._names((first, middle)) | {
            key.split(".")[-1].strip("` ").lower() for key in keys
        }
        groups = [quote_identifier(name) for name in self.columns.names if name.lower() not in used]
        outputs = [*groups]
        for value in values:
            outputs += self._outputs(value, keys, aggregates)
        group_by = f" GROUP BY {', '.join(groups)}" if groups else ""
        return f"SELECT {', '.join(outputs)} FROM {self.source}{group_by}"

    def _outputs(
        self, value: Span, keys: Sequence[str], aggregates: Sequence[tuple[Span, str | None]]
    ) -> list[str]:
        span, alias = self._named_expression(value)
        parts = self._list(span)
        condition = " AND ".join(f"{key} <=> {part}" for key, part in zip(keys, parts, strict=True))
        name = alias if alias is not None else self._value_name(parts)
        collects = any(self._calls(span, _COLLECTIONS) for span, _ in aggregates)
        texts = []
        for span, called in aggregates:
            text = self._filter_aggregates(span, condition)
            if self._calls(span, _COUNTS) and not collects:
                text = f"CASE WHEN count_if({condition}) > 0 THEN {text} END"
            suffix = f"_{called or self._aggregate_name(span)}" if len(aggregates) > 1 else ""
            texts.append(f"{text} AS {quote_identifier(name + suffix)}")
        return texts

    def _filter_aggregates(self, span: Span, condition: str) -> str:
        """The expression with a FILTER behind each of its aggregates."""
        blocks = self.blocks
        at, pieces = blocks.tokens[span[0]].start, []
        index = span[0]
        while index < span[1]:
            if blocks.word(index) in AGGREGATES and blocks.word(index + 1) == "(":
                index = blocks.closing[index + 1]
                if blocks.word(index + 1) in ("filter", "within", "over"):
                    raise self.fail("an aggregate has a clause of its own", "UNSUPPORTED_FEATURE")
                end = blocks.tokens[index].end + 1
                pieces.append(f"{blocks.text[at:end]} FILTER (WHERE {condition})")
                at = end
            index += 1
        return "".join([*pieces, blocks.text[at : blocks.tokens[span[1] - 1].end + 1]])

    def _calls(self, span: Span, functions: frozenset[str]) -> bool:
        return any(self.blocks.word(index) in functions for index in range(*span))

    def _names(self, span: Span) -> set[str]:
        return {(self.blocks.name(index) or "").lower() for index in range(*span)}

    def _aggregate_name(self, span: Span) -> str:
        """An aggregate without a name, as Spark calls it."""
        text = re.sub(r"\s+", " ", self.blocks.token_text(span))
        text = re.sub(r"^\w+(?=\()", lambda match: match.group().lower(), text)
        return "count(1)" if text.replace(" ", "") == "count(*)" else text

    def _value_name(self, parts: Sequence[str]) -> str:
        texts = [_bare_value_name(part) for part in parts]
        return texts[0] if len(texts) == 1 else "{" + ", ".join(texts) + "}"

    # -- UNPIVOT --------------------------------------------------------------------------------

    def unpivot_subquery(self) -> str:
        """The subquery for UNPIVOT [INCLUDE NULLS] (values FOR name IN (columns))."""
        blocks = self.blocks
        first, behind = self.clause.inside
        middle = next(i for i in range(first, behind) if self._at_top(i, "for"))
        opening = next((i + 1 for i in range(middle, behind) if self._at_top(i, "in")), None)
        if opening is None or blocks.word(opening) != "(":
            raise self.fail("expected FOR name IN (columns)", "PARSE_SYNTAX_ERROR")
        values, name = self._list((first, middle)), blocks.token_text((middle + 1, opening - 1))
        rows: list[tuple[str, list[str]]] = []
        for span in blocks.split((opening + 1, blocks.closing[opening])):
            columns, alias = self._named_expression(span)
            parts = self._list(columns)
            names = [part.split(".")[-1].strip("` ") for part in parts]
            rows.append((alias if alias is not None else "_".join(names), parts))
        used = {part.split(".")[-1].strip("` ").lower() for _, parts in rows for part in parts}
        others = [
            quote_identifier(column) for column in self.columns.names if column.lower() not in used
        ]
        kinds = [self._kind([parts[n] for _, parts in rows]) for n in range(len(values))]
        stacked = ", ".join(
            ", ".join(
                [
                    text_literal(label),
                    *(
                        f"CAST({part} AS {kind.simpleString()})"
                        for part, kind in zip(parts, kinds, strict=True)
                    ),
                ]
            )
            for label, parts in rows
        )
        produced = ", ".join([name, *values])
        selected = ", ".join([*others, f"stack({len(rows)}, {stacked}) AS ({produced})"])
        text = f"SELECT {selected} FROM {self.source}"
        if blocks.word(self.clause.index + 1) == "include":
            return text
        kept = " OR ".join(f"{value} IS NOT NULL" for value in values)
        return f"SELECT * FROM ({text}) AS __proa_u WHERE {kept}"

    def _kind(self, columns: Sequence[str]) -> t.DataType:
        """The type that holds the values of all columns."""
        kinds = [self._type_of(column) for column in columns]
        common: t.DataType | None = kinds[0]
        for kind in kinds[1:]:
            common = None if common is None else common_type(common, kind)
        if common is None:
            shown = ", ".join(
                f"{column} {kind.simpleString()}"
                for column, kind in zip(columns, kinds, strict=True)
            )
            raise self.fail(
                f"the columns have no common type ({shown}); cast them in a subquery",
                "UNPIVOT_VALUE_DATA_TYPE_MISMATCH",
            )
        return common

    def _type_of(self, column: str) -> t.DataType:
        name = column.rsplit(".", maxsplit=1)[-1].strip("` ").lower()
        for field in self.columns.fields:
            if field.name.lower() == name:
                kind: t.DataType = field.dataType
                return kind
        raise self.fail(f"there is no column {column!r}", "UNRESOLVED_COLUMN")

    # -- texts ----------------------------------------------------------------------------------

    def _at_top(self, index: int, word: str) -> bool:
        blocks = self.blocks
        return blocks.word(index) == word and (
            blocks.depths[index] == blocks.depths[self.clause.inside[0]]
        )

    def _list(self, span: Span) -> list[str]:
        """`a`, or the parts of `(a, b)`."""
        first, behind = span
        if self.blocks.word(first) == "(" and self.blocks.closing[first] == behind - 1:
            return [
                self.blocks.token_text(part) for part in self.blocks.split((first + 1, behind - 1))
            ]
        return [self.blocks.token_text(span)]

    def _named_expression(self, span: Span) -> tuple[Span, str | None]:
        """(an expression, the name behind it)."""
        first, behind = span
        name = self.blocks.name(behind - 1)
        if name is None or behind - first < 2 or self.blocks.word(behind - 2) == ".":
            return span, None
        if self.blocks.word(behind - 2) == "as":
            return (first, behind - 2), name
        before = self.blocks.tokens[behind - 2].token_type
        ends = (TokenType.R_PAREN, TokenType.STRING, TokenType.NUMBER, TokenType.IDENTIFIER)
        if before in ends or self.blocks.name(behind - 2) is not None:
            return (first, behind - 1), name
        return span, None


_RANKS: tuple[type[t.DataType], ...] = (t.ByteType, t.ShortType, t.IntegerType, t.LongType)
_DIGITS = (3, 5, 10, 20)


def common_type(one: t.DataType, other: t.DataType) -> t.DataType | None:
    """The type to which Spark widens both. Returns None if there is none."""
    if one == other or isinstance(other, t.NullType):
        return one
    if isinstance(one, t.NullType):
        return other
    if isinstance(one, t.NumericType) and isinstance(other, t.NumericType):
        return _common_number(one, other)
    return t.TimestampType() if {type(one), type(other)} == {t.DateType, t.TimestampType} else None


def _common_number(one: t.DataType, other: t.DataType) -> t.DataType | None:
    kinds = {type(one), type(other)}
    if kinds <= set(_RANKS):
        return max((one, other), key=lambda kind: _RANKS.index(type(kind)))
    if kinds & {t.DoubleType, t.FloatType}:
        single = t.DoubleType not in kinds and t.DecimalType not in kinds
        return t.FloatType() if single else t.DoubleType()
    left, right = _as_decimal(one), _as_decimal(other)
    scale = max(left.scale, right.scale)
    digits = max(left.precision - left.scale, right.precision - right.scale)
    return t.DecimalType(digits + scale, scale) if digits + scale <= 38 else None


def _as_decimal(kind: t.DataType) -> t.DecimalType:
    if isinstance(kind, t.DecimalType):
        return kind
    return t.DecimalType(_DIGITS[_RANKS.index(type(kind))], 0)


def _bare_value_name(value: str) -> str:
    """How Spark names the column of a value."""
    text = value.strip()
    if text[:1] in ("'", '"') and text[-1:] == text[:1]:
        return text[1:-1].replace("\\'", "'").replace("''", "'")
    return "null" if text.lower() == "null" else text
