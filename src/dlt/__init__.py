"""`import dlt` in a pipeline's Python files: Databricks' names, from `proa.pipelines.dlt`."""

from proa.pipelines.dlt import *  # noqa: F403
from proa.pipelines.dlt import __all__ as __all__
