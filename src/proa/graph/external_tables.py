"""Tables that a pipeline reads by name and does not make: `catalog.schema.table` at a Delta path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from proa.errors import PipelineError
from proa.pipelines.definitions import Dataset
from proa.pipelines.identifiers import Namespace, name_parts
from proa.settings import TABLE_KEY
from proa.text import quote_identifier


class ExternalTables:
    """What the configuration says of such tables, under the keys `tables.<name>`."""

    def __init__(self, configuration: Mapping[str, str], namespace: Namespace) -> None:
        self._namespace = namespace
        self._paths = {
            namespace.key(key.removeprefix(TABLE_KEY)): path
            for key, path in configuration.items()
            if key.startswith(TABLE_KEY)
        }

    def path(self, parts: tuple[str, ...]) -> str | None:
        """Return the Delta path of a name's table. Returns None if the configuration has none."""
        return self._paths.get(self._namespace.key(".".join(map(quote_identifier, parts))))

    def of_sink(self, sink: Dataset) -> Dataset:
        """Return a sink with the path of its table. PipelineError when no table has its name."""
        name = None if sink.sink is None else sink.sink.options.get("tablename")
        if name is None:
            return sink
        path = self.path(name_parts(name))
        if path is None:
            raise PipelineError(
                f"the sink {sink.name!r} writes to the table {name!r}, whose path is not known; name"
                f" it under 'tables' of each region in proa.yml ({name}: /path/of/the/delta/table),"
                " or give the sink a 'path'",
                condition="TABLE_OR_VIEW_NOT_FOUND",
                location=sink.location,
            )
        return replace(sink, path=path)

    def remedy(self, parts: tuple[str, ...]) -> str:
        """Return the end of a sentence that says how a table from elsewhere is named."""
        if len(parts) < 2:
            return ""
        return (
            "; a table from elsewhere is named under 'tables' of each region in proa.yml"
            f" ({'.'.join(parts)}: /path/of/the/delta/table)"
        )
