"""What a worker hears from the server while it works."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from typing import Any


class Inbox:
    """Whether to stop, and messages for work that takes some."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.messages: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        """None when the work is to stop."""

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take one message of the server's."""
        if message["type"] == "stop":
            self.stop.set()
            self.messages.put(None)
        else:
            self.messages.put(message)
