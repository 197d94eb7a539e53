"""What the files look like: found on the engine's workers, brought together here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from pyspark.sql import types as t

from proa.autoloader.options import ReaderOptions
from proa.autoloader.problems import ReadError
from proa.autoloader.readers.source import Source
from proa.autoloader.readers.worker import Assignment
from proa.autoloader.types import merge_structs

OUTPUT = "schema string"
"""What a task yields: one row per partition, a Spark struct as JSON."""


@dataclass(frozen=True)
class InferTask:
    """A function from a partition's number to the schema of its files, for `mapInArrow`."""

    assignment: Assignment
    storage: Mapping[str, str]
    options: ReaderOptions
    types: bool
    """Whether types are wanted, or only names (all columns are strings then)."""
    pinned: frozenset[str]
    """Lower-case names of columns whose types are known: when there are no others, only names
    are looked at, which is several times faster."""

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                for partition in batch.column(0).to_pylist():
                    found = self._partition(partition)
                    yield pa.RecordBatch.from_pydict({"schema": [found.json()]})
        except ReadError as error:
            raise error from None

    def _partition(self, partition: int) -> t.StructType:
        merged = t.StructType()
        infer = self._inference()
        for part in self.assignment.parts(partition):
            source = Source(part, self.options, self.storage)
            try:
                merged = merge_structs(merged, infer(source))
            except ReadError as error:
                if not self.options.ignores(error.problem.kind):
                    raise
        return merged

    def _inference(self) -> Callable[[Source], t.StructType]:
        if self.options.format == "parquet":
            from proa.autoloader.readers.parquet import infer_parquet

            return infer_parquet
        if self.options.format == "csv":
            from proa.autoloader.readers.infer_csv import infer_csv

            return partial(infer_csv, options=self.options, types=self.types)
        from proa.autoloader.readers.infer_json import JsonInference

        return JsonInference(self.options, types=self.types, pinned=self.pinned).infer
