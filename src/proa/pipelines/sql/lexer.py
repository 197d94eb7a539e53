"""SQL text as tokens. Together the tokens are the text: nothing is dropped, nothing rewritten."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from proa.errors import PipelineError, SourceLocation
from proa.text import literal_value

SYNTAX_ERROR = "PARSE_SYNTAX_ERROR"


class TokenKind(Enum):
    """What a token is."""

    SPACE = auto()
    COMMENT = auto()
    WORD = auto()
    """A keyword, an unquoted name or a number."""
    QUOTED = auto()
    """A name in backticks."""
    STRING = auto()
    PARAMETER = auto()
    """`${key}`, outside strings."""
    SYMBOL = auto()
    """Any other single character."""


@dataclass(frozen=True, slots=True)
class SqlToken:
    """A piece of the text, `[start, end)` in characters."""

    kind: TokenKind
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def is_trivia(self) -> bool:
        """Whether the piece says nothing to a parser."""
        return self.kind in {TokenKind.SPACE, TokenKind.COMMENT}


@dataclass(frozen=True, slots=True)
class Substitution:
    """A stretch of text that stands for another one: a parameter's value for `${key}`."""

    start: int
    end: int
    original_start: int
    original_end: int


@dataclass(frozen=True)
class SqlText:
    """SQL text that knows where it came from, even after parameters were replaced."""

    text: str
    file: str
    line: int = 1
    """The line of the file on which `text` begins."""
    origin: SqlText | None = None
    """The text as the user wrote it, when this one differs from it."""
    offset: int = 0
    """Where this text begins in `origin`."""
    edits: tuple[Substitution, ...] = field(default=(), repr=False)
    has_columns: bool = False
    """Whether the lines of `text` are whole lines of the file, so that columns are the file's."""

    def location(self, offset: int) -> SourceLocation:
        """The file and line of a character of `text`."""
        return replace(self.place(offset), column=None)

    def place(self, offset: int) -> SourceLocation:
        """The file, line and, where it is known, column of a character of `text`."""
        if self.origin is None:
            column = offset - self.text.rfind("\n", 0, offset) if self.has_columns else None
            line = self.line + self.text.count("\n", 0, offset)
            return SourceLocation(self.file, line, column)
        index = bisect_right([edit.start for edit in self.edits], offset) - 1
        if index < 0:
            return self.origin.place(self.offset + offset)
        edit = self.edits[index]
        beyond = offset - edit.end
        return self.origin.place(edit.original_start if beyond < 0 else edit.original_end + beyond)

    def error(self, message: str, offset: int, *, condition: str = SYNTAX_ERROR) -> PipelineError:
        """A mistake that stands at `offset`; to be raised by the caller."""
        return PipelineError(message, condition=condition, location=self.place(offset))

    def part(self, start: int, end: int) -> SqlText:
        """The text from `start` to `end` as a text of its own."""
        return SqlText(self.text[start:end], self.file, origin=self, offset=start)


_TOKEN = re.compile(
    r"""
      (?P<SPACE>\s+)
    | (?P<COMMENT>--[^\n]*)
    | (?P<STRING>[rR]'[^']*' | [rR]"[^"]*"
        | '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | \$\$.*?\$\$)
    | (?P<QUOTED>`(?:[^`]|``)*`)
    | (?P<PARAMETER>\$\{[^{}]*\})
    | (?P<WORD>\w+)
    | (?P<SYMBOL>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_UNCLOSED = {"'": "string", '"': "string", "`": "quoted name"}


def tokenize(source: SqlText) -> list[SqlToken]:
    """Return all tokens of the text, in order; joined they are the text.

    Raises PipelineError for a string, name or comment that is never closed.
    """
    return list(tokens_of(source))


def tokens_of(source: SqlText) -> Iterator[SqlToken]:
    """Yield the tokens of the text as they are read. Raises PipelineError as `tokenize` does."""
    text, position = source.text, 0
    while position < len(text):
        if text.startswith("/*", position):
            end = _comment_end(source, position)
            yield SqlToken(TokenKind.COMMENT, text[position:end], position)
            position = end
            continue
        match = _TOKEN.match(text, position)
        assert match is not None and match.lastgroup is not None  # noqa: PT018 - SYMBOL takes all
        token = SqlToken(TokenKind[match.lastgroup], match.group(), position)
        if token.kind is TokenKind.SYMBOL and token.text in _UNCLOSED:
            raise source.error(
                f"the {_UNCLOSED[token.text]} that begins here is never closed:"
                f" expected a closing {token.text}",
                position,
            )
        yield token
        position = token.end


def _comment_end(source: SqlText, start: int) -> int:
    """Where a bracketed comment ends; they nest, as in Spark."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(source.text, start):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    raise source.error(
        "the comment that begins here is never closed: expected '*/'",
        start,
        condition="UNCLOSED_BRACKETED_COMMENT",
    )


def unquote(token: SqlToken) -> str:
    """What a string or a quoted name stands for."""
    text = token.text
    if token.kind is TokenKind.QUOTED:
        return text[1:-1].replace("``", "`")
    return text[2:-2] if text.startswith("$$") else literal_value(text)


def first_word(text: str) -> str:
    """Return the word that a statement begins with, in capitals, behind comments and brackets.

    Returns the first other token if it does not begin with a word, "" if it is empty.
    """
    for token in tokens_of(SqlText(text, "")):
        if not token.is_trivia and token.text != "(":
            return token.text.upper()
    return ""


_BEFORE_STREAM = frozenset({"FROM", "JOIN", ",", "("})
_AFTER_STREAM = frozenset({TokenKind.WORD, TokenKind.QUOTED})


def reads_stream(text: str) -> bool:
    """Return whether a query reads a relation as a stream: FROM STREAM t, FROM STREAM(t)."""
    tokens = significant(tokenize(SqlText(text, "")))
    return any(
        word.kind is TokenKind.WORD
        and word.text.upper() == "STREAM"
        and before.text.upper() in _BEFORE_STREAM
        and (after.kind in _AFTER_STREAM or after.text == "(")
        for before, word, after in zip(tokens, tokens[1:], tokens[2:], strict=False)
    )


def significant(tokens: Sequence[SqlToken]) -> list[SqlToken]:
    """The tokens a parser looks at."""
    return [token for token in tokens if not token.is_trivia]


CELL_MARK = re.compile(r"--\s*COMMAND\s*-{5,}\s*$")


@dataclass(frozen=True)
class Piece:
    """A stretch of the text. The pieces of a text, joined, are the text."""

    tokens: tuple[SqlToken, ...]
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


def split(source: SqlText) -> list[Piece]:
    """All pieces of the text, in order: statements, and the separators between them."""
    pieces: list[Piece] = []
    current: list[SqlToken] = []
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


def _separates(token: SqlToken) -> bool:
    if token.kind is TokenKind.SYMBOL:
        return token.text == ";"
    return token.kind is TokenKind.COMMENT and CELL_MARK.match(token.text) is not None
