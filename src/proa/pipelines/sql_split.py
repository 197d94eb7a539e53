"""A SQL file as statements: separated by `;` and by a notebook's cell marks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from proa.pipelines.sql_lexer import Kind, Source, Token, tokenize

CELL_MARK = re.compile(r"--\s*COMMAND\s*-{5,}\s*$")


@dataclass(frozen=True)
class Piece:
    """A stretch of the text. The pieces of a text, joined, are the text."""

    tokens: tuple[Token, ...]
    is_separator: bool

    @property
    def start(self) -> int:
        return self.tokens[0].start

    @property
    def end(self) -> int:
        return self.tokens[-1].end

    @property
    def says_something(self) -> bool:
        """Whether it is a statement rather than blanks, comments or a separator."""
        return not self.is_separator and not all(token.is_trivia for token in self.tokens)


def split(source: Source) -> list[Piece]:
    """All pieces of the text, in order: statements, and the separators between them."""
    pieces: list[Piece] = []
    current: list[Token] = []
    for token in tokenize(source):
        if not _separates(token):
            current.append(token)
            continue
        if current:
            pieces.append(Piece(tuple(current), is_separator=False))
        pieces.append(Piece((token,), is_separator=True))
        current = []
    if current:
        pieces.append(Piece(tuple(current), is_separator=False))
    return pieces


def _separates(token: Token) -> bool:
    if token.kind is Kind.SYMBOL:
        return token.text == ";"
    return token.kind is Kind.COMMENT and CELL_MARK.match(token.text) is not None
