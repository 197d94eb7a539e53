"""What code may compute while it declares: rows that are there already, whoever runs the pipeline.

Constants, files and tables from elsewhere can be read. Datasets of the pipeline cannot: when code
is loaded, they may not be there yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyspark.sql.connect import proto

from proa.engine.relations import delta_relation, is_drawing
from proa.errors import PipelineError, SourceLocation, UserError
from proa.graph.external_tables import ExternalTables
from proa.graph.leaves import DatasetLeaf, FilesLeaf, TableLeaf
from proa.graph.local_paths import check_paths
from proa.graph.plan import Locate, read_plan
from proa.graph.plan_proto import Relation
from proa.graph.query_origin import QueryOrigin
from proa.pipelines.declaring_session import user_location
from proa.pipelines.identifiers import Namespace

CONDITION = "ATTEMPT_ANALYSIS_IN_PIPELINE_QUERY_FUNCTION"


class StaticQueries:
    """Answers `collect()`, `schema` and the like while a pipeline is loaded."""

    def __init__(
        self,
        compute: Callable[[Relation], Any],
        analyze: Callable[[Relation], Any],
        files: Callable[[FilesLeaf], Relation],
        configuration: Mapping[str, str],
        namespace: Namespace,
    ) -> None:
        """`compute` returns a plan's rows as a `pyarrow.Table`, `analyze` its columns, `files` a plan
        that reads all files of a leaf.
        """
        self._files = files
        self._compute = compute
        self._analyze = analyze
        self._tables = ExternalTables(configuration, namespace)

    def rows(self, relation: Relation) -> Any:
        """Return the rows of a plan, a `pyarrow.Table`. Raises PipelineError if it is not static."""
        plan = self._static(relation)
        if not is_drawing(plan) and not self._columns(plan).fieldNames():
            # Arrow does not count rows without columns, and `isEmpty()` asks for just these.
            counted = proto.Relation()
            counted.with_columns.input.CopyFrom(plan)
            alias = counted.with_columns.aliases.add()
            alias.name.append("row")
            alias.expr.literal.boolean = True
            plan = counted
        return _at_user(self._compute, plan)

    def schema(self, relation: Relation) -> Any:
        """Return the columns of a plan, a StructType. Raises PipelineError if it is not static."""
        return self._columns(self._static(relation))

    def _columns(self, plan: Relation) -> Any:
        return _at_user(self._analyze, plan)

    def _static(self, relation: Relation) -> Relation:
        location = user_location() or SourceLocation("", 1)
        origin = QueryOrigin(location)
        plan = read_plan(relation, _Names(self._tables, location), origin)
        check_paths(plan, origin)
        bound = {}
        for leaf in plan.leaves:
            if leaf.streaming or isinstance(leaf, DatasetLeaf):
                raise _not_static("a stream", location)
            bound[leaf.key] = (
                _at_user(self._files, leaf)
                if isinstance(leaf, FilesLeaf)
                else delta_relation(leaf.path)
            )
        return plan.bind(bound)


class _Names:
    """Resolves tables from elsewhere and refuses the pipeline's own."""

    def __init__(self, tables: ExternalTables, location: SourceLocation) -> None:
        self._tables = tables
        self._location = location

    def dataset(
        self,
        parts: tuple[str, ...],
        *,
        streaming: bool,
        options: Mapping[str, str],
        at: Locate | None,  # noqa: ARG002 - the port's shape
    ) -> TableLeaf | None:
        path = self._tables.path(parts)
        if path is None:
            raise _not_static(repr(".".join(parts)), self._location)
        return TableLeaf("", path, streaming, dict(options))

    def name(self, parts: tuple[str, ...]) -> str | None:
        del parts
        return None


def _at_user(ask: Callable[[Any], Any], about: Any) -> Any:
    """Ask about a plan or a leaf; a mistake in it is one of the user's line."""
    try:
        return ask(about)
    except UserError as error:
        raise PipelineError(
            str(error.args[0]), condition=error.condition, location=user_location()
        ) from error


def _not_static(what: str, location: SourceLocation) -> PipelineError:
    return PipelineError(
        f"rows of {what} are asked for while the pipeline is declared, when they may not be there"
        " yet; return a DataFrame and let the pipeline compute it, join what is needed, or read"
        " files or a table from elsewhere ('tables' in proa.yml)",
        condition=CONDITION,
        location=location,
    )
