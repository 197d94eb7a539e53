"""What a worker can do, by kind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

TASKS: dict[
    str, Callable[[Mapping[str, Any], Callable[..., None], threading.Event], Mapping[str, Any]]
] = {}
