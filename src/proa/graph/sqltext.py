"""What a query's SQL text reads, and where in the text that stands.

The text is never regenerated: what must change is replaced at its span, everything else reaches
the engine as the user wrote it. To let sqlglot read what only Databricks knows (`STREAM(t)`,
`read_files(...)`, `t WITH (...)`), those spans are first masked in a copy of equal length, so that
every position in the copy is a position in the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.dialects.databricks import Databricks
from sqlglot.errors import SqlglotError

from proa.errors import PipelineError, SourceLocation
from proa.graph.functions import AGGREGATES, words

DIALECT = "databricks"
STREAM = "proa_stream"
"""Says, in the `meta` of a syntax tree's table, whether it is read as a stream."""
FILE_FUNCTIONS = frozenset({"read_files", "cloud_files"})
_REFUSED_FUNCTIONS = {
    "event_log": "read the event log with 'proa events'",
    "cloud_files_state": "'proa tables' shows the files that a table has taken in",
    "table_changes": "read the table itself as a stream",
    "read_kafka": "land the messages as files and read those with read_files",
    "read_kinesis": "land the messages as files and read those with read_files",
    "read_pubsub": "land the messages as files and read those with read_files",
    "read_pulsar": "land the messages as files and read those with read_files",
    "identifier": "write the table's name",
}
_PATH_FORMATS = frozenset(
    {"parquet", "delta", "json", "csv", "text", "orc", "avro", "binaryfile", "xml", "iceberg"}
)
_ENDS_A_TABLE = frozenset(
    [
        "where",
        "group",
        "order",
        "having",
        "limit",
        "union",
        "intersect",
        "except",
        "minus",
        "join",
        "inner",
        "left",
        "right",
        "full",
        "cross",
        "natural",
        "anti",
        "semi",
        "on",
        "using",
        "as",
        "lateral",
        "tablesample",
        "pivot",
        "unpivot",
        "window",
        "qualify",
        "cluster",
        "distribute",
        "sort",
        "offset",
        "with",
        "version",
        "timestamp",
        "watermark",
        "select",
    ]
)
_CLAUSES = {
    "select": "select",
    "from": "from",
    "join": "from",
    "where": "other",
    "group": "other",
    "order": "other",
    "having": "other",
    "on": "other",
    "qualify": "other",
    "lateral": "other",
    "sort": "other",
    "distribute": "other",
    "cluster": "other",
    "limit": "other",
    "union": "other",
    "except": "other",
    "intersect": "other",
    "minus": "other",
}


@dataclass(frozen=True)
class Edit:
    """Replace the text from `start` up to `end` (exclusive) by `text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class TableRead:
    """A table that the text reads."""

    start: int
    end: int
    """The span to replace, `STREAM` and options included; exclusive."""
    parts: tuple[str, ...]
    streaming: bool
    line: int
    options: Mapping[str, str] = field(default_factory=dict)
    alias_at: int | None = None
    """Where `AS name` must be put when the span is replaced; None where the user gave an alias."""


@dataclass(frozen=True)
class FilesRead:
    """`read_files(...)` or `cloud_files(...)`."""

    start: int
    end: int
    path: str
    options: Mapping[str, str]
    schema: str | None
    streaming: bool
    line: int
    alias_at: int | None = None


@dataclass(frozen=True)
class SqlReads:
    """A query's text, read."""

    text: str
    tables: tuple[TableRead, ...]
    files: tuple[FilesRead, ...]
    tree: exp.Expr
    """The masked text's syntax tree: files are tables called `__f0`, `__f1` ..."""
    fixes: tuple[Edit, ...]
    """What else must change once names are replaced: column qualifiers to shorten
    (`live.orders.id` becomes `orders.id`), `TABLE t` to spell out, a last semicolon to drop."""

    def line(self, node: exp.Expr) -> int:
        """The line of the text on which the node begins, counted from 1."""
        starts: list[int] = []
        around: exp.Expr | None = node
        while around is not None and not starts:
            starts = [part.meta["start"] for part in around.walk() if "start" in part.meta]
            around = around.parent
        return self.text.count("\n", 0, min(starts, default=0)) + 1

    @property
    def reads(self) -> tuple[TableRead | FilesRead, ...]:
        """Tables and files in the order in which they stand in the text."""
        return tuple(sorted((*self.tables, *self.files), key=lambda read: read.start))


def edited(text: str, edits: list[Edit]) -> str:
    """The text with the edits made. They do not overlap."""
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def quoted(name: str) -> str:
    """The name as a Spark identifier, whatever is in it."""
    return "`" + name.replace("`", "``") + "`"


def read(text: str, location: SourceLocation | None = None) -> SqlReads:
    """Find what the query reads.

    `location` is where the text begins, for error messages. Raises PipelineError with condition
    PARSE_SYNTAX_ERROR when the text is no query.
    """
    reader = _Reader(text, location)
    return reader.read()


def in_text(files: tuple[FilesRead, ...]) -> list[FilesRead]:
    """The files in the order of their stand-ins `__f0`, `__f1` ..."""
    return sorted(files, key=lambda read: read.start)


def is_path(parts: tuple[str, ...]) -> bool:
    """Whether the name is a path in disguise: parquet.`/data/x`."""
    return len(parts) == 2 and parts[0].lower() in _PATH_FORMATS and parts[1][:1] != ""


class _Reader:
    def __init__(self, text: str, location: SourceLocation | None) -> None:
        self.text = text
        self.location = location
        self.masked = list(text)
        self.streams: dict[int, tuple[int, int]] = {}
        """Position of what is streamed -> span of the whole `STREAM ...`."""
        self.calls: dict[str, tuple[int, int]] = {}
        """Stand-in -> span of the file function's call."""
        self.options: dict[int, tuple[dict[str, str], int]] = {}
        """End of a table's name -> its options and their end."""
        self.fixes: list[Edit] = []

    def at(self, line: int) -> SourceLocation | None:
        if self.location is None:
            return None
        return SourceLocation(self.location.file, self.location.line + line - 1)

    def error(
        self, message: str, line: int, condition: str = "PARSE_SYNTAX_ERROR"
    ) -> PipelineError:
        return PipelineError(message, condition=condition, location=self.at(line))

    def read(self) -> SqlReads:
        try:
            self.tokens = Databricks().tokenize(self.text)
        except SqlglotError as error:
            raise self.error(f"cannot read the query: {_first_line(error)}", 1) from error
        if not self.tokens:
            raise self.error("the query is empty; write a SELECT", 1)
        self._mask()
        masked = "".join(self.masked)
        try:
            trees = [tree for tree in sqlglot.parse(masked, dialect=DIALECT) if tree is not None]
        except SqlglotError as error:
            raise self._syntax_error(error) from error
        if len(trees) != 1 or not isinstance(trees[0], exp.Query | exp.Values | exp.Table):
            raise self.error(f"the text is not one query: {_shortened(self.text)!r}", 1)
        tree = trees[0]
        tables, files = [], []
        for table in tree.find_all(exp.Table):
            if table.name in self.calls:
                files.append(self._files(table))
                table.meta[STREAM] = files[-1].streaming
            elif (found := self._table(table)) is not None:
                tables.append(found)
                table.meta[STREAM] = found.streaming
        fixes = (*self.fixes, *_qualifiers(tree, tables))
        return SqlReads(self.text, tuple(tables), tuple(files), tree, fixes)

    def _syntax_error(self, error: SqlglotError) -> PipelineError:
        details = getattr(error, "errors", None) or [{}]
        line, near = details[0].get("line") or 1, details[0].get("highlight") or ""
        what = f"near {near!r}" if near else f"in {_shortened(self.text)!r}"
        reason = (details[0].get("description") or "").rstrip(".").lower()
        return self.error(
            f"syntax error in the query {what}: {reason or 'it cannot be read'}", line
        )

    # -- masking --------------------------------------------------------------------------------

    def _mask(self) -> None:
        clauses = [""]
        index = 0
        first, last = self.tokens[0], self.tokens[-1]
        if first.text.lower() == "table":
            self._overwrite(first.start, first.end + 1, "FROM ")
            self.fixes.append(Edit(first.start, first.end + 1, "SELECT * FROM"))
            clauses = ["from"]
        if last.token_type == TokenType.SEMICOLON:
            self._blank(last.start, last.end + 1)
            self.fixes.append(Edit(last.start, last.end + 1, ""))
        while index < len(self.tokens):
            token = self.tokens[index]
            word = token.text.lower() if token.token_type != TokenType.IDENTIFIER else ""
            after_from = index > 0 and clauses[-1] == "from" and self._begins_table(index)
            if token.token_type == TokenType.L_PAREN:
                clauses.append("from" if after_from else "args")
            elif token.token_type == TokenType.R_PAREN:
                if len(clauses) > 1:
                    clauses.pop()
            elif after_from and word == "stream" and self._is_stream(index):
                index = self._mask_stream(index)
                continue
            elif after_from and word in FILE_FUNCTIONS and self._text(index + 1) == "(":
                index = self._mask_call(index)
                continue
            elif after_from and word in _REFUSED_FUNCTIONS and self._text(index + 1) == "(":
                raise self.error(
                    f"{word}() cannot be read in a pipeline; {_REFUSED_FUNCTIONS[word]}",
                    token.line,
                    "UNSUPPORTED_TABLE_VALUED_FUNCTION",
                )
            elif word == "window" and self._text(index + 1) == "(":
                self._overwrite(token.start, token.end + 1, "windo_")
            elif word == "with" and clauses[-1] == "from" and self._text(index + 1) == "(":
                index = self._mask_options(index)
                continue
            elif word == "watermark" and clauses[-1] == "from":
                self._refuse_watermark(index)
            elif word in _CLAUSES:
                clauses[-1] = _CLAUSES[word]
            index += 1

    def _text(self, index: int) -> str:
        return self.tokens[index].text.lower() if index < len(self.tokens) else ""

    def _begins_table(self, index: int) -> bool:
        return self._text(index - 1) in ("from", "join", ",", "(", "lateral")

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
        if self._text(index + 1) != "(":
            end = self._name_end(index + 1)
            self.streams[self.tokens[index + 1].start] = (token.start, end)
            if self._text(index + 1) in FILE_FUNCTIONS:
                return self._mask_call(index + 1)
            return index + 1
        opening = self.tokens[index + 1]
        closing = self.tokens[self._closing(index + 1)]
        self._blank(opening.start, opening.end + 1)
        self._blank(closing.start, closing.end + 1)
        inner = index + 2
        self.streams[self.tokens[inner].start] = (token.start, closing.end + 1)
        if self._text(inner) in FILE_FUNCTIONS:
            self._mask_call(inner)
        elif self._text(inner) in ("select", "with", "("):
            raise self.error(
                "STREAM(...) takes the name of a table, not a query; put STREAM around the table"
                " inside the query",
                token.line,
            )
        return self._closing(index + 1) + 1

    def _name_end(self, index: int) -> int:
        """Where a dotted name (or a call) that begins at token `index` ends."""
        if self._text(index + 1) == "(":
            return self.tokens[self._closing(index + 1)].end + 1
        while self._text(index + 1) == ".":
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

    def _refuse_watermark(self, index: int) -> None:
        raise self.error(
            "WATERMARK keeps state between batches, which depends on how a region cuts its batches;"
            " write the result as a materialized view",
            self.tokens[index].line,
            "UNSUPPORTED_STREAMING_OPERATOR",
        )

    def _closing(self, index: int) -> int:
        """The index of the token that closes the parenthesis at `index`."""
        depth = 0
        for position in range(index, len(self.tokens)):
            kind = self.tokens[position].token_type
            depth += (kind == TokenType.L_PAREN) - (kind == TokenType.R_PAREN)
            if depth == 0:
                return position
        raise self.error("a parenthesis is not closed", self.tokens[index].line)

    def _blank(self, start: int, end: int) -> None:
        for position in range(start, end):
            if self.masked[position] != "\n":
                self.masked[position] = " "

    def _overwrite(self, start: int, end: int, text: str) -> None:
        self.masked[start:end] = list(text.ljust(end - start)[: end - start])

    # -- reading --------------------------------------------------------------------------------

    def _table(self, table: exp.Table) -> TableRead | None:
        identifiers = [part for part in table.parts if isinstance(part, exp.Identifier)]
        if not identifiers or len(identifiers) != len(table.parts):
            return None
        if table.find_ancestor(exp.Hint, exp.JoinHint) or _is_cte(table):
            return None
        start, end = _span(identifiers)
        streaming = start in self.streams
        alias_at = None if table.alias else self._alias_at(end)
        if streaming:
            start, end = self.streams[start]
        options, end = self.options.get(end, ({}, end))
        if alias_at is not None:
            alias_at = max(alias_at, end)
        return TableRead(
            start=start,
            end=end,
            parts=tuple(part.name for part in identifiers),
            streaming=streaming,
            line=self.text.count("\n", 0, start) + 1,
            options=options,
            alias_at=alias_at,
        )

    def _alias_at(self, end: int) -> int:
        """Behind the name, and behind its TABLESAMPLE if there is one."""
        after = [index for index, token in enumerate(self.tokens) if token.start >= end]
        index = after[0] if after else len(self.tokens)
        while self._text(index) == ")" and self.masked[self.tokens[index].start] == " ":
            end, index = self.tokens[index].end + 1, index + 1
        if self._text(index) == "tablesample":
            closing = self._closing(index + 1)
            if self._text(closing + 1) == "repeatable":
                closing = self._closing(closing + 2)
            end = self.tokens[closing].end + 1
        return end

    def _files(self, table: exp.Table) -> FilesRead:
        start, end = self.calls[table.name]
        line = self.text.count("\n", 0, start) + 1
        call = self.text[start:end]
        streaming = start in self.streams
        path, options, schema = self._arguments(call, line)
        if streaming:
            start, end = self.streams[start]
        return FilesRead(
            start=start,
            end=end,
            path=path,
            options=options,
            schema=schema,
            streaming=streaming or call.lower().startswith("cloud_files"),
            line=line,
            alias_at=None if table.alias else self._alias_at(end),
        )

    def _arguments(self, call: str, line: int) -> tuple[str, dict[str, str], str | None]:
        try:
            parsed = sqlglot.parse_one(f"SELECT {call}", dialect=DIALECT).expressions[0]
        except SqlglotError as error:
            raise self.error(f"cannot read the arguments of {_shortened(call)!r}", line) from error
        function = parsed.name.lower()
        positional: list[str] = []
        options: dict[str, str] = {}
        for argument in parsed.expressions:
            if isinstance(argument, exp.Kwarg):
                options[argument.this.name] = self._constant(argument.expression, call, line)
            elif isinstance(argument, exp.Map | exp.VarMap):
                options.update(self._map(argument, call, line))
            else:
                positional.append(self._constant(argument, call, line))
        path = positional[0] if positional else options.pop("path", "")
        if not path:
            raise self.error(f"{function}() needs a path: {_shortened(call)!r}", line)
        if len(positional) > 1:
            options.setdefault("format", positional[1])
        schema = options.pop("schema", None)
        return path, file_options(options, path, function), schema

    def _map(self, argument: exp.Expr, call: str, line: int) -> dict[str, str]:
        keys, values = argument.args.get("keys"), argument.args.get("values")
        return {
            self._constant(key, call, line): self._constant(value, call, line)
            for key, value in zip(
                keys.expressions if keys else (), values.expressions if values else (), strict=True
            )
        }

    def _constant(self, value: exp.Expr, call: str, line: int) -> str:
        if isinstance(value, exp.Literal):
            return value.name
        if isinstance(value, exp.Boolean):
            return str(bool(value.this)).lower()
        if isinstance(value, exp.Neg):
            return "-" + self._constant(value.this, call, line)
        if isinstance(value, exp.Paren):
            return self._constant(value.this, call, line)
        if isinstance(value, exp.DPipe):
            left = self._constant(value.this, call, line)
            return left + self._constant(value.expression, call, line)
        if isinstance(value, exp.Concat):
            return "".join(self._constant(part, call, line) for part in value.expressions)
        raise self.error(
            f"the argument {value.sql(dialect=DIALECT)!r} of {_shortened(call)!r} is not a constant;"
            " write the value, or take it from the configuration with ${key}",
            line,
        )


_FILE_OPTIONS = {
    name.lower(): name
    for name in [
        "format",
        "schemaLocation",
        "schemaHints",
        "schemaEvolutionMode",
        "inferColumnTypes",
        "partitionColumns",
        "maxFilesPerTrigger",
        "maxBytesPerTrigger",
        "maxFileAge",
        "includeExistingFiles",
        "allowOverwrites",
        "validateOptions",
        "backfillInterval",
        "cleanSource",
        "cleanSource.retentionDuration",
        "cleanSource.moveDestination",
        "useIncrementalListing",
        "useNotifications",
        "useManagedFileEvents",
        "useStrictGlobber",
        "fetchParallelism",
        "resourceTag",
        "queueUrl",
    ]
}
"""Options that Auto Loader spells with the prefix `cloudFiles.` and `read_files` without."""


def file_options(options: Mapping[str, str], path: str, function: str) -> dict[str, str]:
    """The options spelled as Auto Loader's, whatever function the user called.

    `read_files` leaves the prefix out, infers column types unless told otherwise and takes the
    format from the path's ending.
    """
    spelled = {}
    for key, value in options.items():
        known = _FILE_OPTIONS.get(key.lower())
        spelled[f"cloudFiles.{known}" if known else key] = value
    if function == "read_files":
        spelled.setdefault("cloudFiles.inferColumnTypes", "true")
        ending = path.rsplit("/", 1)[-1].rpartition(".")[2].lower().removesuffix("*")
        if ending in ("json", "csv", "parquet"):
            spelled.setdefault("cloudFiles.format", ending)
    return spelled


def _span(identifiers: list[exp.Identifier]) -> tuple[int, int]:
    return identifiers[0].meta["start"], identifiers[-1].meta["end"] + 1


def _is_cte(table: exp.Table) -> bool:
    """Whether the name is that of a common table expression which is visible here."""
    if table.db or table.catalog:
        return False
    name = table.name.casefold()
    node: exp.Expr = table
    while node.parent is not None:
        parent = node.parent
        clause = parent.args.get("with_")
        if clause is not None:
            names = [cte.alias.casefold() for cte in clause.expressions]
            if node is not clause:
                visible = names
            else:
                path = {id(ancestor) for ancestor in _ancestors(table)}
                here = next(i for i, cte in enumerate(clause.expressions) if id(cte) in path)
                visible = names[: here + bool(clause.args.get("recursive"))]
            if name in visible:
                return True
        node = parent
    return False


def _ancestors(node: exp.Expr) -> Iterator[exp.Expr]:
    current: exp.Expr | None = node
    while current is not None:
        yield current
        current = current.parent


def _qualifiers(tree: exp.Expr, tables: list[TableRead]) -> Iterator[Edit]:
    """Cut columns that name their table in full down to its last part, which stays visible."""
    long = {
        tuple(part.casefold() for part in table.parts)
        for table in tables
        if len(table.parts) > 1 and table.alias_at is not None
    }
    if not long:
        return
    for column in tree.find_all(exp.Column):
        parts = [part for part in column.parts if isinstance(part, exp.Identifier)]
        names = tuple(part.name.casefold() for part in parts)
        for table in long:
            if len(names) > len(table) and names[: len(table)] == table:
                start, end = parts[0].meta["start"], parts[len(table) - 1].meta["start"]
                yield Edit(start, end, "")


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "..."


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def is_aggregate(function: str) -> bool:
    """Whether Spark's function of that name makes one value of many rows."""
    return function.lower() in AGGREGATES
