"""Change data: AUTO CDC and snapshots, from change rows to the files of a merged table.

A target is a function of the *set* of its change rows, in whatever batches and order they come.
What the table itself does not show of that set is its memory, which lies beside the table.
"""

from typing import TYPE_CHECKING

from proa.lazy import exports

if TYPE_CHECKING:
    from proa.cdc.memory import MEMORY, Memory, MemoryStore
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
    "replace_keys",
]
__getattr__ = exports(
    __name__,
    {
        "MEMORY": "memory",
        "ChangeShape": "shape",
        "Memory": "memory",
        "MemoryStore": "memory",
        "MergeInput": "table_merge",
        "Merged": "table_merge",
        "change_shape": "shape",
        "replace_keys": "replacement",
    },
)
