"""What users import and write; what a project declares. Declaring runs nothing."""

from typing import TYPE_CHECKING

from proa.lazy import exports

if TYPE_CHECKING:
    from proa.pipelines.definitions import Dataset, DatasetKind, Declarations, Expectation, Flow
    from proa.pipelines.spec import PipelineSpec, find_spec, load_spec

__all__ = [
    "Dataset",
    "DatasetKind",
    "Declarations",
    "Expectation",
    "Flow",
    "PipelineSpec",
    "find_spec",
    "load_spec",
]

__getattr__ = exports(
    __name__,
    {
        "Dataset": "definitions",
        "DatasetKind": "definitions",
        "Declarations": "definitions",
        "Expectation": "definitions",
        "Flow": "definitions",
        "PipelineSpec": "spec",
        "find_spec": "spec",
        "load_spec": "spec",
    },
)
