"""What a worker is told of an update: written by the server, read by the worker, one pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from proa.recovery.control_record import ControlAddress
from proa.settings import AcceptedFinding


@dataclass(frozen=True)
class UpdateOrder:
    """One update: the pipeline's files, where its tables lie, and what was asked."""

    region: str
    pipeline_id: str
    update_id: str
    name: str
    storage: str
    """Absolute path or URL."""
    options: Mapping[str, str]
    """Object-store settings."""
    engine: str | None
    """The remote engine's address. None: the embedded one."""
    catalog: str | None
    schema: str | None
    files: Mapping[str, str]
    """Sources by their paths in the workspace."""
    configuration: Mapping[str, str]
    continuous: bool
    development: bool
    cause: str
    request: Mapping[str, Any]
    """`full_refresh`, the selections, `validate_only` and `parameters`, as they were sent."""
    root: str = "/"
    """The folder of the workspace from which the sources import one another."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Files below `root` that can be imported, by their paths in the workspace."""
    dr_safety: str = "off"
    accept: tuple[AcceptedFinding, ...] = ()
    regional_keys: frozenset[str] = frozenset()
    event_time: str | None = None
    """The column that carries the time at which events happened, in tables that have it."""
    control: ControlAddress | None = None
    """Where it is said which region writes to sinks; None without regions: this one does."""

    def to_json(self) -> dict[str, Any]:
        """The order as plain data, as it travels."""
        data: dict[str, Any] = _ORDER.dump_python(self, mode="json")
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> UpdateOrder:
        """The order that `to_json` wrote; what else is in `data` is for others."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        return _ORDER.validate_python(known)


_ORDER = TypeAdapter(UpdateOrder)
