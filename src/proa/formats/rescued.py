"""The rescued data column: of one record, and put together a column at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from proa.formats.json_values import dump, quote
from proa.lazy import compute as pc


def rescued_column(parts: Iterable[tuple[str, pa.Array]], count: int, file: str) -> pa.Array:
    """`count` JSON objects of the parts, by name, and the file's path; null where all are null.

    Each part is a name and its values as JSON text.
    """
    pieces = [
        pc.fill_null(pc.binary_join_element_wise("," + rescued_member(name, ""), texts, ""), "")
        for name, texts in sorted(parts, key=lambda part: part[0])
        if texts.null_count < count
    ]
    if not pieces:
        return pa.nulls(count, pa.string())
    joined = pc.binary_join_element_wise(*pieces, "")
    end = "," + rescued_member("_file_path", json.dumps(file, ensure_ascii=False)) + "}"
    whole = pc.binary_join_element_wise("{", pc.utf8_slice_codeunits(joined, 1), end, "")
    return pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), whole)


def rescued_value(
    leftover: dict[str, Any], file: str, record: Mapping[str, Any] | None = None
) -> str:
    """The value of the rescued data column: a JSON object, nested values as JSON text in it.

    Members that are rescued whole keep the text that they have in `record`.
    """
    raw = getattr(record, "raw", {})
    members = []
    for name, value in sorted(leftover.items()):
        whole = record is not None and name in raw and record.get(name) is value
        text = raw[name] if whole else dump(value)
        nested = isinstance(value, (dict, list))
        members.append(rescued_member(name, quote(text) if nested else text))
    return "{" + ",".join([*members, rescued_member("_file_path", quote(file))]) + "}"


def rescued_member(name: str, text: str) -> str:
    """One member of the rescued data, before the next one's comma."""
    return f"{quote(name)}:{text}"
