"""The words of one SQL statement, taken one after the other."""

from __future__ import annotations

import re

from proa.errors import PipelineError
from proa.pipelines.sql.lexer import SqlText, SqlToken, TokenKind, significant, tokenize, unquote
from proa.text import quote_identifier

_OPENING = {"(": ")", "[": "]", "{": "}"}


class Parser:
    """A cursor over the significant tokens of a statement."""

    def __init__(self, source: SqlText) -> None:
        self.source = source
        self._tokens = significant(tokenize(source))
        self._index = 0

    @property
    def at_end(self) -> bool:
        return self._index >= len(self._tokens)

    @property
    def here(self) -> int:
        """The offset of the next token, or the end of the last one."""
        if not self.at_end:
            return self._tokens[self._index].start
        return self._tokens[-1].end if self._tokens else 0

    def peek(self, ahead: int = 0) -> SqlToken | None:
        index = self._index + ahead
        return self._tokens[index] if index < len(self._tokens) else None

    def sees(self, *words: str) -> bool:
        """Whether the next tokens are these words or symbols."""
        for ahead, word in enumerate(words):
            token = self.peek(ahead)
            if token is None or token.kind not in {TokenKind.WORD, TokenKind.SYMBOL}:
                return False
            if token.text.upper() != word:
                return False
        return True

    def sees_one_of(self, words: re.Pattern[str]) -> bool:
        """Whether the next token is a word that `words` matches as a whole."""
        token = self.peek()
        return (
            token is not None
            and token.kind is TokenKind.WORD
            and words.fullmatch(token.text.upper()) is not None
        )

    def accept(self, *words: str) -> bool:
        """Take these words when they are next, all or none."""
        if not self.sees(*words):
            return False
        self._index += len(words)
        return True

    def accept_one_of(self, *words: str) -> str | None:
        return next((word for word in words if self.accept(word)), None)

    def expect(self, *words: str, after: str) -> None:
        for word in words:
            if not self.accept(word):
                raise self.failure(f"expected {word} {after}")

    def take(self) -> SqlToken:
        token = self._tokens[self._index]
        self._index += 1
        return token

    def failure(self, message: str) -> PipelineError:
        """The syntax error that stands here; to be raised by the caller."""
        token = self.peek()
        found = f"{token.text!r}" if token is not None else "the end of the statement"
        return self.source.error(f"syntax error at {found}: {message}", self.here)

    def string(self, after: str) -> str:
        token = self.peek()
        if token is None or token.kind is not TokenKind.STRING:
            raise self.failure(f"expected a string in quotes {after}")
        return unquote(self.take())

    def identifier(self, what: str) -> str:
        """One part of a name, without its backticks."""
        token = self.peek()
        if token is None or token.kind not in {TokenKind.WORD, TokenKind.QUOTED}:
            raise self.failure(f"expected {what}")
        taken = self.take()
        return unquote(taken) if taken.kind is TokenKind.QUOTED else taken.text

    def name(self, what: str) -> str:
        """A name of one or more parts; parts that need backticks keep them."""
        if self.accept("IDENTIFIER", "("):
            name = self.string("in IDENTIFIER(...)")
            self.expect(")", after="after IDENTIFIER('...'")
            return name
        parts = [self.identifier(what)]
        while self.accept("."):
            parts.append(self.identifier(what))
        return ".".join(quote_part(part) for part in parts)

    def names(self, what: str) -> tuple[str, ...]:
        """A list of column names in parentheses."""
        self.expect("(", after=f"before {what}")
        found = [self.identifier(what)]
        while self.accept(","):
            found.append(self.identifier(what))
        self.expect(")", after=f"after {what}")
        return tuple(found)

    def parenthesized_text(self, what: str) -> str:
        """The text between a pair of parentheses, as written."""
        return self.parenthesized_source(what).text

    def parenthesized_source(self, what: str) -> SqlText:
        """The text between a pair of parentheses, as a part of the statement."""
        start = self.here + 1
        self.expect("(", after=f"before {what}")
        self._index -= 1
        self.skip_balanced(what)
        inner = self.source.text[start : self._tokens[self._index - 1].start]
        start += len(inner) - len(inner.lstrip())
        return self.source.part(start, start + len(inner.strip()))

    def skip_balanced(self, what: str) -> None:
        """Take one token; when it opens a bracket, everything up to its closing one."""
        opening = self.take()
        expected = [_OPENING[opening.text]] if self._opens(opening) else []
        while expected:
            if self.at_end:
                raise self.source.error(
                    f"syntax error: the {opening.text!r} of {what} is never closed:"
                    f" expected {expected[-1]!r}",
                    opening.start,
                )
            token = self.take()
            if self._opens(token):
                expected.append(_OPENING[token.text])
            elif self._closes(token) and token.text != expected.pop():
                self._index -= 1
                raise self.failure(f"the brackets of {what} do not match")

    def span(self, start: int) -> str:
        """The text from `start` to the end of the last token taken."""
        return self.source.text[start : self._tokens[self._index - 1].end]

    def skip_rest(self, what: str) -> None:
        """Take all that is left of the statement; its brackets must match."""
        while not self.at_end:
            token = self.peek()
            if token is not None and self._closes(token):
                raise self.failure(f"this bracket closes nothing in {what}")
            if self.sees(";"):
                raise self.failure("a parameter's value ends the statement; write it without ';'")
            self.skip_balanced(what)

    def rest(self) -> str:
        """Everything from the next token to the last one, as written; takes it."""
        start = self.here
        self._index = len(self._tokens)
        return self.span(start)

    @staticmethod
    def _opens(token: SqlToken) -> bool:
        return token.kind is TokenKind.SYMBOL and token.text in _OPENING

    @staticmethod
    def _closes(token: SqlToken) -> bool:
        return token.kind is TokenKind.SYMBOL and token.text in _OPENING.values()


def quote_part(part: str) -> str:
    """A part of a name, in backticks where it needs them."""
    return part if re.fullmatch(r"\w+", part) else quote_identifier(part)
