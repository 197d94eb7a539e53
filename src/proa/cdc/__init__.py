"""Change data: AUTO CDC and snapshots, from change rows to the files of a merged table.

A target is a function of the *set* of its change rows, in whatever batches and order they come.
What the table itself does not show of that set is its memory, which lies beside the table.
"""

from proa.cdc.memory import MEMORY, Memory, MemoryStore
from proa.cdc.merge import merge
from proa.cdc.replacement import replace_keys
from proa.cdc.shape import ChangeShape, change_shape
from proa.cdc.table_merge import Merged, MergeInput

__all__ = [
    "MEMORY",
    "ChangeShape",
    "Memory",
    "MemoryStore",
    "MergeInput",
    "Merged",
    "change_shape",
    "merge",
    "replace_keys",
]
