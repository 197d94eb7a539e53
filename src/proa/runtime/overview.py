"""What a pipeline's tables hold, at a glance."""

from __future__ import annotations

from typing import Any

from proa.lake import largest
from proa.runtime.lineage import Lineage
from proa.runtime.runner import Runner


def overview(runner: Runner, event_time: str | None = None) -> list[dict[str, Any]]:
    """One object per table: `name`, `kind`, `rows`, `version`, `latest_event_time`, `files`.

    All but the first two are None while the table is not there. `event_time` is the column whose
    newest value is `latest_event_time`, in tables that have it.
    """
    graph = runner.graph()
    context, pipeline = runner.context, runner.pipeline
    lineage = Lineage(pipeline.storage, pipeline.options, context.paths)
    found = []
    for name in graph.tables:
        table = context.table(name)
        row: dict[str, Any] = {
            "name": name,
            "kind": str(graph.datasets[name].dataset.kind),
            "rows": None,
            "version": table.refresh(),
            "latest_event_time": None,
            "files": None,
        }
        if row["version"] is not None:
            row["rows"] = table.count()
            row["files"] = len(lineage.files(name))
            columns = {field.name.lower(): field.name for field in table.schema.fields}
            column = columns.get((event_time or "").lower())
            if column is not None:
                row["latest_event_time"] = _text(largest(table, column))
        found.append(row)
    return found


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return str(text).replace("+00:00", "Z")
