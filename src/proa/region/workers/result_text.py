"""Values of a statement's result as texts, as Databricks writes them in JSON and CSV."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import math
from typing import Any

_FLOATS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def text_cells(column: Any) -> list[str | None]:
    """The values of a column of Arrow as texts, nulls as None."""
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        texts = column.cast(pa.string()).to_pylist()
        return [None if text is None else _FLOATS.get(text, text) for text in texts]
    return [_cell(value) for value in column.to_pylist(maps_as_pydicts="lossy")]


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list | tuple):
        return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False)
    return _scalar(value)


def _plain(value: Any) -> Any:
    """What JSON can say of a nested value; the keys of maps are texts."""
    if isinstance(value, dict):
        return {_cell(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
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
    if isinstance(value, dt.timedelta):
        return _interval(value)
    text = str(value)
    return _FLOATS.get(text, text) if isinstance(value, float) else text


def _interval(value: dt.timedelta) -> str:
    """`1 02:03:04.500000000`, days first, as Databricks writes an interval."""
    sign, rest = ("-", -value) if value < dt.timedelta(0) else ("", value)
    hours, seconds = divmod(rest.seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    return f"{sign}{rest.days} {hours:02}:{minutes:02}:{seconds:02}.{rest.microseconds:06}000"
