"""The region's SQL warehouse: a worker process that answers statements until it is told to stop."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from proa.engine import Engine
from proa.errors import ProaError
from proa.region.catalog import register
from proa.region.inbox import Inbox
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
_FLOATS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_NESTED = ("decimal", "array", "struct", "map", "char", "interval")


def run(work: Mapping[str, Any], say: Callable[..., None], inbox: Inbox) -> dict[str, Any]:
    """Answer statements, some at a time, until the end."""
    settings = EngineSettings(remote=work.get("engine"))
    sessions = _Sessions(settings, work.get("options") or {})
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        while (message := inbox.messages.get()) is not None:
            threads.submit(_answer, sessions, message, say)
    return {"outcome": "COMPLETED"}


class _Sessions:
    """An engine a thread: a session's schema and tables belong to one statement."""

    def __init__(self, settings: EngineSettings, options: Mapping[str, str]) -> None:
        self._settings = settings
        self._options = options
        self._local = threading.local()

    def engine(self) -> Engine:
        if not hasattr(self._local, "engine"):
            self._local.engine = Engine.start(self._settings, self._options)
        found: Engine = self._local.engine
        return found


def _answer(sessions: _Sessions, message: Mapping[str, Any], say: Callable[..., None]) -> None:
    asked = message["id"]
    try:
        say("answer", id=asked, **_computed(sessions.engine(), message))
    except ProaError as error:
        say("answer", id=asked, condition=error.condition, error=str(error))
    except Exception as error:  # noqa: BLE001 - the top of a thread: the asker must hear of it
        say("answer", id=asked, condition=type(error).__name__, error=str(error))


def _computed(engine: Engine, message: Mapping[str, Any]) -> dict[str, Any]:
    register(engine, message["tables"], message.get("schema"))
    with engine.translating():
        frame = engine.spark.sql(message["sql"])
        limit = int(message["row_limit"])
        schema = frame.schema
        arrow = frame.limit(limit + 1).toArrow()
    truncated = arrow.num_rows > limit
    rows: list[list[str | None]] = []
    size = 0
    for row in arrow.slice(0, limit).to_pylist():
        cells = [_cell(row_value) for row_value in row.values()]
        size += sum(len(cell or "") for cell in cells)
        if size > int(message.get("byte_limit") or _MAX_BYTES):
            truncated = True
            break
        rows.append(cells)
    columns = [
        _column(position, field.name, field.dataType.simpleString())
        for position, field in enumerate(schema)
    ]
    chunks = [rows[at : at + _CHUNK_ROWS] for at in range(0, len(rows), _CHUNK_ROWS)]
    return {"columns": columns, "chunks": chunks, "truncated": truncated}


def _column(position: int, name: str, text: str) -> dict[str, Any]:
    nested = next((kind for kind in _NESTED if text.startswith(kind)), None)
    type_name, type_text = _NAMES.get(text, (nested.upper() if nested else "STRING", text.upper()))
    column: dict[str, Any] = {
        "name": name,
        "position": position,
        "type_name": type_name,
        "type_text": type_text,
    }
    if nested == "decimal":
        precision, scale = text.removeprefix("decimal(").removesuffix(")").split(",")
        column |= {"type_precision": int(precision), "type_scale": int(scale)}
    return column


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=_cell, separators=(",", ":"))
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.datetime):
        text = value.replace(tzinfo=None).isoformat(timespec="milliseconds")
        return text + "Z" if value.tzinfo else text
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    text = str(value)
    return _FLOATS.get(text, text) if isinstance(value, float) else text
