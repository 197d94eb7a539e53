"""A project's graph for commands that only look: nothing is written, no table is opened."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proa.graph import FilesLeaf, Graph
    from proa.graph.analysis import Analysis
    from proa.pipelines.definitions import Flow
    from proa.runtime.pipeline import Pipeline


@dataclass(frozen=True)
class Planned:
    """A pipeline that could run."""

    pipeline: Pipeline
    graph: Graph
    analysis: Analysis | None
    """The columns of its datasets, when they were asked for."""


def plan(folder: Path, region: str | None, *, columns: bool = False) -> Planned:
    """The project's pipeline in a region, and its checked graph.

    With `columns`, every query is analysed by the engine; without, an engine is started only when a
    query function asks for columns. Files without a schema are looked at, where there are some.
    Raises PipelineError for the first mistake.
    """
    from proa.autoloader.loader import AutoLoader
    from proa.autoloader.options import check_options
    from proa.clock import SystemClock
    from proa.engine import Engine
    from proa.errors import DataError
    from proa.graph.analysis import analyse
    from proa.graph.build import build
    from proa.graph.static_plan import StaticQueries
    from proa.pipelines.identifiers import Namespace
    from proa.pipelines.load import load
    from proa.pipelines.session_settings import engine_settings
    from proa.runtime.pipeline import from_project

    pipeline = from_project(folder, region)
    with Engine.start(pipeline.engine, pipeline.options) as server:
        engine = server.using(engine_settings(pipeline.configuration))
        static = StaticQueries(
            lambda relation: engine.arrow(engine.dataframe(relation)),
            engine.schema,
            pipeline.configuration,
            Namespace(pipeline.spec.catalog, pipeline.spec.database),
        )
        declarations = load(pipeline.spec, pipeline.root, pipeline.configuration, static)
        engine.register(declarations.session.functions)

        def infer(_flow: Flow, leaf: FilesLeaf, *, certain: bool = False) -> Any:
            loader = AutoLoader(
                leaf, state=None, storage_options=pipeline.options, clock=SystemClock()
            )
            found = loader.discover(None)
            if certain and not found.files and leaf.schema is None:
                # Hints pin types; they do not say which other columns there will be.
                raise DataError("there are none yet")
            return loader.schema(engine, ())

        built = build(
            declarations,
            catalog=pipeline.spec.catalog,
            database=pipeline.spec.database,
            analyze=engine.schema,
            infer=infer,
        )
        engine.register(declarations.session.functions)
        check_options(built)
        look = partial(infer, certain=True)
        analysis = analyse(built, engine.schema, look) if columns else None
        return Planned(pipeline, built, analysis)
