"""Every dangerous step has a name, so that a test can fail exactly that one.

A step is a moment after which the world outside this process has changed: an object was put, a
commit was made, a file was written. The code says ``with step(Step.SHIP_PUT_FILE): ...``; a test
installs a probe that kills, fails or loses the answer there, before or after the effect, and
loops over all of `Step`.
"""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


class Step(StrEnum):
    """The dangerous steps, in the order in which a file meets them."""

    CAPTURE_PUT_STATE = "capture.put_state"
    CAPTURE_PUT_FILE = "capture.put_file"
    CAPTURE_ADVANCE = "capture.advance"
    SHIP_PUT_JOURNAL = "ship.put_journal"
    SHIP_PUT_FILE = "ship.put_file"
    SHIP_PUT_MANIFEST = "ship.put_manifest"
    SHIP_COMPACT = "ship.compact"
    DECLARED_PUT = "declared.put"
    COLUMNS_PUT = "columns.put"
    SCHEMA_PUT = "schema.put"
    PLAN_PUT = "plan.put"
    PLAN_FOLD = "plan.fold"
    COMPUTE_WRITE = "compute.write"
    TABLE_CREATE = "table.create"
    TABLE_EVOLVE = "table.evolve"
    MEMORY_PUT = "memory.put"
    STREAM_STATE_PUT = "stream_state.put"
    COMMIT = "commit"
    RESET = "reset"
    SINK_SEND = "sink.send"
    SINK_DELIVER = "sink.deliver"
    SINK_NOTE = "sink.note"
    CHECKPOINT_COMPACT = "checkpoint.compact"
    EVENTS_FLUSH = "events.flush"
    MAINTAIN_COMPACT = "maintain.compact"
    MAINTAIN_DELETE = "maintain.delete"
    STATE_WRITE = "state.write"
    WORK_BEGIN = "work.begin"
    CONTROL_PUT = "control.put"
    REGION_FENCE = "region.fence"
    REGION_DRAIN = "region.drain"
    REGION_PROVE = "region.prove"
    REGION_ACTIVATE = "region.activate"
    REGION_REPOINT = "region.repoint"
    REGION_DEMOTE = "region.demote"
    STORE_READ = "store.read"
    """Any read of an object store: nothing changes, and the answer may fail to come."""
    STORE_WRITE = "store.write"
    """Any write or removal of an object."""


class Probe(Protocol):
    """What a test puts around the steps."""

    def before(self, step: Step) -> None:
        """Called before the effect; what it raises stops the step."""

    def after(self, step: Step) -> None:
        """Called after the effect; what it raises stands for a lost answer."""


class _Silent:
    def before(self, step: Step) -> None:
        pass

    def after(self, step: Step) -> None:
        pass


_probe: Probe = _Silent()


@contextmanager
def step(name: Step) -> Iterator[None]:
    """Mark the block as the dangerous step `name`."""
    _probe.before(name)
    yield
    _probe.after(name)


@contextmanager
def probing(probe: Probe) -> Iterator[None]:
    """Install `probe` around every step of this process, in all threads, for a while."""
    global _probe  # noqa: PLW0603 - one process, one probe: threads must see it too
    previous, _probe = _probe, probe
    try:
        yield
    finally:
        _probe = previous
