"""Members of JSON lines as they are written, a column at a time.

msgspec takes the lines apart and leaves each member's bytes alone, so no digit and no blank is lost.
It is strict; what it refuses is left to `json_record`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import numpy as np
import pyarrow as pa

from proa.formats.arrow_json import Lines
from proa.formats.json_record import Converter
from proa.formats.json_values import parse_record
from proa.formats.rescued import rescued_column
from proa.lazy import compute as pc

Row = Mapping[str, msgspec.Raw]
"""An object's members by name, each as it is written."""
_DECODER: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(
    dict[str, msgspec.Raw]
)


class UnreadableError(Exception):
    """One of the lines is not one JSON object whose names are all different."""


def decoded_rows(block: bytes) -> list[dict[str, msgspec.Raw]]:
    """The members of each line of UTF-8; UnreadableError when a line is not JSON."""
    try:
        return _DECODER.decode_lines(block)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableError from None


class Members:
    """The members of a block of lines, each of which is one object.

    UnreadableError when a line is not JSON, or has a name twice.
    """

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self._rows = decoded_rows(lines.block)
        if len(self._rows) != len(lines):
            raise UnreadableError
        self._shapes = dict.fromkeys(map(tuple, self._rows), 0)
        _refuse_repeated_names(lines, self._rows, self._shapes)

    def __len__(self) -> int:
        return len(self._rows)

    def names(self) -> set[str]:
        """The names of all members."""
        return {name for shape in self._shapes for name in shape}

    def texts(self, name: str) -> pa.Array:
        """The member of each line as it is written; null where there is none."""
        values = [row.get(name, b"") for row in self._rows]
        sizes = np.fromiter(map(len, values), np.int32, len(values))
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        texts = pa.StringArray.from_buffers(
            len(values), pa.py_buffer(offsets), pa.py_buffer(b"".join(values))
        )
        # No value is written with nothing.
        return pc.if_else(pa.array(sizes > 0), texts, _NO_TEXT) if not sizes.all() else texts


class TextColumns:
    """The columns that are read as text.

    `raw` columns keep the JSON as it is, `strings` are the value of a JSON string, or else JSON.
    """

    def __init__(self, raw: set[str], strings: set[str]) -> None:
        self._raw = set(raw)
        self._strings = set(strings)

    @property
    def names(self) -> set[str]:
        return self._raw | self._strings

    def add_string(self, name: str) -> None:
        self._strings.add(name)

    def read(self, members: Members) -> dict[str, pa.Array]:
        """The columns of the lines."""
        columns = {name: members.texts(name) for name in self._raw}
        columns.update((name, string_values(members.texts(name))) for name in self._strings)
        return columns


def rescued_members(
    members: Members, extra: Iterable[str], wrong: Mapping[str, pa.Array], convert: Converter
) -> pa.Array:
    """The rescued data column; null where there is nothing to rescue.

    In it are the members `extra` of each line, and `wrong`, which are members as written.
    """
    parts = []
    for name, found in ({name: members.texts(name) for name in extra} | dict(wrong)).items():
        texts = found
        nested = pc.match_substring_regex(texts, r"^[{\[]")
        if pc.any(nested).as_py():
            texts = _change_texts(texts, nested, lambda text: json.dumps(text, ensure_ascii=False))
        texts = pc.if_else(pc.equal(texts, "null"), _NO_TEXT, texts)
        folder = None if name in wrong else convert.folder(name)
        if folder is not None:
            same = pa.array([folder, json.dumps(folder, ensure_ascii=False)])
            texts = pc.if_else(pc.is_in(texts, same), _NO_TEXT, texts)
        parts.append((name, texts))
    return rescued_column(parts, len(members), convert.file)


def string_values(texts: pa.Array) -> pa.Array:
    """JSON texts as strings: a JSON string's value, null for `null`, other JSON as it is written."""
    texts = pc.if_else(pc.equal(texts, "null"), _NO_TEXT, texts)
    is_string = pc.starts_with(texts, '"')
    # A string without escapes has no quotes but those around it, and other JSON begins with none.
    plain = pc.ascii_trim(texts, '"') if pc.any(is_string).as_py() else texts
    escaped = pc.and_(is_string, pc.match_substring(texts, "\\"))
    if not pc.any(escaped).as_py():
        return plain
    values = pa.array(
        [msgspec.json.decode(text, type=str) for text in texts.filter(escaped).to_pylist()],
        pa.string(),
    )
    return pc.replace_with_mask(plain, pc.fill_null(escaped, fill_value=False), values)


_NO_TEXT = pa.scalar(None, pa.string())


def _refuse_repeated_names(
    lines: Lines, rows: Sequence[Row], shapes: dict[tuple[str, ...], int]
) -> None:
    """Raise UnreadableError when a line has a name twice: msgspec keeps the last one only.

    A line that is as long as its members make it, written without blanks, has no other member.
    Others are compared without their blanks, and what differs then is read exactly.
    """
    for shape in shapes:
        names = sum(len(json.dumps(name, ensure_ascii=False).encode()) + 2 for name in shape)
        shapes[shape] = 2 + max(names - 1, 0)
    offsets = np.frombuffer(lines.array.buffers()[1], np.int32)[: len(rows) + 1]
    expected = np.fromiter(
        (shapes[tuple(row)] + sum(map(len, row.values())) for row in rows), np.int64, len(rows)
    )
    ends = np.diff(offsets)
    ends[:-1] -= 1
    ends[-1] -= lines.block.endswith(b"\n")
    for i in np.flatnonzero(ends != expected).tolist():
        line, row = lines.block[offsets[i] : offsets[i + 1]].rstrip(b"\r\n"), rows[i]
        compact = shapes[tuple(row)] + sum(len(_compact(value)) for value in row.values())
        if len(line) != expected[i] and len(_compact(line)) != compact:
            try:
                record = parse_record(line.decode())
            except ValueError:
                raise UnreadableError from None
            if record is None or record.again:
                raise UnreadableError


def _compact(text: bytes | msgspec.Raw) -> bytes:
    return msgspec.json.format(bytes(text), indent=-1)


def _change_texts(texts: pa.Array, mask: pa.Array, change: Callable[[str], str]) -> pa.Array:
    """The texts with those at `mask` changed, each different one once."""
    values = texts.filter(mask).dictionary_encode()
    changed = pa.array([change(text) for text in values.dictionary.to_pylist()], pa.string())
    return pc.replace_with_mask(
        texts, pc.fill_null(mask, fill_value=False), changed.take(values.indices)
    )
