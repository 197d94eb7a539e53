"""Compare two tables by what changed since the last proof: files that were read before are not read again.

A table's file never changes, so the sum of its rows' hashes is kept: one line a file. The sums of a version's
files make the sum of its rows. Where both regions' sums are alike the tables are equal; where they are not, the
tables are compared as a whole, to say which rows differ. So the answer is always that of a whole comparison.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from proa.layout import folder_name
from proa.recovery.compare import Comparison, Rules, compare, rename_shared, sum_rows
from proa.storage import NotFoundError, Store

_FORMAT = 2
_MODULUS = 1 << 128


@dataclass(frozen=True)
class RowSum:
    """Rows, and the sum of their hashes modulo 2^128."""

    rows: int
    total: int

    def __add__(self, other: RowSum) -> RowSum:
        return RowSum(self.rows + other.rows, (self.total + other.total) % _MODULUS)


class KeptSums:
    """The sums of files that were read for earlier proofs, in a folder that may be deleted at any time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.read_files = 0
        """How many files had to be read, since this was made."""
        self.known_files = 0
        """How many did not."""

    def compare(
        self, table: str, regions: tuple[str, str], sides: tuple[Any, Any], rules: Rules
    ) -> Comparison:
        """Compare a table of two regions; `sides` are versions of it as pyarrow datasets of files."""
        fields, sentences = rename_shared(sides[0].schema, sides[1].schema, rules)
        if sentences or not fields[0]:
            return compare(*sides, rules)
        sums = [
            self._sum(f"{region}/{folder_name(table)}", side, names)
            for region, side, names in zip(regions, sides, fields, strict=True)
        ]
        if sums[0] != sums[1]:
            return compare(*sides, rules)
        return Comparison(
            rows=(sums[0].rows, sums[1].rows),
            columns=tuple(sorted(fields[0])),
            ignored=tuple(sorted(rules.ignore)),
        )

    def _sum(self, place: str, data: Any, fields: dict[str, pa.Field]) -> RowSum:
        path = f"{place}/{_digest(fields)}.json"
        kept = self._read(path)
        fragments = list(data.get_fragments())
        sums = {one.path: kept[one.path] for one in fragments if one.path in kept}
        self.known_files += len(sums)
        new = [one for one in fragments if one.path not in sums]
        self.read_files += len(new)
        sums |= _sums_of_files(data, new, fields)
        if sums != kept:
            facts = {name: [one.rows, f"{one.total:x}"] for name, one in sums.items()}
            text = json.dumps({"format": _FORMAT, "files": facts})
            self._store.put(path, text.encode())
        return sum(sums.values(), RowSum(0, 0))

    def _read(self, path: str) -> dict[str, RowSum]:
        try:
            facts = json.loads(self._store.get(path))
            if facts["format"] != _FORMAT:
                return {}
            return {
                name: RowSum(rows, int(text, 16)) for name, (rows, text) in facts["files"].items()
            }
        except (NotFoundError, ValueError, KeyError, TypeError):
            return {}  # what cannot be read is computed again


def _sums_of_files(
    data: Any, fragments: Sequence[Any], fields: dict[str, pa.Field]
) -> dict[str, RowSum]:
    """The sums of files of a dataset, by their paths. One query for all: planning one takes long."""
    if not fragments:
        return {}
    from pyarrow.dataset import FileSystemDataset  # imports pandas, and most verbs compare nothing

    def batches() -> Iterator[tuple[int, pa.RecordBatch]]:
        for number, fragment in enumerate(fragments):
            file = FileSystemDataset([fragment], data.schema, data.format, data.filesystem)
            for batch in file.to_batches(columns=list(fields)):
                yield number, batch

    named = [
        data.schema.field(name).with_name(field.name).with_nullable(True)
        for name, field in fields.items()
    ]
    sums = sum_rows(batches(), named)
    return {one.path: RowSum(*sums.get(n, (0, 0))) for n, one in enumerate(fragments)}


def _digest(fields: dict[str, pa.Field]) -> str:
    """What names the sums of these columns, as this version of the software computes them."""
    columns = [(name, str(field.type)) for name, field in sorted(fields.items())]
    text = json.dumps([columns, version("duckdb"), version("proa")])
    return hashlib.sha256(text.encode()).hexdigest()[:24]
