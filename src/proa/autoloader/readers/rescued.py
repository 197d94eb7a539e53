"""The rescued data column, put together a column at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from proa.autoloader.readers.exact import rescued_member


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
