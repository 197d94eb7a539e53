"""A project's graph for commands that only look: nothing is written, no table is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proa.graph import FilesLeaf, Graph
    from proa.pipelines.definitions import Flow
    from proa.runtime.pipeline import Pipeline


def plan(folder: Path, region: str | None) -> tuple[Pipeline, Graph]:
    """The project's pipeline in a region, and its checked graph.

    An engine is started only when a query function asks for columns; then the files that are there
    are looked at, where they have no schema. Raises PipelineError for the first mistake.
    """
    from proa import graph
    from proa.autoloader.loader import AutoLoader
    from proa.clock import SystemClock
    from proa.engine import Engine
    from proa.pipelines import load
    from proa.runtime.pipeline import from_project

    pipeline = from_project(folder, region)
    declarations = load(pipeline.spec, pipeline.root, pipeline.configuration)
    with Engine.start(pipeline.engine, pipeline.options) as engine:

        def infer(_flow: Flow, leaf: FilesLeaf) -> Any:
            loader = AutoLoader(
                leaf, state=None, storage_options=pipeline.options, clock=SystemClock()
            )
            loader.discover(None)
            return loader.schema(engine, ())

        return pipeline, graph.build(
            declarations,
            catalog=pipeline.spec.catalog,
            database=pipeline.spec.database,
            analyze=engine.schema,
            infer=infer,
        )
