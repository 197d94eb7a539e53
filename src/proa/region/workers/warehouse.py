"""The region's SQL warehouse: a worker process that answers statements until it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from proa.engine import Engine
from proa.errors import ProaError
from proa.lake import Table
from proa.pipelines.declaring_session import is_query
from proa.region.workers.catalog import enter_schema, register_tables
from proa.region.workers.port import DEFAULT_SCHEMA, Inbox, Shape
from proa.region.workers.result_files import text_cells, write_results
from proa.runtime.queries import Queries, missing_table
from proa.settings import EngineSettings

_AT_ONCE = 4
_CHUNK_ROWS = 5000
_MAX_BYTES = 25 * 1024 * 1024
"""What Databricks allows an inline result."""

_NAMES = {
    "boolean": ("BOOLEAN", "BOOLEAN"),
    "tinyint": ("BYTE", "TINYINT"),
    "smallint": ("SHORT", "SMALLINT"),
    "int": ("INT", "INT"),
    "bigint": ("LONG", "BIGINT"),
    "float": ("FLOAT", "FLOAT"),
    "double": ("DOUBLE", "DOUBLE"),
    "string": ("STRING", "STRING"),
    "binary": ("BINARY", "BINARY"),
    "date": ("DATE", "DATE"),
    "timestamp": ("TIMESTAMP", "TIMESTAMP"),
    "timestamp_ntz": ("TIMESTAMP", "TIMESTAMP_NTZ"),
    "void": ("NULL", "VOID"),
}
_NESTED = ("decimal", "array", "struct", "map", "char", "interval")


def run(work: Mapping[str, Any], say: Callable[..., None], inbox: Inbox) -> dict[str, Any]:
    """Answer statements, some at a time, until the end."""
    settings = EngineSettings(remote=work.get("engine"))
    sessions = _Sessions(settings, work.get("options") or {})
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        while (message := inbox.messages.get()) is not None:
            threads.submit(_answer, sessions, message, say)
    return {"outcome": "COMPLETED"}


class _RegionTables:
    """The tables of a region's pipelines, for one statement."""

    def __init__(
        self,
        tables: Sequence[Mapping[str, Any]],
        schema: str | None,
        options: Mapping[str, str],
        open_tables: dict[str, Table],
    ) -> None:
        """`tables` are `{"schema", "name", "url"}`; of two with one name the first counts.

        `schema` is where names without one are looked for. `open_tables` remembers tables by URL.
        """
        self._options = options
        self._open = open_tables
        self._schema = schema if any(table["schema"] == schema for table in tables) else None
        self._urls: dict[tuple[str, str], str] = {}
        for table in tables:
            self._urls.setdefault(_key(table["schema"], table["name"]), str(table["url"]))

    def find(self, parts: tuple[str, ...]) -> str:
        """The URL of the table that a name means."""
        schema, name = (self._schema, parts[0]) if len(parts) == 1 else parts[-2:]
        url = self._urls.get(_key(schema, name))
        if url is None:
            names = sorted(".".join(key) for key in self._urls)
            raise missing_table(".".join(parts), names, "in this region")
        return url

    def table(self, name: str) -> Table:
        """The table at a URL."""
        if name not in self._open:
            self._open[name] = Table.at(name, self._options)
        return self._open[name]


def _key(schema: Any, name: Any) -> tuple[str, str]:
    return (str(schema or DEFAULT_SCHEMA).casefold(), str(name).casefold())


class _Sessions:
    """An engine a thread: a session's schema and tables belong to one statement."""

    def __init__(self, settings: EngineSettings, options: Mapping[str, str]) -> None:
        self._settings = settings
        self._options = options
        self._local = threading.local()
        self._open_tables: dict[str, Table] = {}

    def frame(self, message: Mapping[str, Any]) -> tuple[Engine, Any]:
        """The engine and the DataFrame that answer a statement.

        A query reads the files of its tables. What shows or explains finds them in the catalog.
        """
        sql, schema = str(message["sql"]), message.get("schema")
        if is_query(sql):
            tables = _RegionTables(message["tables"], schema, self._options, self._open_tables)
            engine = self._engine()
            return engine, Queries(engine, tables).frame(sql)
        engine = self._engine_with(message["tables"], schema)
        with engine.translating():
            return engine, engine.spark.sql(sql)

    def _engine(self) -> Engine:
        if not hasattr(self._local, "engine"):
            self._local.engine = Engine.start(self._settings, self._options)
            self._local.known = {}
        engine: Engine = self._local.engine
        return engine

    def _engine_with(self, tables: Sequence[Mapping[str, Any]], schema: str | None) -> Engine:
        """An engine that knows exactly `tables`.

        A name that is gone, or means another table now, takes a new engine: to drop a table from
        a catalog is not to touch what it names, but nothing here should depend on that.
        """
        here = self._local
        wanted = {(table["schema"], table["name"]): table["url"] for table in reversed(tables)}
        known: dict[Any, str] = getattr(here, "known", {})
        if any(wanted.get(name) != url for name, url in known.items()):
            here.engine.close()
            del here.engine
        engine = self._engine()
        new = [table for table in tables if (table["schema"], table["name"]) not in here.known]
        register_tables(engine, new)
        here.known = wanted
        enter_schema(engine, tables, schema)
        return engine


def _answer(sessions: _Sessions, message: Mapping[str, Any], say: Callable[..., None]) -> None:
    asked = message["id"]
    try:
        engine, frame = sessions.frame(message)
        say("answer", id=asked, **_compute(engine, frame, message))
    except ProaError as error:
        say("answer", id=asked, condition=error.condition, error=str(error))
    except Exception as error:  # noqa: BLE001 - the top of a thread: the asker must hear of it
        say("answer", id=asked, condition=type(error).__name__, error=str(error))


def _compute(engine: Engine, frame: Any, message: Mapping[str, Any]) -> dict[str, Any]:
    shape = Shape(message.get("shape", Shape.ROWS.value))
    with engine.translating():
        schema = frame.schema
    if shape is not Shape.ROWS:
        columns, rows = _description(schema, shape)
        if message.get("folder"):
            return {"columns": columns, **_write_result(message, *_as_arrow(columns, rows))}
        return _inline(columns, rows, truncated=False)
    columns = [_column(position, field) for position, field in enumerate(schema)]
    limit = int(message["row_limit"])
    if message.get("folder"):
        return {
            "columns": columns,
            **_write_result(message, *engine.stream(frame.limit(limit + 1))),
        }
    with engine.translating():
        arrow = frame.limit(limit + 1).toArrow()
    # By column: names may repeat, as after a join.
    cells = [text_cells(column) for column in arrow.slice(0, limit).columns]
    rows = []
    size = 0
    truncated = arrow.num_rows > limit
    for row in zip(*cells, strict=True):
        size += sum(len(cell or "") for cell in row)
        if size > int(message.get("byte_limit") or _MAX_BYTES):
            truncated = True
            break
        rows.append(list(row))
    return _inline(columns, rows, truncated=truncated)


def _write_result(
    message: Mapping[str, Any], schema: Any, batches: Iterable[Any]
) -> dict[str, Any]:
    """Write the result into the folder that the server names; returns what lies there."""
    files, truncated = write_results(
        schema,
        batches,
        str(message["format"]),
        str(message["folder"]),
        row_limit=int(message["row_limit"]),
        byte_limit=message.get("byte_limit"),
    )
    return {"files": files, "truncated": truncated}


def _as_arrow(columns: list[dict[str, Any]], rows: list[list[str | None]]) -> tuple[Any, list[Any]]:
    import pyarrow as pa

    schema = pa.schema([pa.field(column["name"], pa.string()) for column in columns])
    arrays = [pa.array([row[at] for row in rows], pa.string()) for at in range(len(columns))]
    return schema, [pa.record_batch(arrays, schema=schema)]


def _description(schema: Any, shape: Shape) -> tuple[list[dict[str, Any]], list[list[str | None]]]:
    """(columns, rows) that answer DESCRIBE or SHOW COLUMNS; the engine does not know a table's."""
    names = ["col_name"] if shape is Shape.COLUMNS else ["col_name", "data_type", "comment"]
    rows = [
        [field.name, _type_text(field.dataType).lower(), field.metadata.get("comment")]
        for field in schema
    ]
    columns = [
        {"name": name, "position": position, "type_name": "STRING", "type_text": "STRING"}
        for position, name in enumerate(names)
    ]
    return columns, [row[: len(names)] for row in rows]


def _inline(
    columns: list[dict[str, Any]], rows: list[list[str | None]], *, truncated: bool
) -> dict[str, Any]:
    chunks = [rows[at : at + _CHUNK_ROWS] for at in range(0, len(rows), _CHUNK_ROWS)]
    return {"columns": columns, "chunks": chunks, "truncated": truncated}


def _column(position: int, field: Any) -> dict[str, Any]:
    text = field.dataType.simpleString()
    nested = next((kind for kind in _NESTED if text.startswith(kind)), None)
    column: dict[str, Any] = {
        "name": field.name,
        "position": position,
        "type_name": _NAMES.get(text, (nested.upper() if nested else "STRING", ""))[0],
        "type_text": _type_text(field.dataType),
    }
    if nested == "decimal":
        column |= {"type_precision": field.dataType.precision, "type_scale": field.dataType.scale}
    return column


def _type_text(kind: Any) -> str:
    """The type as SQL writes it: words in capitals, the names of fields as they are."""
    found = kind.typeName()
    if found == "array":
        return f"ARRAY<{_type_text(kind.elementType)}>"
    if found == "map":
        return f"MAP<{_type_text(kind.keyType)}, {_type_text(kind.valueType)}>"
    if found == "struct":
        inside = ", ".join(f"{field.name}: {_type_text(field.dataType)}" for field in kind.fields)
        return f"STRUCT<{inside}>"
    text = str(kind.simpleString())
    return _NAMES.get(text, ("", text.upper()))[1]
