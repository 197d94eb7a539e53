"""Delta tables: exactly-once commits, snapshots, and the stage that writes their files."""

from typing import TYPE_CHECKING

from proa.lazy import exports

if TYPE_CHECKING:
    from proa.lake.log import Commit
    from proa.lake.table import GENERATION, Change, Committed, Table
    from proa.lake.writer import (
        DataFile,
        Destination,
        Flag,
        Outcome,
        WriteResult,
        discard,
        write,
        write_batches,
        write_rows,
    )

__all__ = [
    "GENERATION",
    "Change",
    "Commit",
    "Committed",
    "DataFile",
    "Destination",
    "Flag",
    "Outcome",
    "Table",
    "WriteResult",
    "discard",
    "write",
    "write_batches",
    "write_rows",
]

__getattr__ = exports(
    __name__,
    {
        "Change": "table",
        "Commit": "log",
        "Committed": "table",
        "DataFile": "writer",
        "Destination": "writer",
        "Flag": "writer",
        "GENERATION": "table",
        "Outcome": "writer",
        "Table": "table",
        "WriteResult": "writer",
        "discard": "writer",
        "write": "writer",
        "write_batches": "writer",
        "write_rows": "writer",
    },
)
