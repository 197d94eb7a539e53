"""JSON values that keep what Python's own would lose: digits, repeated names, the text itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from proa.formats.arrow_json import DEEPEST, is_deep


class Number(str):
    """A JSON number as it was written: no digit is lost."""

    __slots__ = ()


class JsonObject(dict[str, Any]):
    """A JSON object.

    `again` holds the values of names that came more than once; `raw`, for a record itself, the
    text of each member's value as it was written.
    """

    __slots__ = ("again", "raw")

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        super().__init__()
        self.again: dict[str, list[Any]] = {}
        self.raw: dict[str, str] = {}
        for name, value in pairs:
            if name in self:
                self.again.setdefault(name, []).append(value)
            else:
                self[name] = value


_DECODER = json.JSONDecoder(
    parse_float=Number, parse_int=Number, parse_constant=Number, object_pairs_hook=JsonObject
)
_scan_once: Callable[[str, int], tuple[Any, int]] = _DECODER.scan_once  # type: ignore[attr-defined]
_scan_string = json.decoder.scanstring  # type: ignore[attr-defined]
_BLANKS = frozenset(" \t\r\n")


def parse(text: str) -> Any:
    """The JSON value, numbers as `Number`, objects as `JsonObject`; ValueError when it is not one."""
    with _sound(text):
        return _DECODER.decode(text)


def parse_record(text: str) -> JsonObject | None:
    """The JSON object with `raw` filled; None when the value is not an object.

    ValueError when it is not JSON.
    """
    with _sound(text):
        at = _skip(text, 0)
        if text[at : at + 1] != "{":
            _DECODER.decode(text)
            return None
        pairs: list[tuple[str, Any]] = []
        raw: dict[str, str] = {}
        at = _skip(text, at + 1)
        while text[at : at + 1] != "}" or pairs:
            if text[at : at + 1] != '"':
                raise ValueError(f"a name is expected at character {at}")
            name, at = _scan_string(text, at + 1, True)
            at = _skip(text, at)
            if text[at : at + 1] != ":":
                raise ValueError(f"':' is expected at character {at}")
            begin = _skip(text, at + 1)
            try:
                value, at = _scan_once(text, begin)
            except StopIteration:
                raise ValueError(f"a value is expected at character {begin}") from None
            pairs.append((name, value))
            raw.setdefault(name, text[begin:at])
            at = _skip(text, at)
            if text[at : at + 1] == "}":
                break
            if text[at : at + 1] != ",":
                raise ValueError(f"',' or '}}' is expected at character {at}")
            at = _skip(text, at + 1)
        if _skip(text, at + 1) != len(text):
            raise ValueError(f"there is more after character {at}")
        record = JsonObject(pairs)
        record.raw = raw
        return record


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in _BLANKS:
        at += 1
    return at


@contextmanager
def _sound(text: str) -> Iterator[None]:
    """Refuse, as ValueError, what Python's parser takes and no column can hold."""
    if len(text) > 2 * DEEPEST:
        raw = text.encode("utf-8", "replace")
        if has_many_values(raw):
            raise ValueError(f"it has more than {_MOST_VALUES} values")
        if is_deep(raw):
            raise ValueError("it is nested too deeply")
    try:
        yield
        if "\\ud" in text.lower():
            pairs = json.loads(text, object_pairs_hook=list)
            json.dumps(pairs, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it has half a surrogate pair") from None


_MOST_VALUES = 4 << 20
"""Values of one record, or what their signs allow: each takes some 250 bytes as Python's own."""


def has_many_values(text: bytes | msgspec.Raw) -> bool:
    """Whether a JSON text may hold more values than one record may have."""
    if len(text) < _MOST_VALUES:
        return False
    raw = bytes(text)
    return raw.count(b",") + raw.count(b"{") + raw.count(b"[") > _MOST_VALUES


def dump(value: Any) -> str:
    """The value as compact JSON; numbers as they were written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        members = [f"{quote(name)}:{dump(item)}" for name, item in value.items()]
        for name, items in getattr(value, "again", {}).items():
            members += [f"{quote(name)}:{dump(item)}" for item in items]
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return quote(value)


def quote(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
