"""A pipeline's files as something that can run: loaded, checked, its findings judged.

There is one way there, and `run`, `dry-run`, `graph`, the server and the tests take it. So they see
the same graph, the same columns and the same findings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proa.autoloader.leaf_columns import declared_columns
from proa.autoloader.loader import AutoLoader
from proa.autoloader.options import check_options
from proa.clock import Clock, SystemClock
from proa.engine import Engine
from proa.errors import DataError, PipelineError, UnavailableError, UserError
from proa.formats.problems import explain
from proa.graph import FilesLeaf, Graph
from proa.graph.analysis import Analysis, analyse
from proa.graph.build import Infer, build
from proa.graph.findings import Finding, Verdicts, findings
from proa.graph.local_paths import check_all_paths
from proa.graph.mistakes import Mistakes
from proa.graph.nodes import DatasetNode
from proa.graph.refresh_kinds import RefreshKind, refresh_kinds
from proa.graph.snapshot_query import KnownTarget, Targets
from proa.graph.static_plan import StaticQueries
from proa.pipelines.ddl import declared_schema
from proa.pipelines.definitions import Flow
from proa.pipelines.identifiers import Namespace
from proa.pipelines.load import load_declarations
from proa.pipelines.session_settings import engine_settings
from proa.runtime.dr_policy import DrPolicy, volatile_datasets
from proa.runtime.pipeline import Pipeline, from_project

FileColumns = Callable[[Flow, FilesLeaf, bool], Any]
"""The columns of the files that a leaf reads, as a StructType. With the third argument true, DataError
when they cannot be told for sure: there is no file yet and no schema."""


@dataclass(frozen=True)
class Compiled:
    """A pipeline that could run."""

    pipeline: Pipeline
    graph: Graph
    findings: tuple[Finding, ...]
    verdicts: Verdicts
    """What the findings mean for this project."""
    analysis: Analysis = field(default_factory=lambda: Analysis({}))
    """The columns of its datasets, when they were asked for."""
    depends_on_data: bool = False
    """A query function has asked for columns: another time the graph may be another one."""

    @property
    def volatile(self) -> frozenset[str]:
        """The datasets whose query may yield other rows although nothing that it reads is new."""
        return volatile_datasets(self.graph, self.findings)

    @property
    def refreshes(self) -> dict[str, RefreshKind]:
        """How tables that are computed from all rows can be refreshed, as far as columns are known."""
        return refresh_kinds(self.graph, self.analysis.schemas, self.volatile)


def compile_pipeline(  # noqa: PLR0913 - what a pipeline is made of
    pipeline: Pipeline,
    engine: Engine,
    file_columns: FileColumns,
    *,
    policy: DrPolicy | None = None,
    columns: bool = False,
    targets: Targets | None = None,
    schema_of: Callable[[Any], Any] | None = None,
) -> Compiled:
    """Load the pipeline's files, build and check its graph, and judge its findings.

    `policy` stands for the pipeline's own. With `columns` every query is analysed by the engine;
    so it is when findings matter, because some are seen in types only. `targets` says what tables
    fed by snapshots are now; `schema_of` tells columns of queries in the engine's place. Raises
    PipelineError for a mistake, at its place, and SeveralMistakesError for more.
    """
    policy = policy or pipeline.agreed
    asked: list[object] = []

    def compute(relation: Any) -> Any:
        asked.append(relation)
        return rows_of(engine, engine.dataframe(relation))

    def analyze(relation: Any) -> Any:
        asked.append(relation)
        return engine.schema(relation)

    def infer(flow: Flow, leaf: FilesLeaf) -> Any:
        asked.append(leaf)
        return file_columns(flow, leaf, False)

    def look_at_target(flow: Flow) -> KnownTarget:
        assert targets is not None
        asked.append(flow)
        return targets(flow)

    spec, configuration = pipeline.spec, pipeline.configuration
    names = Namespace(spec.catalog, spec.database)
    static = StaticQueries(
        compute, analyze, whole_reader(engine, pipeline.options), configuration, names
    )
    mistakes = Mistakes()
    declarations = load_declarations(spec, pipeline.root, configuration, static)
    engine.register(declarations.session.functions)
    graph = build(
        declarations,
        catalog=spec.catalog,
        database=spec.database,
        analyze=analyze,
        infer=infer,
        targets=None if targets is None else look_at_target,
        mistakes=mistakes,
    )
    # Query functions may have made more of them.
    engine.register(declarations.session.functions)
    with mistakes.collecting():
        check_options(graph)
    depends_on_data = bool(asked)
    if columns:
        check_all_paths(graph, mistakes)
    analysis = Analysis({})
    if columns or policy.dr_safety != "off":
        tell = schema_of or engine.schema
        check = _check_columns if columns else None
        analysis = analyse(graph, tell, _certain(file_columns), mistakes, check)
    mistakes.check()
    values = policy.regional(configuration)
    hits = findings(graph, region_values=values, schemas=analysis.schemas)
    return Compiled(pipeline, graph, hits, policy.judge(hits), analysis, depends_on_data)


def compile_project(
    folder: Path, region: str | None, *, policy: DrPolicy | None = None, columns: bool = False
) -> Compiled:
    """Compile a project's pipeline for those who only look: nothing is written anywhere."""
    pipeline = from_project(folder, region)
    with Engine.start(pipeline.engine, pipeline.options) as server:
        engine = server.using(engine_settings(pipeline.configuration))
        look = columns_of_files(engine, pipeline.options, SystemClock())
        return compile_pipeline(pipeline, engine, look, policy=policy, columns=columns)


def _check_columns(node: DatasetNode, query: Any) -> None:
    """Raise DataError if a table cannot hold rows of the query's columns.

    An update does so itself with each batch, and may have nothing to do.
    """
    from proa.lake.table_schema import fitting_schema, storable

    if node.is_view or node.is_sink:
        return
    name = node.dataset.name
    declared, columns = declared_schema(node.dataset), storable(query, name)
    if declared is not None:
        fitting_schema(storable(declared, name), columns, name)


def _certain(file_columns: FileColumns) -> Infer:
    """Return what tells the columns of files for sure; it raises UserError where nothing does."""

    def infer(flow: Flow, leaf: FilesLeaf) -> Any:
        try:
            return file_columns(flow, leaf, True)
        except PipelineError:
            raise
        except (UserError, UnavailableError) as error:
            known = declared_columns(leaf)
            if known is not None:
                return known
            if isinstance(error, UserError):
                raise
            raise DataError(f"they cannot be read now: {error}") from error

    return infer


def rows_of(engine: Engine, frame: Any) -> Any:
    """Compute a DataFrame, a `pyarrow.Table`. Raises DataError, naming the file, for one that cannot be read."""
    try:
        return engine.arrow(frame)
    except UserError as error:
        problem = explain(error)
        if problem is None:
            raise
        raise problem.error() from error


def loader_of(leaf: FilesLeaf, options: Mapping[str, str], clock: Clock) -> AutoLoader:
    """The Auto Loader of a leaf, without a memory."""
    return AutoLoader(leaf, state=None, storage_options=options, clock=clock)


def whole_reader(engine: Engine, options: Mapping[str, str]) -> Callable[[FilesLeaf], Any]:
    """Make what returns a plan that reads all files of a leaf."""
    return lambda leaf: loader_of(leaf, options, SystemClock()).whole(engine)


def columns_of_files(engine: Engine, options: Mapping[str, str], clock: Clock) -> FileColumns:
    """Tell the columns of leaves from the files that are there now, without a memory."""

    def look(_flow: Flow, leaf: FilesLeaf, certain: bool) -> Any:  # noqa: FBT001 - see FileColumns
        loader = loader_of(leaf, options, clock)
        backlog = loader.discover(None)
        if certain and not backlog.files and declared_columns(leaf) is None:
            # Hints pin types; they do not say which other columns there will be.
            raise DataError("there are none yet")
        return loader.schema(engine, ())

    return look
