"""The Auto Loader of one leaf: what is new, what it looks like, and the plan that reads it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

import pyarrow as pa
from pyspark.sql import types as t

from proa.autoloader import hints
from proa.autoloader.discovery import (
    FileBacklog,
    FileRef,
    Place,
    discover,
    existing_keys,
)
from proa.autoloader.known import KnownFiles
from proa.autoloader.options import Options, parse
from proa.autoloader.schema import FileSchema, SchemaVersions
from proa.autoloader.tasks import INFERRED, METADATA, Assignment, InferTask, ReadTask, split
from proa.clock import Clock
from proa.errors import ConflictError, DataError, PipelineError
from proa.formats.arrow_types import (
    arrow_schema,
    field_paths,
    in_order,
    merge_structs,
    settled,
    spark_type,
    widened,
)
from proa.formats.folders import partition_values
from proa.formats.problems import MAX_FIELD, Problem, ProblemKind, explain
from proa.formats.reader_options import Evolution
from proa.graph.leaves import FilesLeaf
from proa.pipelines.ddl import parse_schema
from proa.storage import Store

_TEXT = t.StructType([t.StructField("value", t.StringType())])
_START = "start.json"


class Engine(Protocol):
    """What the Auto Loader needs of an engine."""

    @property
    def spark(self) -> Any:
        """A Spark Connect session."""

    def on_workers(self, function: Any) -> Any:
        """The function as the engine's workers can run it."""


class AutoLoader:
    """Reads one leaf's files.

    `state` is the leaf's own folder in the flow's checkpoint; None reads without a memory, as
    `read_files` in a materialized view does. `storage_options` reach the files, from here and
    from the engine's workers. Raises PipelineError when the leaf's options are wrong.
    """

    def __init__(
        self,
        leaf: FilesLeaf,
        *,
        state: Store | None,
        storage_options: Mapping[str, str],
        clock: Clock,
        parallelism: int | None = None,
    ) -> None:
        self.leaf = leaf
        self.options: Options = parse(leaf.options, schema_given=leaf.schema is not None)
        self._state = state if leaf.streaming else None
        self._versions = SchemaVersions(self._state) if self._state is not None else None
        self._storage = dict(storage_options)
        self._clock = clock
        self._parallelism = parallelism or os.cpu_count() or 1
        self._place = Place.of(leaf.path).resolved(self._storage)
        self._given = parse_schema(leaf.schema) if leaf.schema is not None else None
        self._schema: tuple[int, FileSchema] | None = None
        self._sample: tuple[FileRef, ...] = ()

    @property
    def base(self) -> str:
        """The folder that is loaded, without globs: absolute path or URL."""
        return self._place.base

    def discover(self, known: KnownFiles | None, *, as_of: datetime | None = None) -> FileBacklog:
        """The files that are not known yet, ordered by time and path.

        `as_of` leaves out what was modified later. Changes nothing but, at the first start, the
        memory of which files were there before. Raises UnavailableError when the store fails.
        """
        if known is not None and self._state is not None:
            self._remember_start(known)
        backlog = discover(
            self._place, self.options, self._storage, known, now=self._clock.now(), as_of=as_of
        )
        if self._current() is None:
            self._sample = backlog.sample()
        return backlog

    def record(self, known: KnownFiles, batch: int, files: Sequence[FileRef]) -> None:
        """Let `known` remember the files of a batch, in the way that the options ask for."""
        known.record(batch, files, versions=self.options.reader.allow_overwrites)

    def schema(self, engine: Engine, files: Sequence[FileRef]) -> t.StructType:
        """The columns that a batch of these files has.

        At first use they are inferred from the files that were discovered, and stored; DataError
        (CF_EMPTY_DIR) when there is no file and no schema was given.
        """
        return self._output(self._resolve(engine, files))

    def relation(self, engine: Engine, files: Sequence[FileRef]) -> Any:
        """The plan (a Spark Connect relation) that reads these files on the engine's workers."""
        resolved = self._resolve(engine, files)
        data, output = self._data(resolved), self._output(resolved)
        partitions = split(files, self.options.reader, self._parallelism)
        task = ReadTask(
            Assignment.of(partitions),
            self._storage,
            replace(
                self.options.reader,
                partitions=frozenset(f.name.lower() for f in resolved.partitions.fields),
            ),
            self.base,
            arrow_schema(data).serialize().to_pybytes(),
            arrow_schema(output).serialize().to_pybytes(),
        )
        return _relation(engine, len(partitions), task, output)

    def evolve(self, engine: Engine, error: BaseException, files: Sequence[FileRef]) -> bool:
        """Look at why the engine could not compute a batch of these files.

        True: the files have new fields, the schema has them now too; plan and compute the batch
        again. False: the error has nothing to do with reading these files. Otherwise raises what the
        reader met: DataError, naming the file, or UnavailableError.
        """
        problem = explain(error)
        if problem is None or not any(file.path.endswith(problem.file) for file in files):
            return False
        grows = problem.kind in {ProblemKind.NEW_FIELDS, ProblemKind.WIDER}
        mode = self.options.reader.evolution
        if not grows or mode not in {Evolution.ADD, Evolution.WIDEN}:
            raise problem.error() from error
        current = self._current()
        if current is None:
            raise problem.error() from error
        version, old = current
        new = self._grown(engine, old, problem, files)
        if new == old:
            # Perhaps another runner has stored what this one still lacks.
            latest = self._versions.latest() if self._versions is not None else None
            if latest is None or latest[0] == version:
                raise problem.error() from error
            self._schema = latest
            return True
        stored = self._versions.put(version + 1, new) if self._versions is not None else new
        self._schema = (version + 1, stored)
        return True

    def _grown(
        self, engine: Engine, old: FileSchema, problem: Problem, files: Sequence[FileRef]
    ) -> FileSchema:
        if problem.kind is ProblemKind.WIDER:
            wider = pa.type_for_alias(problem.detail.partition("(")[0])
            found = t.StructType([t.StructField(problem.fields[0], spark_type(wider))])
            return FileSchema(widened(old.data, found), old.partitions)
        new = old.evolved(self._infer(engine, files))
        # What a reader saw is a field, even where inference does not look.
        for name in problem.fields:
            if len(name) < MAX_FIELD and not _has(new.data, name):
                hint = hints.Hint(tuple(name.split(".")), t.StringType())
                new = FileSchema(hints.apply([hint], new.data), new.partitions)
        return new

    def _remember_start(self, known: KnownFiles) -> None:
        """`includeExistingFiles` counts at the first start only."""
        assert self._state is not None
        if known.through >= 0 or self._state.exists(_START):
            return
        if not self.options.include_existing:
            now = self._clock.now()
            known.ignore(existing_keys(self._place, self.options, self._storage, now=now))
        body = json.dumps({"includeExistingFiles": self.options.include_existing})
        # Another runner may have started at the same time, with the same options.
        with contextlib.suppress(ConflictError):
            self._state.create(_START, body.encode())

    def _current(self) -> tuple[int, FileSchema] | None:
        if self._schema is None and self._versions is not None:
            self._schema = self._versions.latest()
        return self._schema

    def _resolve(self, engine: Engine, files: Sequence[FileRef]) -> FileSchema:
        current = self._current()
        if current is not None:
            return (
                current[1]
                if self._given is None
                else FileSchema(self._given, current[1].partitions)
            )
        sample = self._sample or tuple(files[: self.options.sample_files])
        fixed = _TEXT if self.options.reader.format == "text" else self._given
        if not sample and not self.options.hints and fixed is None:
            raise DataError(
                f"the schema cannot be inferred: there is no file in {self.leaf.path!r};"
                " put a file there, or give a schema",
                condition="CF_EMPTY_DIR_FOR_SCHEMA_INFERENCE",
            )
        if fixed is not None:
            found = FileSchema(fixed, self._partitions(sample))
        else:
            found = self._infer(engine, sample)
        if not sample:
            return found
        if self._versions is not None:
            found = self._versions.put(0, found)
        self._schema = (0, found)
        return found

    def _infer(self, engine: Engine, files: Sequence[FileRef]) -> FileSchema:
        options = self.options
        partitions = split(files, options.reader, self._parallelism)
        pinned = frozenset(h.path[0].lower() for h in options.hints if len(h.path) == 1)
        task = InferTask(
            Assignment.of(partitions), self._storage, options.reader, options.infer_types, pinned
        )
        merged = t.StructType()
        if files:
            frame = engine.spark.range(0, len(partitions), 1, len(partitions))
            try:
                rows = frame.mapInArrow(engine.on_workers(task), INFERRED).collect()
            except Exception as error:
                problem = explain(error)
                if problem is None:
                    raise
                raise problem.error() from error
            for text in sorted(row[0] for row in rows):
                merged = merge_structs(merged, t.StructType.fromJson(json.loads(text)))
        # A header's order is the order that people expect; JSON objects have none.
        if options.reader.format == "json":
            merged = in_order(merged)
        reserved = {options.reader.rescued_column, "_metadata"}
        fields = [
            t.StructField(f.name, settled(f.dataType))
            for f in merged.fields
            if f.name not in reserved
        ]
        partition_columns = self._partitions(files)
        inside = {f.name.lower() for f in partition_columns.fields}
        data = t.StructType([f for f in fields if f.name.lower() not in inside])
        return FileSchema(data, partition_columns)

    def _partitions(self, files: Sequence[FileRef]) -> t.StructType:
        """The columns that folders' names give; none when the files do not agree on them."""
        options = self.options
        if options.partition_columns is not None:
            return t.StructType(
                [t.StructField(name, t.StringType()) for name in options.partition_columns]
            )
        if options.recursive:
            return t.StructType()
        found = [tuple(partition_values(file.path, self.base)) for file in files]
        if not found or any(names != found[0] for names in found):
            return t.StructType()
        return t.StructType([t.StructField(name, t.StringType()) for name in found[0]])

    def _data(self, resolved: FileSchema) -> t.StructType:
        """The columns that the readers fill."""
        partitions = {f.name.lower() for f in resolved.partitions.fields}
        hinted = hints.apply(self.options.hints, resolved.data)
        fields = [f for f in hinted.fields if f.name.lower() not in partitions]
        rescued = self.options.reader.rescued_column
        if rescued is not None:
            fields = [f for f in fields if f.name != rescued]
            fields.append(t.StructField(rescued, t.StringType()))
        if self.options.reader.format in {"csv", "text"}:
            _refuse_nested(fields, self.options.reader.format)
        return t.StructType(fields)

    def _output(self, resolved: FileSchema) -> t.StructType:
        data = self._data(resolved)
        rescued = self.options.reader.rescued_column
        pinned = {h.path[0].lower(): h.type for h in self.options.hints if len(h.path) == 1}
        given = {f.name.lower(): f.dataType for f in (self._given.fields if self._given else ())}
        fields = [f for f in data.fields if f.name != rescued]
        for f in resolved.partitions.fields:
            type_ = pinned.get(f.name.lower()) or given.get(f.name.lower()) or f.dataType
            fields.append(t.StructField(f.name, type_))
        fields += [f for f in data.fields if f.name == rescued]
        if self.options.metadata:
            fields.append(t.StructField("_metadata", spark_type(METADATA)))
        _refuse_duplicates(fields)
        return t.StructType(fields)


def _has(schema: t.StructType, path: str) -> bool:
    """Whether the schema has the field, nested or with dots in its name."""
    names = {name.lower() for name in field_paths(arrow_schema(schema))}
    return path.lower() in names


def _refuse_nested(fields: Sequence[t.StructField], kind: str) -> None:
    for f in fields:
        if isinstance(f.dataType, (t.StructType, t.ArrayType, t.MapType)):
            raise PipelineError(
                f"the column {f.name!r} of type {f.dataType.simpleString()!r} cannot be read from"
                f" {kind} files; read it as string and use from_json in the query",
                condition="UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE",
            )


def _refuse_duplicates(fields: Sequence[t.StructField]) -> None:
    seen: set[str] = set()
    for f in fields:
        if f.name.lower() in seen:
            raise PipelineError(
                f"the column {f.name!r} would be there twice; rename it in schemaHints, the"
                " schema or rescuedDataColumn",
                condition="COLUMN_ALREADY_EXISTS",
            )
        seen.add(f.name.lower())


def _relation(engine: Engine, partitions: int, task: ReadTask, schema: t.StructType) -> Any:
    numbers = engine.spark.range(0, partitions, 1, partitions)
    frame = numbers.mapInArrow(engine.on_workers(task), schema)
    return frame._plan.to_proto(engine.spark.client).root  # noqa: SLF001 - a plan is data
