"""Delta tables: exactly-once commits, snapshots, and the stage that writes their files."""

from proa.lake.largest import largest
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
    "largest",
    "write",
    "write_batches",
    "write_rows",
]
