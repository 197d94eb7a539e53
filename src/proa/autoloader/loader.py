"""The Auto Loader of one leaf: what is new, what it looks like, and the plan that reads it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import pyarrow as pa
from pyspark.sql import types as t

from proa.autoloader import hints
from proa.autoloader.discovery import (
    FileBacklog,
    ListedFiles,
    Place,
    Positions,
    discover,
    existing_keys,
)
from proa.autoloader.file_ref import FileRef
from proa.autoloader.known import KnownFiles
from proa.autoloader.leaf_columns import FIXED_COLUMNS, LeafColumns
from proa.autoloader.options import Options, check_bad_path, parse
from proa.autoloader.schema import FileSchema, SchemaVersion, SchemaVersions, schema_through
from proa.autoloader.schema_fold import SchemaFold, shipments_of
from proa.autoloader.tasks import INFERRED, Assignment, InferTask, ReadTask, split
from proa.clock import Clock
from proa.errors import ConflictError, DataError, PipelineError, UnavailableError
from proa.formats.arrow_types import (
    arrow_schema,
    field_paths,
    has_structs,
    merge_structs,
    spark_type,
    widen_type,
)
from proa.formats.folders import relative
from proa.formats.place import PLACE, PLACE_NAMES, PLACE_TYPE, WHOLE
from proa.formats.problems import MAX_FIELD, Problem, ProblemKind, explain
from proa.formats.reader_options import TYPED_FORMATS, Evolution
from proa.formats.source import Part
from proa.graph.leaves import FilesLeaf
from proa.landing.manifest_tail import find_listed_folder
from proa.pipelines.ddl import schema_of_text
from proa.storage import NotFoundError, Store
from proa.storage.folded import check_format

_START = "start.json"
_START_FORMAT = 2


class LoaderEngine(Protocol):
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

    def __init__(  # noqa: PLR0913 - a leaf, and what is around it
        self,
        leaf: FilesLeaf,
        *,
        state: Store | None,
        storage_options: Mapping[str, str],
        clock: Clock,
        parallelism: int | None = None,
        stream: str | None = None,
    ) -> None:
        """`stream` names the files' order, when rows are to know their place in it."""
        self.leaf = leaf
        self._stream = stream
        self.options: Options = parse(leaf.options, schema_given=leaf.schema is not None)
        check_bad_path(self.options, leaf.path)
        self._state = state if leaf.streaming else None
        self._versions = SchemaVersions(self._state) if self._state is not None else None
        self._storage = dict(storage_options)
        self._clock = clock
        self._parallelism = parallelism or os.cpu_count() or 1
        self._place = Place.of(leaf.path).resolve(self._storage)
        self._given = schema_of_text(leaf.schema) if leaf.schema is not None else None
        self._columns = LeafColumns(self.options, self._given)
        self._fold = SchemaFold(self.options, self._place.base)
        self._listed: ListedFiles | None = None
        self._schema: SchemaVersion | None = None
        self._sample: tuple[FileRef, ...] = ()
        self._is_growing = False
        """Whether the batch before has changed the schema: then the next one is looked at before it is read."""
        self._folded: Sequence[FileRef] = ()
        """The last file of those that were folded into the schema last."""
        self._ends_anywhere = False
        """Whether batches have the fields that later shipments brought."""

    @property
    def base(self) -> str:
        """The folder that is loaded, without globs: absolute path or URL."""
        return self._place.base

    @property
    def is_decided(self) -> bool:
        """Whether the columns are stored: then no file is needed to tell them."""
        current = self._current()
        return current is not None and (bool(current.schema.data.fields) or self._given is not None)

    def discover(
        self,
        known: KnownFiles | None,
        *,
        after: Positions | None = None,
        through: Positions | None = None,
    ) -> FileBacklog:
        """The files that come after the positions, or are not known yet, in their order.

        `through` leaves out shipments with files behind these, of sources with a manifest. Changes
        nothing but, at the first start, the memory of which files were there before. Raises
        UnavailableError when the store fails.
        """
        if known is not None and self._state is not None:
            self._remember_start(known)
        now, listed = self._clock.now(), self._listed_files()
        if listed is not None:
            begin = after or self._first_positions()
            backlog = listed.discover(self.options, known, begin, now=now, through=through or {})
        elif after:
            raise UnavailableError(
                f"the manifest of {self._place.base!r}, which files were read by before, is not"
                " there; mount the landing zone or put the manifest back"
            )
        else:
            backlog = discover(self._place, self.options, self._storage, known, now=now)
        if self._current() is None:
            self._sample = backlog.sample()
        return backlog

    def record(self, known: KnownFiles, batch: int, files: Sequence[FileRef]) -> None:
        """Let `known` remember the files of a batch, in the way that the options ask for."""
        known.record(batch, files, versions=self.options.reader.allow_overwrites)

    def schema(self, engine: LoaderEngine, files: Sequence[FileRef]) -> t.StructType:
        """The columns that a batch of these files has.

        At first use they are inferred from the files that were discovered, and stored; DataError
        (CF_EMPTY_DIR) when there is no file and no schema was given.
        """
        return self._columns.output(self._resolve(engine, files), self._place_names())

    def relation(
        self,
        engine: LoaderEngine,
        files: Sequence[FileRef],
        columns: Collection[str] | None = None,
    ) -> Any:
        """The plan (a Spark Connect relation) that reads these files on the engine's workers.

        Of the files' columns it has those that `columns` names in lower case; None: all.
        """
        resolved = self._resolve(engine, files)
        place = self._place_names()
        data, output = self._columns.data(resolved), self._columns.output(resolved, place)
        if columns is not None:
            output = _columns_among(output, columns)
            if self.options.reader.passes_over_columns and not {*data.names} & {
                self.options.reader.corrupt_column
            }:
                data = _columns_among(data, columns)
        if self._stream is not None:
            output = t.StructType([*output.fields, t.StructField(PLACE, spark_type(PLACE_TYPE))])
        listed = self._listed_files() if self._stream is not None else None
        partitions = split(
            files, self.options.reader, self._parallelism, cuts="row_index" not in place
        )
        if {"shipment", "file_index", "shipped_at"} & set(place):
            partitions = self._add_places(partitions)
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
            # Several sources have an order each, and none together.
            self._stream if listed is not None and len(listed.sources) == 1 else None,
        )
        return _relation(engine, len(partitions), task, output)

    def whole(self, engine: LoaderEngine) -> Any:
        """The plan that reads all files that are there now; no rows if there are none."""
        from proa.engine.relations import empty_relation

        files = self.discover(None).take_all()
        return self.relation(engine, files) if files else empty_relation(self.schema(engine, ()))

    def evolve(self, engine: LoaderEngine, error: BaseException, files: Sequence[FileRef]) -> bool:
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
        current = self._current()
        if not grows or mode not in {Evolution.ADD, Evolution.WIDEN} or current is None:
            raise problem.error() from error
        if self._grow(engine, current, files, problem):
            self._is_growing, self._folded = True, files[-1:]
            return True
        # Perhaps another runner has stored what this one still lacks.
        latest = self._versions.latest() if self._versions is not None else None
        if latest is None or latest.number == current.number:
            if not self._ends_before(current, files):
                raise problem.error() from error
            # The field counts since a later shipment, where inference was the first to see it.
            self._ends_anywhere = True
            return True
        self._schema = latest
        return True

    def versions(self) -> list[SchemaVersion]:
        """The schema's versions so far, the oldest first; empty without a memory."""
        return self._versions.all() if self._versions is not None else []

    def _grow(
        self,
        engine: LoaderEngine,
        current: SchemaVersion,
        files: Sequence[FileRef],
        problem: Problem | None,
    ) -> bool:
        """Fold the files into the schema, shipment by shipment; whether that changed anything."""
        inferred = self._infer(engine, files, current.schema)
        if problem is not None and problem.kind is ProblemKind.WIDER:
            return self._widen(current, files, inferred, problem)
        grown = current
        settled: FileSchema | None = None
        for shipment, group in shipments_of(files):
            old = grown.schema
            is_empty = not any(inferred.get(file.path) for file in group)
            met = _fields_met(problem, group)
            if is_empty and old is settled and not met and not self._fold.new_folders(old, group):
                continue
            new = self._fold.extend(old, group, inferred)
            if is_empty and new == old:
                settled = old
            decided = self._fold.deciding_files(old, new, group, inferred)
            # What a reader met is a field, even where inference does not look.
            for name, path in met.items():
                if not _has(new.data, name):
                    hint = hints.Hint(tuple(name.split(".")), t.StringType())
                    new = new.evolve(FileSchema(hints.apply([hint], new.data), new.partitions))
                    decided[name] = relative(path, self.base)
            if shipment < grown.shipment:
                new = self._order_by_shipment(new, old, shipment)
            if new != old:
                if not self._put(grown, new, shipment, decided):
                    return True  # another runner is at it: look at what it has stored
                assert self._schema is not None
                grown = self._schema
        return grown.number != current.number

    def _order_by_shipment(self, new: FileSchema, old: FileSchema, shipment: int) -> FileSchema:
        """The new schema with what the shipment adds before what later ones have added already.

        Readers meet what inference does not see in no order.
        """
        since: dict[str, int] = {}
        for version in self.versions():
            since |= {n: version.shipment for n in version.schema.later if n not in since}
        before = [name for name in old.later if since.get(name, 0) <= shipment]
        behind = [name for name in old.later if name not in before]
        return replace(new, later=(*before, *new.later[len(old.later) :], *behind))

    def _hinted_names(self) -> frozenset[str]:
        """Lower-case names of the columns whose types hints say to the last field."""
        nested = {h.path[0].lower() for h in self.options.hints if len(h.path) > 1}
        whole = [h for h in self.options.hints if len(h.path) == 1]
        return frozenset(h.path[0].lower() for h in whole if not has_structs(h.type)) - nested

    def _widen(
        self,
        current: SchemaVersion,
        files: Sequence[FileRef],
        inferred: Mapping[str, t.StructType],
        problem: Problem,
    ) -> bool:
        """Give columns the wider types of the files, in their order; whether that changed anything.

        Text has no types of its own: there it is the type of the value that was met.
        """
        if self.options.reader.format not in TYPED_FORMATS:
            column = t.StructField(problem.fields[0], spark_type(pa.type_for_alias(problem.detail)))
            met = [file.path for file in files if file.path.endswith(problem.file)]
            inferred = {path: t.StructType([column]) for path in met}
        grown = current
        for shipment, group in shipments_of(files):
            old = grown.schema
            data = old.data
            for file in group:
                there = {f.name: f for f in inferred.get(file.path, t.StructType()).fields}
                names = [n for n in data.names if n.lower() not in self.options.reader.pinned]
                data = widen_type(data, t.StructType([there[n] for n in names if n in there]))
            if data != old.data:
                if not self._put(grown, replace(old, data=data), shipment, {}):
                    return True  # another runner is at it: look at what it has stored
                assert self._schema is not None
                grown = self._schema
        return grown.number != current.number

    def _put(
        self, before: SchemaVersion, new: FileSchema, shipment: int, decided: Mapping[str, str]
    ) -> bool:
        """Store the version after `before` and take it on; False when another's stands there."""
        reach = max(before.reach, shipment)
        version = SchemaVersion(before.number + 1, new, shipment, decided, reach)
        self._schema = version if self._versions is None else self._versions.put(version)
        return self._schema.schema == new

    def _remember_start(self, known: KnownFiles) -> None:
        """`includeExistingFiles` counts at the first start only."""
        assert self._state is not None
        if known.through >= 0 or self._state.exists(_START):
            return
        start: dict[str, Any] = {
            "format": _START_FORMAT,
            "includeExistingFiles": self.options.include_existing,
        }
        if not self.options.include_existing:
            listed = self._listed_files()
            if listed is not None:
                start["through"] = dict(listed.heads())
            else:
                now = self._clock.now()
                known.ignore(existing_keys(self._place, self.options, self._storage, now=now))
        # Another runner may have started at the same time, with the same options.
        with contextlib.suppress(ConflictError):
            self._state.create(_START, json.dumps(start).encode())

    def _first_positions(self) -> Positions:
        """Where the flow's first batch begins: behind what was to be left out."""
        if self._state is None or self.options.include_existing:
            return {}
        with contextlib.suppress(NotFoundError):
            start = json.loads(self._state.get(_START))
            check_format(
                start.get("format", 1), _START_FORMAT, f"the start {self._state.url_of(_START)!r}"
            )
            return {str(k): int(v) for k, v in start.get("through", {}).items()}
        return {}

    def _place_names(self) -> tuple[str, ...]:
        """Which of `PLACE_NAMES` the rows have in `_metadata`: those that are asked for.

        PipelineError when one is asked for by name that these files do not have.
        """
        asked = self.options.metadata
        if not asked:
            return ()
        listed, found = self._listed_files(), tuple(PLACE_NAMES)
        why = ""
        if listed is None and self._any_file():
            found, why = ("row_index",), "no manifest tells in which order they were shipped"
        elif listed is not None and len(listed.sources) > 1:
            found = ("row_index", "shipped_at")
            why = f"they are those of several sources ({', '.join(listed.sources)})"
        lacking = sorted(asked - {*found, WHOLE})
        if lacking:
            raise PipelineError(
                f"the files in {self.leaf.path!r} have no _metadata.{lacking[0]}, because {why};"
                + (
                    " load the folder of one source"
                    if listed is not None
                    else " ship them, or number those that are there with 'proa adopt'"
                ),
                condition="FILES_WITHOUT_ORDER",
            )
        return tuple(name for name in found if WHOLE in asked or name in asked)

    def _any_file(self) -> bool:
        """Whether there is a file; a folder that is empty may get a manifest with its first one."""
        now = self._clock.now()
        files = existing_keys(self._place, self.options, self._storage, now=now)
        return next(files, None) is not None

    def _add_places(self, partitions: Sequence[Sequence[Part]]) -> list[list[Part]]:
        """The parts, each with its file's place in the manifest."""
        listed = self._listed_files()
        if listed is None:
            return [list(parts) for parts in partitions]
        places = listed.places({part.path: part.shipment for parts in partitions for part in parts})

        def add_place(part: Part) -> Part:
            if part.path not in places:
                return part
            shipment, file_index, shipped_at = places[part.path]
            return replace(part, shipment=shipment, file_index=file_index, shipped_at=shipped_at)

        return [[add_place(part) for part in parts] for parts in partitions]

    def _listed_files(self) -> ListedFiles | None:
        """The files as manifests list them; None where nobody has listed them yet."""
        if self._listed is None:
            folder = find_listed_folder(self._place.base, self._storage)
            if folder is not None:
                self._listed = ListedFiles(self._place, folder, self._storage)
        return self._listed

    def _current(self) -> SchemaVersion | None:
        if self._schema is None and self._versions is not None:
            self._schema = self._versions.latest()
        return self._schema

    def _resolve(self, engine: LoaderEngine, files: Sequence[FileRef]) -> FileSchema:
        current = self._current() or self._first(engine, files)
        if current.number >= 0:
            sample = files or self._sample
            grows = self.options.reader.evolution in {Evolution.ADD, Evolution.WIDEN}
            if not current.schema.data.fields and self._given is None:
                self._decide(engine, current, sample)
                current = self._current() or current
            ahead = self._is_growing and files[-1:] != self._folded and _is_of_many_small(files)
            if grows and (ahead or self._fold.new_folders(current.schema, files)):
                self._folded = files[-1:]
                self._is_growing = self._grow(engine, current, files, None)
                current = self._current() or current
        schema = current.schema
        if self._ends_before(current, files):
            if self._versions is None:
                self._schema, self._sample = None, ()
                return self._resolve(engine, files)
            schema = schema_through(self.versions(), files[-1].shipment)
        return schema if self._given is None else replace(schema, data=self._given)

    def _ends_before(self, current: SchemaVersion, files: Sequence[FileRef]) -> bool:
        """Whether later shipments than those of `files` have decided the schema.

        They were part of a batch that was cut since. Several sources have no order together.
        """
        last = files[-1].shipment if files else 0
        if not 0 < last < current.reach or self._ends_anywhere:
            return False
        listed = self._listed_files()
        return listed is not None and len(listed.sources) == 1

    def _first(self, engine: LoaderEngine, files: Sequence[FileRef]) -> SchemaVersion:
        """Decide the first schema and store it; what is only assumed has the number -1."""
        sample = self._sample or tuple(files)
        fixed = FIXED_COLUMNS.get(self.options.reader.format, self._given)
        if not sample and not self.options.hints and fixed is None:
            raise DataError(
                f"the schema cannot be inferred: there is no file in {self.leaf.path!r};"
                " put a file there, or give a schema",
                condition="CF_EMPTY_DIR_FOR_SCHEMA_INFERENCE",
            )
        if not sample:
            return SchemaVersion(-1, FileSchema(fixed or t.StructType(), t.StructType()))
        shipment, group = next(shipments_of(sample))
        group = group[: self.options.sample_files]
        inferred = {} if fixed is not None else self._infer(engine, group)
        schema = self._fold.first(group, inferred)
        if fixed is not None:
            schema = replace(schema, data=fixed)
        decided = self._fold.deciding_files(None, schema, group, inferred)
        version = SchemaVersion(0, schema, shipment, decided, shipment)
        self._is_growing = True
        self._schema = version if self._versions is None else self._versions.put(version)
        return self._schema

    def _decide(
        self,
        engine: LoaderEngine,
        current: SchemaVersion,
        files: Sequence[FileRef],
    ) -> None:
        """Take the fields of the first shipment that has any: until then nothing was decided.

        The columns that the folders of shipments before it give are taken too, in each mode.
        """
        inferred = self._infer(engine, files)
        before = current
        for shipment, group in shipments_of(files):
            old = before.schema
            new = old.evolve(self._fold.first(group, inferred, old))
            if new != old:
                decided = self._fold.deciding_files(old, new, group, inferred)
                if not self._put(before, new, shipment, decided) or new.data.fields:
                    return
                assert self._schema is not None
                before = self._schema

    def _infer(
        self, engine: LoaderEngine, files: Sequence[FileRef], known: FileSchema | None = None
    ) -> dict[str, t.StructType]:
        """The fields inside each of the files, by path; files may have none that add nothing to `known`."""
        if not files:
            return {}
        options = self.options
        partitions = split(files, options.reader, self._parallelism)
        hinted = self._fold.hinted
        pinned = self._hinted_names()
        task = InferTask(
            Assignment.of(partitions),
            self._storage,
            options.reader,
            options.infer_types,
            pinned,
            t.StructType([f for f in hinted.fields if f.name.lower() not in pinned]),
            None if known is None else (self._fold, known),
        )
        try:
            rows = _on_partitions(engine, len(partitions), task, INFERRED).collect()
        except Exception as error:
            problem = explain(error)
            if problem is None:
                raise
            raise problem.error() from error
        texts = {row["schema"] for row in rows}
        structs = {text: t.StructType.fromJson(json.loads(text)) for text in texts}
        inferred: dict[str, t.StructType] = {}
        for row in sorted(rows, key=lambda row: (row["path"], row["start"])):
            struct, path = structs[row["schema"]], row["path"]
            known = inferred.get(path)
            # Names that differ in case only may each be known, or not.
            inferred[path] = (
                struct if known is None else merge_structs(known, struct, hinted, exact=True)
            )
        return inferred


def _columns_among(schema: t.StructType, names: Collection[str]) -> t.StructType:
    """The columns with these names, in lower case."""
    return t.StructType([f for f in schema.fields if f.name.lower() in names])


def _is_of_many_small(files: Sequence[FileRef]) -> bool:
    """Whether there are so many small files that one look at all of them costs little beside reading them."""
    return len(files) >= _MANY and sum(file.size for file in files) <= _SMALL * len(files)


_MANY, _SMALL = 100, 64 << 10


def _fields_met(problem: Problem | None, files: Sequence[FileRef]) -> dict[str, str]:
    """The new fields that a reader met in one of the files, and its path, by name.

    Empty when the problem is another file's; names that travelled cut are left out.
    """
    if problem is None:
        return {}
    paths = [file.path for file in files if file.path.endswith(problem.file)]
    return {name: paths[0] for name in problem.fields if paths and len(name) < MAX_FIELD}


def _has(schema: t.StructType, path: str) -> bool:
    """Whether the schema has the field, nested or with dots in its name."""
    names = {name.lower() for name in field_paths(arrow_schema(schema))}
    return path.lower() in names


def _relation(engine: LoaderEngine, partitions: int, task: ReadTask, schema: t.StructType) -> Any:
    frame = _on_partitions(engine, partitions, task, schema)
    return frame._plan.to_proto(engine.spark.client).root  # noqa: SLF001 - a plan is data


def _on_partitions(
    engine: LoaderEngine, partitions: int, task: ReadTask | InferTask, schema: t.StructType
) -> Any:
    """A DataFrame of what a task yields for each of so many partitions."""
    numbers = engine.spark.range(0, partitions, 1, partitions)
    numbers._cached_schema = _NUMBERS  # noqa: SLF001 - the client would ask the engine for it
    return numbers.mapInArrow(engine.on_workers(task), schema)


_NUMBERS = t.StructType([t.StructField("id", t.LongType(), nullable=False)])
"""The column of `range`."""
