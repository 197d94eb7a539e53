"""The clauses of SQL, found by its tokens: where each SELECT begins and ends, and what is in it.

Positions are those of the text, so that a clause can be replaced and all else stays as written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sqlglot import Token, TokenType
from sqlglot.dialects.databricks import Databricks

_OPENING = (TokenType.L_PAREN, TokenType.L_BRACKET)
_CLOSING = (TokenType.R_PAREN, TokenType.R_BRACKET)
_NESTING = (TokenType.ARRAY, TokenType.MAP, TokenType.STRUCT)
_SET_OPERATORS = ("union", "intersect", "minus", "except")
_BY = ("group by", "order by", "sort by", "cluster by", "distribute by")
_CLAUSES = ("from", "where", "having", "qualify", "limit", "offset", "window")

Span = tuple[int, int]
"""Indices of tokens: the first one, and the one behind the last."""


@dataclass(frozen=True)
class Clause:
    """One clause of a SELECT."""

    name: str
    """ "select", "from", "group by", ... in lower case."""
    span: Span
    """The keyword included."""
    body: Span


@dataclass(frozen=True)
class SelectBlock:
    """A SELECT up to the end of its last clause."""

    span: Span
    depth: int
    """How many brackets are open around it."""
    clauses: tuple[Clause, ...]
    items: tuple[Span, ...]
    """What is selected."""
    distinct: bool
    in_set_operation: bool
    """Whether it is one side of UNION, INTERSECT or EXCEPT: ORDER BY is not its own then."""

    def clause(self, name: str) -> Clause | None:
        """The clause of that name. Returns None if there is none."""
        return next((clause for clause in self.clauses if clause.name == name), None)


@dataclass(frozen=True)
class SqlBlocks:
    """A text with its tokens and its SELECTs, innermost ones first."""

    text: str
    tokens: Sequence[Token]
    closing: dict[int, int] = field(repr=False)
    """Index of an opening bracket -> index of its closing one."""
    depths: Sequence[int] = field(repr=False)
    """How many brackets are open around each token; those of array<...> and struct<...> too."""
    in_types: frozenset[int] = field(repr=False)
    """The tokens between `<` and `>` of a type."""

    @classmethod
    def of(cls, text: str) -> SqlBlocks:
        """Read a text. Raises SqlglotError if it has no tokens, ValueError for open brackets."""
        tokens = Databricks().tokenize(text)
        closing: dict[int, int] = {}
        depths: list[int] = []
        opened: list[int] = []
        in_types: set[int] = set()
        for index, token in enumerate(tokens):
            if token.token_type in _NESTING and index not in in_types:
                in_types.update(range(index + 2, _end_of_type(tokens, index + 1)))
            if token.token_type in _CLOSING:
                if not opened:
                    raise ValueError("a bracket is closed that was not opened")
                closing[opened.pop()] = index
            depths.append(len(opened) + (index in in_types))
            if token.token_type in _OPENING:
                opened.append(index)
        if opened:
            raise ValueError("a bracket is not closed")
        return cls(text, tokens, closing, depths, frozenset(in_types))

    # -- tokens ---------------------------------------------------------------------------------

    def word(self, index: int) -> str:
        """The token in lower case. Returns "" for a quoted name, a string, and outside the text."""
        if not 0 <= index < len(self.tokens):
            return ""
        token = self.tokens[index]
        quoted = token.token_type in (TokenType.IDENTIFIER, TokenType.STRING)
        return "" if quoted else " ".join(token.text.lower().split())

    def name(self, index: int) -> str | None:
        """The name that the token is. Returns None if it is not a name."""
        if not 0 <= index < len(self.tokens):
            return None
        token = self.tokens[index]
        if token.token_type is TokenType.IDENTIFIER:
            return token.text
        return (
            token.text if token.text.replace("_", "a").isalnum() and self._is_word(token) else None
        )

    def token_text(self, span: Span) -> str:
        """The text of the tokens."""
        first, behind = span
        if first >= behind:
            return ""
        return self.text[self.tokens[first].start : self.tokens[behind - 1].end + 1]

    def replace_tokens(self, span: Span, text: str) -> str:
        """The whole text with the tokens replaced. Their lines are kept."""
        start, end = self.tokens[span[0]].start, self.tokens[span[1] - 1].end + 1
        lines = self.text.count("\n", start, end) - text.count("\n")
        return self.text[:start] + text + "\n" * max(lines, 0) + self.text[end:]

    def line(self, index: int) -> int:
        """The line of a token, counted from 1."""
        return self.text.count("\n", 0, self.tokens[index].start) + 1

    def split(self, span: Span) -> tuple[Span, ...]:
        """The parts of a list, separated by commas that are in no bracket."""
        first, behind = span
        if first >= behind:
            return ()
        depth = self.depths[first]
        commas = [
            index
            for index in range(first, behind)
            if self.depths[index] == depth and self.tokens[index].token_type is TokenType.COMMA
        ]
        starts = [first, *(comma + 1 for comma in commas)]
        return tuple(zip(starts, [*commas, behind], strict=True))

    @staticmethod
    def _is_word(token: Token) -> bool:
        return token.token_type not in (TokenType.STRING, TokenType.NUMBER, TokenType.RAW_STRING)

    # -- blocks ---------------------------------------------------------------------------------

    @cached_property
    def selects(self) -> list[SelectBlock]:
        """The SELECTs of the text, innermost ones first."""
        starts = [i for i in range(len(self.tokens)) if self._begins_select(i)]
        return sorted(map(self._block, starts), key=lambda block: (-block.depth, block.span))

    @cached_property
    def owners(self) -> dict[int, int]:
        """Index of a token -> index of the SELECT that it belongs to."""
        found: dict[int, int] = {}
        for block in self.selects:
            for index in range(*block.span):
                found.setdefault(index, block.span[0])
        return found

    def level(self, index: int) -> Span:
        """The tokens in the same pair of brackets as the token, or all that are in none."""
        depth = self.depths[index]
        first = index
        while first > 0 and self.depths[first - 1] >= depth:
            first -= 1
        behind = index
        while behind < len(self.tokens) and self.depths[behind] >= depth:
            behind += 1
        return first, behind

    def scopes(self, index: int) -> Iterator[str]:
        """The common table expressions in sight of a token, "name AS (...)", outer ones first."""
        found: list[list[str]] = []
        at: int | None = index
        while at is not None:
            first, _ = self.level(at)
            found.insert(0, list(self._common_tables(first, at)))
            at = first - 1 if first > 0 else None
        for expressions in found:
            yield from expressions

    def _common_tables(self, first: int, index: int) -> Iterator[str]:
        """Those of the query that begins at token `first` which are complete before `index`."""
        if self.word(first) != "with":
            return
        start = first + (2 if self.word(first + 1) == "recursive" else 1)
        while True:
            at = start
            while at < len(self.tokens) and self.tokens[at].token_type is not TokenType.L_PAREN:
                at += 1
            end = self.closing.get(at)
            if end is not None and self.tokens[end + 1 : end + 2] and self.word(end + 1) == "as":
                end = self.closing.get(end + 2)  # the first bracket held column names
            if end is None or end >= index:
                return
            yield self.token_text((start, end + 1))
            if end + 1 >= len(self.tokens) or self.word(end + 1) != ",":
                return
            start = end + 2

    def _begins_select(self, index: int) -> bool:
        return self.tokens[index].token_type is TokenType.SELECT and self.word(index - 1) != "."

    def _block(self, start: int) -> SelectBlock:
        depth = self.depths[start]
        end = start + 1
        while end < len(self.tokens) and self.depths[end] >= depth and not self._ends(end, depth):
            end += 1
        level_start, level_end = self.level(start)
        operators = any(
            self.depths[index] == depth and self.is_set_operator(index)
            for index in range(level_start, level_end)
        )
        heads = [(start, "select", start + 1), *self._heads(start + 1, end, depth)]
        behind = [*(head[0] for head in heads[1:]), end]
        clauses = tuple(
            Clause(name, (first, last), (body, last))
            for (first, name, body), last in zip(heads, behind, strict=True)
        )
        first, last = clauses[0].body
        if self.tokens[first : first + 1] and self.tokens[first].token_type is TokenType.HINT:
            first += 1
        distinct = self.word(first) == "distinct"
        first += self.word(first) in ("distinct", "all")
        items = self.split((first, last))
        return SelectBlock((start, end), depth, clauses, items, distinct, operators)

    def _ends(self, index: int, depth: int) -> bool:
        if self.depths[index] != depth:
            return False
        token = self.tokens[index].token_type
        return token is TokenType.SEMICOLON or self.is_set_operator(index)

    def is_set_operator(self, index: int) -> bool:
        """Whether the token is UNION, INTERSECT, MINUS or EXCEPT between two queries."""
        if self.word(index) not in _SET_OPERATORS or self.word(index - 1) == ".":
            return False
        return not self.is_star_except(index)

    def is_star_except(self, index: int) -> bool:
        """Whether the token is the EXCEPT of `* EXCEPT (columns)`."""
        if self.word(index) != "except" or self.tokens[index - 1].token_type is not TokenType.STAR:
            return False
        inside = self.word(index + 2)
        return self.word(index + 1) == "(" and inside not in (
            "select",
            "with",
            "from",
            "values",
            "(",
        )

    def _heads(self, start: int, end: int, depth: int) -> Iterator[tuple[int, str, int]]:
        """(index, name, begin of the body) of the clauses behind the select list."""
        for index in range(start, end):
            if self.depths[index] != depth or self.word(index - 1) == ".":
                continue
            word, following = self.word(index), self.word(index + 1)
            if word in _BY:  # one token
                yield index, word, index + 1
            elif f"{word} {following}" in _BY:
                yield index, f"{word} by", index + 2
            elif word in _CLAUSES and not self._is_other(index, word, following):
                yield index, word, index + 1

    def _is_other(self, index: int, word: str, following: str) -> bool:
        if following == ".":
            return True
        if word == "from":
            return self.word(index - 1) == "distinct"  # IS DISTINCT FROM
        if word == "window":
            return following == "(" or self.word(index + 2) != "as"
        if word in ("where", "having"):
            return False
        return following in (",", ")", "=", "as") or index + 1 >= len(self.tokens)


def _end_of_type(tokens: Sequence[Token], start: int) -> int:
    """The index of the `>` of the `<` at `start`; `start` if there is none, as in `map < 3`."""
    open_ = 0
    for index in range(start, len(tokens)):
        kind = tokens[index].token_type
        open_ += (kind is TokenType.LT) - (kind is TokenType.GT)
        if open_ == 0:
            return index
        if kind in (TokenType.SELECT, TokenType.FROM, TokenType.AND, TokenType.OR):
            break
    return start


def text_literal(value: str) -> str:
    """The text as a SQL literal, whatever is in it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
