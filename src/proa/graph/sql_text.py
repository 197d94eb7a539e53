"""What a query's SQL text reads, and where in the text that stands.

The text is never regenerated: what must change is replaced at its span, everything else reaches
the engine as the user wrote it. To let sqlglot read what only Databricks knows (`STREAM(t)`,
`read_files(...)`, `t WITH (...)`), those spans are first masked in a copy of equal length, so that
every position in the copy is a position in the text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import sqlglot
from sqlglot import Token, exp
from sqlglot.errors import SqlglotError

from proa.engine.spark_functions import words
from proa.errors import PipelineError, SourceLocation
from proa.graph.sql_mask import WINDOW, LocateOffset, Mask, TextEdit
from proa.text import quote_identifier, syntax_reason

DIALECT = "databricks"
_SELECT = "SELECT "
STREAM = "proa_stream"
"""Says, in the `meta` of a syntax tree's table, whether it is read as a stream."""
WATERMARK = "proa_watermark"
"""The column and delay of a table's WATERMARK clause, in the `meta` of the syntax tree's table."""
PATH_FORMATS = frozenset(
    {"parquet", "delta", "json", "csv", "text", "orc", "avro", "binaryfile", "xml", "iceberg"}
)


@dataclass(frozen=True)
class TableRead:
    """A table that the text reads."""

    start: int
    end: int
    """The span to replace, `STREAM` and options included; exclusive."""
    parts: tuple[str, ...]
    streaming: bool
    name_at: int
    """Where its name begins."""
    options: Mapping[str, str] = field(default_factory=dict)
    alias_at: int | None = None
    """Where `AS alias` must be put when the span is replaced; None where the user gave an alias."""
    is_versioned: bool = False
    """Whether VERSION AS OF or TIMESTAMP AS OF stands behind it."""
    watermark: tuple[str, str] | None = None
    """The column and the delay of its WATERMARK clause."""
    alias: str = ""
    """The name by which the text's columns know the table: its last part, unless that is another
    table's too."""


@dataclass(frozen=True)
class FilesRead:
    """`read_files(...)` or `cloud_files(...)`."""

    start: int
    end: int
    path: str
    options: Mapping[str, str]
    schema: str | None
    streaming: bool
    alias_at: int | None = None
    watermark: tuple[str, str] | None = None


@dataclass(frozen=True)
class SqlReads:
    """A query's text, read."""

    text: str
    tables: tuple[TableRead, ...]
    files: tuple[FilesRead, ...]
    tree: exp.Expr
    """The masked text's syntax tree: files are tables called `__f0`, `__f1` ..."""
    fixes: tuple[TextEdit, ...]
    """What else must change once names are replaced: column qualifiers to shorten
    (`live.orders.id` becomes `orders.id`), `TABLE t` to spell out, a last semicolon to drop."""
    tokens: Sequence[Token] = field(repr=False)
    stand_ins: Mapping[str, FilesRead] = field(repr=False)
    """The files by the names that stand for them in the tree."""

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


@dataclass(frozen=True)
class SqlExpression:
    """An expression's text, read."""

    text: str
    tree: exp.Expr
    """The syntax tree of `SELECT` and the text."""
    tokens: Sequence[Token] = field(repr=False)
    shift: int
    """What to take from a position in the tree or of a token to get the position in the text."""
    fixes: tuple[TextEdit, ...] = ()
    """What must change before an engine gets the text: names before those of functions."""


def apply_edits(text: str, edits: list[TextEdit]) -> str:
    """The text with the edits made. They do not overlap."""
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def read(text: str, locate: LocateOffset | None = None) -> SqlReads:
    """Find what the query reads.

    `locate` says where a character stands, for error messages. Raises PipelineError with condition
    PARSE_SYNTAX_ERROR if the text is not one query.
    """
    return _Reader(text, locate).read()


def expression(text: str, locate: LocateOffset | None = None) -> SqlExpression:
    """Read an expression ("a + 1 AS b"). Raises PipelineError like `read`."""
    shift = len(_SELECT)
    behind = None if locate is None else lambda offset: locate(max(offset - shift, 0))
    reader = _Reader(f"{_SELECT}{text}", behind)
    tree = reader.tree()
    qualifiers = tuple(
        TextEdit(edit.start - shift, edit.end - shift, edit.text) for edit in reader.mask.qualifiers
    )
    return SqlExpression(text, tree, tuple(reader.mask.tokens[1:]), shift, qualifiers)


def for_engine(condition: str, locate: LocateOffset | None = None) -> str:
    """An expression as engines read it. Raises PipelineError like `read`."""
    if "." not in condition and "`" not in condition:
        return condition
    return apply_edits(condition, list(expression(condition, locate).fixes))


def tokens(text: str) -> Sequence[Token]:
    """The words of a query or an expression. Raises PipelineError like `read`."""
    return Mask(text, None).tokens


class SqlTexts:
    """The SQL texts of one flow, each lexed, masked and parsed once."""

    def __init__(self, locate: Callable[[str, int], SourceLocation | None] | None = None) -> None:
        """`locate` says where a character of a text stands, for error messages."""
        self._locate = locate
        self._queries: dict[str, SqlReads] = {}
        self._expressions: dict[str, SqlExpression] = {}

    def query(self, text: str) -> SqlReads:
        """A query, read. Raises PipelineError like `read`."""
        if text not in self._queries:
            self._queries[text] = read(text, self._offsets_of(text))
        return self._queries[text]

    def expression(self, text: str, locate: LocateOffset | None = None) -> SqlExpression:
        """An expression, read. Raises PipelineError like `read`; `locate` knows better where it stands."""
        if text not in self._expressions:
            self._expressions[text] = expression(text, locate or self._offsets_of(text))
        return self._expressions[text]

    def location(self, text: str, line: int) -> SourceLocation | None:
        """Where a line of a text stands. Returns None if that is not known."""
        before = "".join(text.splitlines(keepends=True)[: line - 1])
        found = self.place(text, len(before))
        return None if found is None else replace(found, column=None)

    def place(self, text: str, offset: int) -> SourceLocation | None:
        """Where a character of a text stands. Returns None if that is not known."""
        return None if self._locate is None else self._locate(text, offset)

    @property
    def all(self) -> tuple[str, ...]:
        """The texts that were read, queries first."""
        return (*self._queries, *self._expressions)

    def _offsets_of(self, text: str) -> LocateOffset | None:
        locate = self._locate
        return None if locate is None else lambda offset: locate(text, offset)


def is_path(parts: tuple[str, ...]) -> bool:
    """Whether the name is a path in disguise: parquet.`/data/x`."""
    return len(parts) == 2 and parts[0].lower() in PATH_FORMATS and parts[1][:1] != ""


class _Reader:
    def __init__(self, text: str, locate: LocateOffset | None) -> None:
        self.text = text
        self.mask = Mask(text, locate)
        self.error = self.mask.error

    def tree(self) -> exp.Expr:
        masked = self.mask.masked
        try:
            trees = [tree for tree in sqlglot.parse(masked, dialect=DIALECT) if tree is not None]
        except (SqlglotError, IndexError) as error:  # sqlglot raises that for "map (" at the end
            raise self._syntax_error(error) from error
        if len(trees) != 1 or not isinstance(trees[0], exp.Query | exp.Values | exp.Table):
            raise self.error(f"the text is not one query: {_shorten(self.text)!r}", 0)
        if WINDOW in masked:
            for name in trees[0].find_all(exp.Identifier):
                if name.name == WINDOW:
                    name.set("this", "window")
        return trees[0]

    def read(self) -> SqlReads:
        tree = self.tree()
        self._note_watermarks(tree)
        tables: list[TableRead] = []
        files: dict[str, FilesRead] = {}
        for table in tree.find_all(exp.Table):
            if table.name in self.mask.calls:
                files[table.name] = self._files(table)
                table.meta[STREAM] = files[table.name].streaming
            elif (found := self._table(table)) is not None:
                tables.append(found)
                table.meta[STREAM] = found.streaming
        tables = _named_tables(tables)
        fixes = (*self.mask.fixes, *self.mask.qualifiers, *_qualifiers(tree, tables))
        return SqlReads(
            self.text,
            tuple(tables),
            tuple(files.values()),
            tree,
            fixes,
            self.mask.tokens,
            files,
        )

    def _note_watermarks(self, tree: exp.Expr) -> None:
        starts = {
            table.this.meta["start"]: table
            for table in tree.find_all(exp.Table)
            if "start" in table.this.meta
        }
        for position, watermark in self.mask.watermarks.items():
            before = max((start for start in starts if start < position), default=None)
            if before is None or _is_cte(starts[before]):
                raise self.error(
                    "WATERMARK belongs behind the name of a table or view that is a stream",
                    position,
                )
            starts[before].meta[WATERMARK] = watermark

    def _syntax_error(self, error: Exception) -> PipelineError:
        details = getattr(error, "errors", None) or [{}]
        place = details[0].get("line"), details[0].get("col")
        token = next((each for each in self.mask.tokens if (each.line, each.col) == place), None)
        near = "" if token is None else self.text[token.start : token.end + 1]
        what = f"near {near!r}" if near else f"in {_shorten(self.text)!r}"
        reason = syntax_reason(details[0].get("description") or "")
        offset = 0 if token is None else token.start
        return self.error(f"syntax error in the query {what}: {reason}", offset)

    def _table(self, table: exp.Table) -> TableRead | None:
        identifiers = [part for part in table.parts if isinstance(part, exp.Identifier)]
        if not identifiers or len(identifiers) != len(table.parts):
            return None
        if table.find_ancestor(exp.Hint, exp.JoinHint) or _is_cte(table):
            return None
        start, end = _span(identifiers)
        streaming = start in self.mask.streams
        alias_at = None if table.alias else self.mask.end_of_table(end)
        options, end = self.mask.options.get(end, ({}, end))
        if streaming:
            start, streamed = self.mask.streams[start]
            end = max(end, streamed)
            behind, end = self.mask.options.get(end, ({}, end))
            options = {**options, **behind}
        if alias_at is not None:
            alias_at = max(alias_at, end)
        return TableRead(
            start=start,
            end=end,
            parts=tuple(part.name for part in identifiers),
            streaming=streaming,
            name_at=_span(identifiers)[0],
            options=options,
            alias_at=alias_at,
            is_versioned=table.args.get("version") is not None,
            watermark=table.meta.get(WATERMARK) if streaming else None,
        )

    def _files(self, table: exp.Table) -> FilesRead:
        start, end = self.mask.calls[table.name]
        call = self.text[start:end]
        streaming = start in self.mask.streams
        path, options, schema = self._arguments(call, start)
        if streaming:
            start, end = self.mask.streams[start]
        return FilesRead(
            start=start,
            end=end,
            path=path,
            options=options,
            schema=schema,
            streaming=streaming or call.lower().startswith("cloud_files"),
            alias_at=None if table.alias else self.mask.end_of_table(end),
            watermark=table.meta.get(WATERMARK),
        )

    def _arguments(self, call: str, at: int) -> tuple[str, dict[str, str], str | None]:
        try:
            parsed = sqlglot.parse_one(f"SELECT {call}", dialect=DIALECT).expressions[0]
        except SqlglotError as error:
            raise self.error(f"cannot read the arguments of {_shorten(call)!r}", at) from error
        function = parsed.name.lower()
        positional: list[str] = []
        options: dict[str, str] = {}
        for argument in parsed.expressions:
            if isinstance(argument, exp.Kwarg):
                options[argument.this.name] = self._constant(argument.expression, call, at)
            elif isinstance(argument, exp.Map | exp.VarMap):
                options.update(self._map(argument, call, at))
            else:
                positional.append(self._constant(argument, call, at))
        path = positional[0] if positional else options.pop("path", "")
        if not path:
            raise self.error(f"{function}() needs a path: {_shorten(call)!r}", at)
        if len(positional) > 1:
            options.setdefault("format", positional[1])
        schema = options.pop("schema", None)
        return path, file_options(options, path, function), schema

    def _map(self, argument: exp.Expr, call: str, at: int) -> dict[str, str]:
        keys, values = argument.args.get("keys"), argument.args.get("values")
        return {
            self._constant(key, call, at): self._constant(value, call, at)
            for key, value in zip(
                keys.expressions if keys else (), values.expressions if values else (), strict=True
            )
        }

    def _constant(self, value: exp.Expr, call: str, at: int) -> str:
        if isinstance(value, exp.Literal):
            return value.name
        if isinstance(value, exp.Boolean):
            return str(bool(value.this)).lower()
        if isinstance(value, exp.Neg):
            return "-" + self._constant(value.this, call, at)
        if isinstance(value, exp.Paren):
            return self._constant(value.this, call, at)
        if isinstance(value, exp.DPipe):
            left = self._constant(value.this, call, at)
            return left + self._constant(value.expression, call, at)
        if isinstance(value, exp.Concat):
            return "".join(self._constant(part, call, at) for part in value.expressions)
        raise self.error(
            f"the argument {value.sql(dialect=DIALECT)!r} of {_shorten(call)!r} is not a constant;"
            " write the value, or take it from the configuration with ${key}",
            at,
        )


_FILE_OPTIONS = {
    name.lower(): name
    for name in words(
        """format schemaLocation schemaHints schemaEvolutionMode inferColumnTypes
        partitionColumns maxFilesPerTrigger maxBytesPerTrigger maxFileAge
        includeExistingFiles allowOverwrites validateOptions backfillInterval
        cleanSource cleanSource.retentionDuration cleanSource.moveDestination
        useIncrementalListing useNotifications useManagedFileEvents useStrictGlobber
        fetchParallelism resourceTag queueUrl"""
    )
}
"""Options that Auto Loader spells with the prefix `cloudFiles.` and `read_files` without."""
_ENDING = re.compile(
    r"\.(avro|csv|json|jsonl|ndjson|orc|parquet|txt|xml)\*?(?:\.(?:gz|bz2|zst|\*))?/?$",
    re.IGNORECASE,
)
"""What a path of `read_files` ends with, if that tells the files' format."""
_ENDING_FORMATS = {"jsonl": "json", "ndjson": "json", "txt": "text"}


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
        match = _ENDING.search(path)
        if match is not None:
            ending = match[1].lower()
            spelled.setdefault("cloudFiles.format", _ENDING_FORMATS.get(ending, ending))
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


def _named_tables(tables: list[TableRead]) -> list[TableRead]:
    """The tables with their aliases: `bronze.orders` and `silver.orders` cannot both be `orders`."""
    unnamed = [table for table in tables if table.alias_at is not None]
    known = {tuple(map(str.casefold, table.parts)) for table in unnamed}
    taken = Counter(parts[-1] for parts in known)
    return [
        table
        if table.alias_at is None
        else replace(
            table,
            alias=table.parts[-1]
            if taken[table.parts[-1].casefold()] == 1
            else "_".join(table.parts),
        )
        for table in tables
    ]


def _qualifiers(tree: exp.Expr, tables: list[TableRead]) -> Iterator[TextEdit]:
    """Let columns that name their table in full, or without its catalog, use its alias."""
    aliases: dict[tuple[str, ...], str] = {}
    for table in tables:
        names = tuple(map(str.casefold, table.parts))
        for first in range(len(names) - 1 if table.alias_at is not None else 0):
            aliases[names[first:]] = table.alias
    for column in tree.find_all(exp.Column) if aliases else ():
        parts = [part for part in column.parts if isinstance(part, exp.Identifier)]
        names = tuple(part.name.casefold() for part in parts)
        found = next((n for n in (3, 2) if n < len(names) and names[:n] in aliases), None)
        if found is not None:
            start, end = _span(parts[:found])
            alias, last = aliases[names[:found]], parts[found - 1]
            if alias.casefold() == last.name.casefold():
                yield TextEdit(start, last.meta["start"], "")
            else:
                yield TextEdit(start, end, quote_identifier(alias))


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "..."
