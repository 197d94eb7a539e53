"""Names of Databricks and Apache Spark that this version refuses, each with its remedy."""

from __future__ import annotations

from typing import Any, NoReturn

from proa.pipelines.current import caller
from proa.pipelines.unsupported import refused


def create_auto_cdc_flow(*_args: Any, **_options: Any) -> NoReturn:
    """Refused: change data capture."""
    raise refused("AUTO CDC", caller())


apply_changes = create_auto_cdc_flow


def create_auto_cdc_from_snapshot_flow(*_args: Any, **_options: Any) -> NoReturn:
    """Refused: change data capture from snapshots."""
    raise refused("AUTO CDC FROM SNAPSHOT", caller())


apply_changes_from_snapshot = create_auto_cdc_from_snapshot_flow


def create_sink(*_args: Any, **_options: Any) -> NoReturn:
    """Refused: writing to other systems."""
    raise refused("sinks", caller())


foreach_batch_sink = create_sink


def update_flow(*_args: Any, **_options: Any) -> NoReturn:
    """Refused: flows that update rows."""
    raise refused("update flows", caller())


def replace_flow(*_args: Any, **_options: Any) -> NoReturn:
    """Refused: flows that replace rows."""
    raise refused("replace flows", caller())


def on_event_hook(*_args: Any, **_options: Any) -> NoReturn:
    """Refused: functions called for each event."""
    raise refused("event hooks", caller())
