"""What a worker can do, by kind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from proa.region import work_notebook

Task = Callable[[Mapping[str, Any], Callable[..., None], threading.Event], Mapping[str, Any]]

TASKS: Mapping[str, Task] = {"notebook": work_notebook.run}


def warm() -> None:
    """Import everything that any of them needs."""
    work_notebook.warm()
