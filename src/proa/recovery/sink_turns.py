"""Whose turn it is to write to sinks: that of the region which the control record calls active."""

from __future__ import annotations

import threading

from proa.recovery.control_record import ControlAddress, ControlStore
from proa.runtime.context import Turn


class SinkTurns:
    """Looks at the control record whenever it is asked whether a region may write to sinks."""

    def __init__(self, region: str, address: ControlAddress) -> None:
        self._region = region
        self._first = address.first
        self._control = ControlStore(address.group, address.places)
        self._lock = threading.Lock()

    def __call__(self) -> Turn:
        """The region's turn now. Raises UnavailableError when no place of the record answers."""
        with self._lock:
            record = self._control.read()
        active, epoch = (self._first, 1) if record is None else (record.active, record.epoch)
        if active == self._region:
            return Turn(epoch)
        return Turn(
            epoch,
            f"the region {active!r} is active in epoch {epoch}, and {self._region!r} is a standby",
        )
