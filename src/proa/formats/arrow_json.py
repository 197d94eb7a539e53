"""Lines of JSON through Arrow's parser, which dies of some of them: what it is given is looked at first.

The parser ends the process at a line that is not an object (`null`), and at nesting so deep that the
stack does not hold it; DuckDB's ends it at the latter too. All JSON that goes to either comes by here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyarrow import json as pj

from proa.lazy import compute as pc

DEEPEST = 200
"""Levels of nesting; what has more is not a record. Spark's parser stops at 1000."""


class UnparsedError(Exception):
    """The parser was not given the block, or refused it; `row` is a line to blame, when known."""

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.row = row


class Lines:
    """A block of lines: its bytes, and the same bytes as an Arrow array."""

    def __init__(self, block: bytes) -> None:
        ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
        tail = [] if block.endswith(b"\n") else [len(block)]
        offsets = np.concatenate([[0], ends, tail]).astype(np.int32)
        self.block = block
        self.array = pa.StringArray.from_buffers(
            len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(block)
        )

    def __len__(self) -> int:
        return len(self.array)


@dataclass(frozen=True)
class JsonLayout:
    """What one look at a block of lines tells."""

    lines: int
    plain: bool
    """Each line is one object, if it is JSON at all; False when it is not seen at once.

    That is: whether every line begins with a brace and ends with one. The parser takes objects
    wherever they end. But such a line cannot be a piece of an object: what comes after its last
    brace would be a comma.
    """
    longest: int
    """Bytes of the longest line, at most."""

    @classmethod
    def of(cls, block: bytes) -> JsonLayout:
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == ord("\n"))
        closed = block.endswith(b"\n")
        count = len(ends) + (not closed)
        edges = np.concatenate([[0], ends, [len(block)]])
        longest = int(np.diff(edges).max())
        if block[:1] != b"{" or block[-4:].rstrip(b"\r\n")[-1:] != b"}":
            return cls(count, plain=False, longest=longest)
        inner = ends[:-1] if closed else ends
        before = data[inner - 1]
        before = np.where(before == ord("\r"), data[inner - 2], before)
        braces = (before == ord("}")) & (data[inner + 1] == ord("{"))
        return cls(count, plain=bool(braces.all()), longest=longest)


def arrow_json(
    block: bytes, schema: pa.Schema | None = None, *, infer: bool = True, lines: int | None = None
) -> pa.Table:
    """Parse lines of JSON, one object each, into a table with a row per line.

    `schema` has columns whose types are known; `infer` adds the others. `lines`: how many there
    are, when the caller has called `check_objects`. Raises UnparsedError when it is not to be had.
    """
    if lines is None:
        lines = check_objects(block).lines
    try:
        table = pj.read_json(
            pa.BufferReader(block),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pj.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior="infer" if infer else "ignore"
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UnparsedError(str(error)) from None
    except UnicodeDecodeError:
        # The message cites the line, and may be cut within a character.
        raise UnparsedError(_NO_JSON) from None
    if len(table) != lines:
        raise UnparsedError(_NO_JSON)
    return table


def check_objects(block: bytes, layout: JsonLayout | None = None) -> JsonLayout:
    """Look whether each of the block's lines may go to a parser; returns the block's layout.

    Raises UnparsedError that names a line which may not.
    """
    layout = layout or JsonLayout.of(block)
    if not layout.plain and not _one_object_a_line(block, layout.lines):
        raise UnparsedError(_NO_JSON, _first_odd_line(block))
    if layout.longest > 2 * DEEPEST:
        row = _first_deep_line(block)
        if row is not None:
            raise UnparsedError(_NO_JSON, row)
    return layout


def _one_object_a_line(block: bytes, count: int) -> bool:
    """Whether each of the block's `count` lines is one object, blanks around it allowed."""
    whole = pc.match_substring_regex(Lines(block).array, _OBJECT)
    return len(whole) == count and bool(pc.all(whole).as_py())


def is_deep(text: bytes) -> bool:
    """Whether a JSON text is nested more than `DEEPEST` levels, as far as its brackets tell."""
    if len(text) <= 2 * DEEPEST or text.count(b"{") + text.count(b"[") <= DEEPEST:
        return False
    data = np.frombuffer(_STRING.sub(b"", text), np.uint8)
    level = 0
    for at in range(0, len(data), _AT_ONCE):
        levels = level + np.cumsum(_STEPS[data[at : at + _AT_ONCE]], dtype=np.int32)
        if int(levels.max()) > DEEPEST:
            return True
        level = int(levels[-1])
    return False


_NO_JSON = "JSON parse error: a line is not one JSON object"
_AT_ONCE = 1 << 20
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_OBJECT = r"^[ \t]*\{(?s:.*)\}[ \t\r]*\n?$"


def _first_odd_line(block: bytes) -> int | None:
    found = pc.index(pc.match_substring_regex(Lines(block).array, _OBJECT), value=False).as_py()
    return None if found < 0 else int(found)


def _first_deep_line(block: bytes) -> int | None:
    """The first line that is nested too deeply. Short lines cannot be."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
    edges = np.concatenate([[0], ends, [len(block)]])
    for row in np.flatnonzero(np.diff(edges) > 2 * DEEPEST).tolist():
        if is_deep(block[edges[row] : edges[row + 1]]):
            return int(row)
    return None
