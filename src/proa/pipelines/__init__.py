"""What users import and write; what a project declares. Declaring runs nothing."""

from proa.pipelines.definitions import Dataset, DatasetKind, Declarations, Expectation, Flow
from proa.pipelines.load import load
from proa.pipelines.spec import PipelineSpec, find, load_spec

__all__ = [
    "Dataset",
    "DatasetKind",
    "Declarations",
    "Expectation",
    "Flow",
    "PipelineSpec",
    "find",
    "load",
    "load_spec",
]
