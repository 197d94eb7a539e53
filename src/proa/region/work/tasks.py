"""What a worker can do, by kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proa.region.work import notebook as work_notebook
from proa.region.work import update as work_update
from proa.region.work import warehouse as work_warehouse
from proa.region.work.inbox import Inbox

Task = Callable[[Mapping[str, Any], Callable[..., None], Inbox], Mapping[str, Any]]

TASKS: Mapping[str, Task] = {
    "notebook": work_notebook.run,
    "update": work_update.run,
    "warehouse": work_warehouse.run,
}


def warm() -> None:
    """Import everything that any of them needs."""
    work_notebook.warm()
