"""Masking: a copy of a query's text, of equal length, in which only plain SQL is left.

`STREAM(t)`, `read_files(...)` and `t WITH (...)` are Databricks' own. They are noted and blanked, or
replaced by a stand-in, so that a parser of plain SQL finds every other word where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlglot import Token, TokenType
from sqlglot.dialects.databricks import Databricks
from sqlglot.errors import SqlglotError

from proa.engine.spark_functions import words
from proa.errors import PipelineError, SourceLocation

FILE_FUNCTIONS = words("read_files cloud_files")
_REFUSED_FUNCTIONS = {
    "event_log": "read the event log with 'proa events'",
    "cloud_files_state": "'proa tables' shows the files that a table has taken in",
    "read_kafka": "land the messages as files and read those with read_files",
    "read_kinesis": "land the messages as files and read those with read_files",
    "read_pubsub": "land the messages as files and read those with read_files",
    "read_pulsar": "land the messages as files and read those with read_files",
    "identifier": "write the table's name",
}
_ENDS_A_TABLE = words(
    """where group order having limit union intersect except minus join inner left right full cross
    natural anti semi on using as lateral tablesample pivot unpivot window qualify cluster
    distribute sort offset with version timestamp watermark select"""
)
WINDOW = "windo_"
"""What stands for `window`, where that is a function or a column and not the clause of this name."""
_FUNCTION_SCHEMAS = {
    ("builtin",),
    ("system", "builtin"),
    ("session",),
    ("system", "session"),
}
"""What Spark lets stand before the name of a function: of its own, or of one that code has registered."""
_CHANGES = "table_changes"
_UNITS = words("interval year month week day hour minute second millisecond microsecond to")
_BEFORE_A_TABLE = frozenset({"from", "join", ",", "(", "lateral"})
_OTHER_CLAUSES = words(
    """where group order having on qualify lateral sort distribute cluster limit union except
    intersect minus"""
)
_CLAUSES = {"select": "select", "from": "from", "join": "from"} | dict.fromkeys(
    _OTHER_CLAUSES, "other"
)

_HOLDS_CALLS = frozenset({"select", "other", "args"})
"""Clauses in which a name before a parenthesis is a function's."""
_NO_CALL_BEHIND = frozenset({".", "as", "with", ")"})

LocateOffset = Callable[[int], SourceLocation | None]
"""Where a character of a text stands."""


@dataclass(frozen=True)
class TextEdit:
    """Replace the text from `start` up to `end` (exclusive) by `text`."""

    start: int
    end: int
    text: str


class Mask:
    """A query's tokens and its masked copy.

    Raises PipelineError with condition PARSE_SYNTAX_ERROR when the text has no tokens.
    """

    def __init__(self, text: str, locate: LocateOffset | None) -> None:
        self.text = text
        self.locate = locate
        self.streams: dict[int, tuple[int, int]] = {}
        """Position of what is streamed -> span of the whole `STREAM ...`."""
        self.calls: dict[str, tuple[int, int]] = {}
        """Stand-in -> span of the file function's call."""
        self.options: dict[int, tuple[dict[str, str], int]] = {}
        """End of a table's name -> its options and their end."""
        self.watermarks: dict[int, tuple[str, str]] = {}
        """Positions of the WATERMARK clauses: the column and the delay that they name."""
        self.fixes: list[TextEdit] = []
        """What must change in the text itself, whatever it reads."""
        self.qualifiers: list[TextEdit] = []
        """Names before that of a function, which engines do not know."""
        self._copy = list(text)
        try:
            self.tokens: Sequence[Token] = Databricks().tokenize(text)
        except SqlglotError as error:
            reason = str(error).splitlines()[0]
            raise self.error(f"cannot read the query: {reason}", 0) from error
        if not self.tokens:
            raise self.error("the query is empty; write a SELECT", 0)
        self._clauses = [self._ends()]
        index = 0
        while index < len(self.tokens):
            index = self._step(index)

    @property
    def masked(self) -> str:
        """The copy."""
        return "".join(self._copy)

    def error(
        self, message: str, offset: int, condition: str = "PARSE_SYNTAX_ERROR"
    ) -> PipelineError:
        """An error at a character of the text."""
        at = self.locate(offset) if self.locate is not None else None
        return PipelineError(message, condition=condition, location=at)

    def word(self, index: int) -> str:
        """The token's text in lower case; "" behind the last one."""
        return self.tokens[index].text.lower() if index < len(self.tokens) else ""

    def end_of_table(self, end: int) -> int:
        """Where a table whose name ends at `end` may get its alias: behind its TABLESAMPLE."""
        index = next(
            (index for index, token in enumerate(self.tokens) if token.start >= end),
            len(self.tokens),
        )
        while self.word(index) == ")" and self._copy[self.tokens[index].start] == " ":
            end, index = self.tokens[index].end + 1, index + 1
        if self.word(index) == "tablesample":
            closing = self._closing(index + 1)
            if self.word(closing + 1) == "repeatable":
                closing = self._closing(closing + 2)
            end = self.tokens[closing].end + 1
        return end

    def _ends(self) -> str:
        """Spell `TABLE t` out and drop a last semicolon; the clause that the text begins with."""
        first, last = self.tokens[0], self.tokens[-1]
        if last.token_type == TokenType.SEMICOLON:
            self._blank(last.start, last.end + 1)
            self.fixes.append(TextEdit(last.start, last.end + 1, ""))
        if first.text.lower() != "table":
            return ""
        self._overwrite(first.start, first.end + 1, "FROM ")
        self.fixes.append(TextEdit(first.start, first.end + 1, "SELECT * FROM"))
        return "from"

    def _step(self, index: int) -> int:
        """Look at one token; the index to go on from."""
        token = self.tokens[index]
        in_from = self._clauses[-1] == "from"
        begins = in_from and index > 0 and self.word(index - 1) in _BEFORE_A_TABLE
        if self.word(index - 1) != "." and (qualified := self._mask_qualifier(index)):
            return qualified
        if token.token_type == TokenType.L_PAREN:
            self._clauses.append("from" if begins else "args")
            return index + 1
        if token.token_type == TokenType.R_PAREN:
            self._clauses[1:] = self._clauses[1:-1]
            return index + 1
        if token.token_type == TokenType.IDENTIFIER:
            before = self.word(index - 1) if index else ""
            holds = self._clauses[-1] in _HOLDS_CALLS and before not in _NO_CALL_BEHIND
            if holds and self.word(index + 1) == "(":
                self._unquote_call(index)
            return index + 1
        return self._table(index) if begins else self._word(index, in_from=in_from)

    def _mask_qualifier(self, index: int) -> int | None:
        """Blank the names before that of a function that is called in full, as `builtin.abs(x)`.

        Returns the index of the function's own name; None if no such call begins here. Raises
        PipelineError (UNRESOLVED_ROUTINE) if no function can have the name.
        """
        last = index
        while self.word(last + 1) == "." and last + 2 < len(self.tokens):
            last += 2
        if last == index or self.word(last + 1) != "(" or self.word(last) == "*":
            return None
        parts = tuple(self.word(each) for each in range(index, last, 2))
        start, end = self.tokens[index].start, self.tokens[last].start
        if parts not in _FUNCTION_SCHEMAS:
            name = ".".join(self.tokens[each].text for each in range(index, last + 1, 2))
            raise self.error(
                f"there is no function {name}(); call one of Spark's by its own name"
                f" ({self.tokens[last].text}), and one of yours by the name that spark.udf.register"
                " gave it",
                start,
                "UNRESOLVED_ROUTINE",
            )
        self.qualifiers.append(TextEdit(start, end, ""))
        self._blank(start, end)
        self._unquote_call(last)
        return last + 1

    def _unquote_call(self, index: int) -> None:
        """Take the backticks from the name of a function, which engines read without them."""
        token = self.tokens[index]
        if token.token_type == TokenType.IDENTIFIER and re.fullmatch(r"[A-Za-z_]\w*", token.text):
            for at in (token.start, token.end):
                self.qualifiers.append(TextEdit(at, at + 1, ""))
                self._blank(at, at + 1)

    def _word(self, index: int, *, in_from: bool) -> int:
        """Look at a word that begins no table; the index to go on from."""
        token = self.tokens[index]
        word, called = token.text.lower(), self.word(index + 1) == "("
        if word == "with" and in_from and called:
            return self._mask_options(index)
        if word == "window" and (called or self.word(index + 2) != "as"):
            self._overwrite(token.start, token.end + 1, WINDOW)
        elif word == "watermark" and in_from:
            return self._mask_watermark(index)
        self._clauses[-1] = _CLAUSES.get(word, self._clauses[-1])
        return index + 1

    def _table(self, index: int) -> int:
        """Look at the first word of a table in FROM."""
        token, word = self.tokens[index], self.word(index)
        called = self.word(index + 1) == "("
        if word == "stream" and self._is_stream(index):
            return self._mask_stream(index)
        if self._reads_files(index):
            return self._mask_call(index)
        if word == _CHANGES and called:
            return self._mask_changes(index)
        if word in _REFUSED_FUNCTIONS and called:
            raise self.error(
                f"{word}() cannot be read in a pipeline; {_REFUSED_FUNCTIONS[word]}",
                token.start,
                "UNSUPPORTED_TABLE_VALUED_FUNCTION",
            )
        self._clauses[-1] = _CLAUSES.get(word, self._clauses[-1])
        return index + 1

    def _is_stream(self, index: int) -> bool:
        following = self.tokens[index + 1] if index + 1 < len(self.tokens) else None
        if following is None:
            return False
        if following.token_type in (TokenType.L_PAREN, TokenType.IDENTIFIER):
            return True
        text = following.text.lower()
        return (text[:1].isalpha() or text[:1] == "_") and text not in _ENDS_A_TABLE

    def _mask_stream(self, index: int) -> int:
        """Blank `STREAM` and the parentheses around its argument; the index to go on from."""
        token = self.tokens[index]
        self._blank(token.start, token.end + 1)
        if self.word(index + 1) != "(":
            end = self._name_end(index + 1)
            self.streams[self.tokens[index + 1].start] = (token.start, end)
            if self._reads_files(index + 1):
                return self._mask_call(index + 1)
            if self.word(index + 1) == _CHANGES and self.word(index + 2) == "(":
                return self._mask_changes(index + 1)
            return index + 1
        opening = self.tokens[index + 1]
        closing = self.tokens[self._closing(index + 1)]
        self._blank(opening.start, opening.end + 1)
        self._blank(closing.start, closing.end + 1)
        inner = index + 2
        self.streams[self.tokens[inner].start] = (token.start, closing.end + 1)
        if self._reads_files(inner):
            self._mask_call(inner)
        elif self.word(inner) == _CHANGES:
            self._mask_changes(inner)
        elif self.word(inner) in ("select", "with", "("):
            raise self.error(
                "STREAM(...) takes the name of a table, not a query; put STREAM around the table"
                " inside the query",
                token.start,
            )
        return self._closing(index + 1) + 1

    def _reads_files(self, index: int) -> bool:
        return self.word(index) in FILE_FUNCTIONS and self.word(index + 1) == "("

    def _name_end(self, index: int) -> int:
        """Where a dotted name (or a call) that begins at token `index` ends."""
        if self.word(index + 1) == "(":
            return self.tokens[self._closing(index + 1)].end + 1
        while self.word(index + 1) == ".":
            index += 2
        return self.tokens[min(index, len(self.tokens) - 1)].end + 1

    def _mask_call(self, index: int) -> int:
        token, closing = self.tokens[index], self._closing(index + 1)
        end = self.tokens[closing].end + 1
        name = f"__f{len(self.calls)}"
        self.calls[name] = (token.start, end)
        self._blank(token.start, end)
        self._overwrite(token.start, token.start + len(name), name)
        return closing + 1

    def _mask_changes(self, index: int) -> int:
        """Write the table's name over `table_changes('name', start, end)`, and note its options."""
        first, closing = self.tokens[index], self._closing(index + 1)
        inner = self.tokens[index + 2 : closing]
        given, commas = inner[::2], inner[1::2]
        if (
            len(inner) % 2 == 0
            or not 2 <= len(given) <= 3
            or any(token.token_type != TokenType.COMMA for token in commas)
            or given[0].token_type != TokenType.STRING
            or any(t.token_type not in (TokenType.STRING, TokenType.NUMBER) for t in given[1:])
        ):
            raise self.error(
                "table_changes() takes a table's name and the first and the last version or time, as"
                " constants: table_changes('orders', 0) or table_changes('orders', '2026-01-31', 9)",
                first.start,
            )
        options = {"readChangeFeed": "true"}
        for token, edge in zip(given[1:], ("starting", "ending"), strict=False):
            is_time = token.token_type == TokenType.STRING
            options[f"{edge}{'Timestamp' if is_time else 'Version'}"] = token.text
        name, end = given[0].text, self.tokens[closing].end + 1
        self._blank(first.start, end)
        self._overwrite(first.start, first.start + len(name), name)
        self.options[first.start + len(name)] = (options, end)
        return closing + 1

    def _mask_options(self, index: int) -> int:
        """Blank `WITH (key = value, ...)` after a table's name."""
        closing = self._closing(index + 1)
        inner = self.tokens[index + 2 : closing]
        options: dict[str, str] = {}
        key: list[str] = []
        value: str | None = None
        for token in [*inner, None]:
            if token is None or token.token_type == TokenType.COMMA:
                if key:
                    options["".join(key)] = value if value is not None else "true"
                key, value = [], None
            elif token.token_type == TokenType.EQ:
                value = ""
            elif value is None:
                key.append(token.text)
            else:
                value += token.text
        end = self.tokens[closing].end + 1
        self.options[self.tokens[index - 1].end + 1] = (options, end)
        self._blank(self.tokens[index].start, end)
        return closing + 1

    def _mask_watermark(self, index: int) -> int:
        """Blank `WATERMARK column DELAY OF INTERVAL ...`; the index to go on from.

        It says something of a stream only, so it leaves the text that the engine gets.
        """
        delay = next(
            (
                position
                for position in range(index + 1, min(index + 20, len(self.tokens)))
                if (self.word(position), self.word(position + 1)) == ("delay", "of")
            ),
            None,
        )
        if delay is None:
            return index + 1  # a name
        last = delay + 1
        while self._is_of_interval(last + 1):
            last += 1
        start, end = self.tokens[index].start, self.tokens[last].end + 1
        column = self.text[self.tokens[index].end + 1 : self.tokens[delay].start]
        length = self.text[self.tokens[delay + 1].end + 1 : end]
        self.watermarks[start] = (column.strip().strip("`"), length.replace("'", " ").strip())
        self.fixes.append(TextEdit(start, end, ""))
        self._blank(start, end)
        return last + 1

    def _is_of_interval(self, index: int) -> bool:
        if index >= len(self.tokens):
            return False
        kind = self.tokens[index].token_type
        word = self.word(index)
        return kind in (TokenType.NUMBER, TokenType.STRING) or (
            word in _UNITS or word.removesuffix("s") in _UNITS
        )

    def _closing(self, index: int) -> int:
        """The index of the token that closes the parenthesis at `index`."""
        start = self.tokens[min(index, len(self.tokens) - 1)].start
        if self.word(index) != "(":
            raise self.error(f"'(' is missing behind {self.word(index - 1)!r}", start)
        depth = 0
        for position in range(index, len(self.tokens)):
            kind = self.tokens[position].token_type
            depth += (kind == TokenType.L_PAREN) - (kind == TokenType.R_PAREN)
            if depth == 0:
                return position
        raise self.error("a parenthesis is not closed", start)

    def _blank(self, start: int, end: int) -> None:
        for position in range(start, end):
            if self._copy[position] != "\n":
                self._copy[position] = " "

    def _overwrite(self, start: int, end: int, text: str) -> None:
        self._copy[start:end] = list(text.ljust(end - start)[: end - start])
