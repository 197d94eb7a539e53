"""What users import: Databricks' names, as `import dlt` and as `from pyspark import pipelines`.

Declaring runs nothing: a query function is called later, when the graph is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from proa.pipelines.arguments import check_arguments, required_name
from proa.pipelines.change_flows import (
    apply_changes,
    apply_changes_from_snapshot,
    create_auto_cdc_flow,
    create_auto_cdc_from_snapshot_flow,
)
from proa.pipelines.decorators import (
    append_flow,
    create_streaming_table,
    create_table,
    expect,
    expect_all,
    expect_all_or_drop,
    expect_all_or_fail,
    expect_or_drop,
    expect_or_fail,
    materialized_view,
    replace_flow,
    table,
    temporary_view,
    update_flow,
)
from proa.pipelines.environment import caller, current_session
from proa.pipelines.registry import enable_local_execution
from proa.pipelines.sink_declarations import create_sink, foreach_batch_sink
from proa.pipelines.unsupported import unsupported_error

view = temporary_view
create_view = temporary_view
create_streaming_live_table = create_streaming_table
create_target_table = create_streaming_table


@check_arguments
def read(name: str) -> Any:
    """The complete dataset `name` of this pipeline, as a DataFrame."""
    return current_session().read.table(required_name("name", name))


@check_arguments
def read_stream(name: str) -> Any:
    """The dataset `name` of this pipeline as a stream of its new rows."""
    return current_session().readStream.table(required_name("name", name))


readStream = read_stream  # noqa: N816 - its older name


def _refusing(feature: str) -> Callable[..., NoReturn]:
    """A name that refuses `feature`, a key of REMEDIES, whatever it is called with."""

    def refuse(*_args: Any, **_options: Any) -> NoReturn:
        raise unsupported_error(feature, caller())

    refuse.__doc__ = f"Refused: {feature}."
    return refuse


on_event_hook = _refusing("event hooks")

__all__ = [
    "append_flow",
    "apply_changes",
    "apply_changes_from_snapshot",
    "create_auto_cdc_flow",
    "create_auto_cdc_from_snapshot_flow",
    "create_sink",
    "create_streaming_live_table",
    "create_streaming_table",
    "create_table",
    "create_target_table",
    "create_view",
    "enable_local_execution",
    "expect",
    "expect_all",
    "expect_all_or_drop",
    "expect_all_or_fail",
    "expect_or_drop",
    "expect_or_fail",
    "foreach_batch_sink",
    "materialized_view",
    "on_event_hook",
    "read",
    "readStream",
    "read_stream",
    "replace_flow",
    "table",
    "temporary_view",
    "update_flow",
    "view",
]
