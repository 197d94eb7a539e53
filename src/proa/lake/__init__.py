"""Delta tables: exactly-once commits, snapshots, and the stage that writes their files."""

from typing import TYPE_CHECKING

from proa.lazy import exports

if TYPE_CHECKING:
    from proa.lake.commit import Change, Committed, Rewriter, commit_change, create_table
    from proa.lake.log import GENERATION, Commit
    from proa.lake.table import Table
    from proa.lake.writer import (
        DataFile,
        Destination,
        Flag,
        Outcome,
        RowChanges,
        WriteResult,
        discard_attempt,
        write_batches,
        write_frame,
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
    "Rewriter",
    "RowChanges",
    "Table",
    "WriteResult",
    "commit_change",
    "create_table",
    "discard_attempt",
    "write_batches",
    "write_frame",
    "write_rows",
]

__getattr__ = exports(
    __name__,
    {
        "Change": "commit",
        "Commit": "log",
        "Committed": "commit",
        "DataFile": "writer",
        "Destination": "writer",
        "Flag": "writer",
        "GENERATION": "log",
        "Outcome": "writer",
        "Rewriter": "commit",
        "RowChanges": "writer",
        "Table": "table",
        "WriteResult": "writer",
        "commit_change": "commit",
        "create_table": "commit",
        "discard_attempt": "writer",
        "write_frame": "writer",
        "write_batches": "writer",
        "write_rows": "writer",
    },
)
