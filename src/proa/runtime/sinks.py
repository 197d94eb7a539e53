"""Sinks as targets: rows leave the pipeline, and only from the region that is active.

A Delta table notes each batch in its own log, with the epoch of the region that wrote it: so a batch
is there once, and a region that was replaced is fenced. A function cannot tell what it has done. It
gets a batch, and then the storage notes the batch as delivered: after a crash in between it gets the
same batch once more, with the same number and the same rows. (Kafka is in `kafka_sink`.)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from proa.clock import Ids
from proa.errors import (
    ConflictError,
    DataError,
    PipelineError,
    ProaError,
    UnknownOutcome,
    raised_at,
)
from proa.lake import Change, Destination, Flag, Table, commit_change, create_table, discard_attempt
from proa.lake.commit import check_appendable
from proa.lake.table_schema import merge_schemas, to_arrow
from proa.layout import cut_app, folder_name
from proa.pipelines.definitions import Dataset, SinkPlace
from proa.runtime.checkpoint import cut_of, cut_transaction
from proa.runtime.context import Context
from proa.runtime.flow_kinds import Stored
from proa.runtime.target import Attempt, Position, TargetDelivery
from proa.steps import Step, step
from proa.storage import Store, absolute

BATCHES = "batches"
"""In a sink's folder: rows on their way to a function or to Kafka."""
_NOT_ACTIVE = "REGION_NOT_ACTIVE"


class SinkState:
    """What the storage knows of a sink: its full refreshes, and the batches that were delivered."""

    def __init__(self, context: Context, sink: str) -> None:
        # The storage is there anyway; to open the sink's own folder would make it.
        self._store = Store.open(context.layout.storage, context.options)
        self._base = context.layout.sink(sink).removeprefix(f"{context.layout.storage}/")

    def generation(self) -> int:
        """How many full refreshes were asked for."""
        return self._newest("generations") or 0

    def begin_generation(self, update_id: str) -> None:
        """Ask for a full refresh, once per update. What was written to the sink stays there."""
        number = self.generation()
        folder = "generations"
        if number and json.loads(self._store.get(self._entry(folder, number))) == update_id:
            return
        with step(Step.RESET):
            self._store.create(self._entry(folder, number + 1), json.dumps(update_id).encode())

    def identity(self, ids: Ids) -> str:
        """What tells this storage from another one, and so its batches from those of others."""
        path = f"{self._base}/identity.json"
        with suppress(ConflictError):
            if not self._store.exists(path):
                self._store.create(path, json.dumps(ids.new()).encode())
        return str(json.loads(self._store.get(path)))

    def last_batch(self, flow: str, generation: int) -> int | None:
        """The last batch of a flow that was noted as delivered."""
        return self._newest(_delivery_folder(flow, generation))

    def note_delivered(self, delivery: TargetDelivery) -> bool:
        """Note that a batch was delivered; whether this attempt was the first to say so."""
        folder, batch = _delivery_folder(delivery.flow, delivery.generation), delivery.plan.batch
        attempt = delivery.attempt.destination.attempt
        try:
            with step(Step.SINK_NOTE):
                self._store.create(self._entry(folder, batch), json.dumps(attempt).encode())
        except ConflictError:
            return bool(json.loads(self._store.get(self._entry(folder, batch))) == attempt)
        except UnknownOutcome:
            if self.last_batch(delivery.flow, delivery.generation) != batch:
                raise
        if batch:
            self._store.delete(self._entry(folder, batch - 1))
        return True

    def _newest(self, folder: str) -> int | None:
        found = self._store.walk(f"{self._base}/{folder}")
        names = (info.path.rsplit("/", 1)[-1] for info in found)
        return max((int(name.partition(".")[0]) for name in names), default=None)

    def _entry(self, folder: str, number: int) -> str:
        return f"{self._base}/{folder}/{number:020d}.json"


class _Sink:
    """What all sinks have in common."""

    table: Table | None = None

    def __init__(self, name: str, dataset: Dataset, place: SinkPlace, context: Context) -> None:
        self._name = name
        self._dataset = dataset
        self._place = place
        self._context = context
        self._state = SinkState(context, name)

    def refusal(self) -> str | None:
        """Why nothing may be written now: another region is active."""
        return self._context.gate().refusal

    def set_up(self) -> None:
        """Nothing: a sink is made by its first batch."""

    def abort(self, attempt: Attempt, stored: Stored) -> None:
        discard_attempt(attempt.destination, stored.adds)

    def check(self, stored: Stored) -> None:
        """DataError when a file that was written is gone before it is delivered."""
        store = Store.open(self._files_url, self._context.options)
        gone = [file.path for file in stored.adds if not store.exists(file.path)]
        if gone:
            raise DataError(
                f"the file {gone[0]!r} with rows for the sink {self._name!r} is gone; run again",
                condition="FAILED_READ_FILE.FILE_NOT_EXIST",
            )

    @property
    def _files_url(self) -> str:
        return f"{self._context.layout.sink(self._name)}/{BATCHES}"

    def _epoch(self) -> int:
        """The epoch to write in. ConflictError when another region is active by now."""
        turn = self._context.gate()
        if turn.refusal is not None:
            raise ConflictError(turn.refusal, condition=_NOT_ACTIVE)
        return turn.epoch


class DeltaSink(_Sink):
    """A Delta table outside the pipeline; each batch is in it once."""

    def __init__(self, name: str, dataset: Dataset, place: SinkPlace, context: Context) -> None:
        super().__init__(name, dataset, place, context)
        assert dataset.path is not None
        self.table: Table = Table.at(absolute(dataset.path), context.options)

    @property
    def _files_url(self) -> str:
        return self.table.url

    def position(self, flow: str) -> Position:
        generation = self._state.generation()
        with self.table.lock:
            self.table.refresh()
            app = self._app_id(flow, generation)
            last = self.table.transaction(app)
            return Position(generation, last, cut_of(last, self.table.transaction(cut_app(app))))

    def begin(self, query: Any, flags: Sequence[Flag], *, replaces: bool, widens: bool) -> Attempt:
        del replaces, widens
        columns = query
        parts: tuple[str, ...] = ()
        with self.table.lock:
            if self.table.refresh() is not None:
                check_appendable(self.table)
                columns = self._columns(query)
                parts = self.table.partition_by
        return Attempt(columns, self._destination(columns, parts, flags))

    def _columns(self, query: Any) -> Any:
        columns = merge_schemas(self.table.schema, query, self._name)
        merges = self._place.options.get("mergeschema", "false").lower() == "true"
        if columns != self.table.schema and not merges:
            known = {field.name.lower() for field in self.table.schema.fields}
            extra = [field.name for field in query.fields if field.name.lower() not in known]
            raise DataError(
                f"the sink {self._name!r} is given columns that the table {self.table.url!r} lacks"
                f" ({', '.join(extra) or 'fields of a struct'}); drop them in the query, or add the"
                " option mergeSchema",
                condition="DELTA_METADATA_MISMATCH",
            )
        return columns

    def _destination(self, columns: Any, parts: tuple[str, ...], flags: Sequence[Flag]) -> Any:
        return Destination(
            url=self.table.url,
            options=self._context.options,
            schema=to_arrow(columns),
            attempt=self._context.ids.new(),
            partition_by=parts,
            flags=tuple(flags),
        )

    def commit(self, delivery: TargetDelivery) -> bool:
        attempt, batch = delivery.attempt, delivery.plan.batch
        epoch = self._epoch()
        if not self.table.exists:
            create_table(self.table, attempt.columns)
        origin = self._context.events.origin
        app = self._app_id(delivery.flow, delivery.generation)
        committed = commit_change(
            self.table,
            Change(
                app_id=app,
                batch=batch,
                attempt=attempt.destination.attempt,
                generation=self.table.generation,
                adds=delivery.stored.adds,
                schema=attempt.columns,
                partition_by=attempt.destination.partition_by,
                metadata={
                    "pipeline": origin.pipeline_id,
                    "region": origin.region,
                    "flow": delivery.flow,
                    "generation": delivery.generation,
                    "batch": batch,
                    "update": self._context.update_id,
                },
                transactions=cut_transaction(app, delivery.plan),
                epoch=epoch,
            ),
        )
        return committed.by_us

    def _app_id(self, flow: str, generation: int) -> str:
        """Other pipelines, and this one in other regions, may write to the same table."""
        origin = self._context.events.origin
        return f"proa:{origin.pipeline_id}:{origin.region or ''}:{flow}:{generation}"


class BatchSink(_Sink):
    """What takes a batch from files: they are written first, and removed when it has them."""

    def position(self, flow: str) -> Position:
        generation = self._state.generation()
        return Position(generation, self._state.last_batch(flow, generation))

    def begin(self, query: Any, flags: Sequence[Flag], *, replaces: bool, widens: bool) -> Attempt:
        del replaces, widens
        destination = Destination(
            url=self._files_url,
            options=self._context.options,
            schema=to_arrow(query),
            attempt=self._context.ids.new(),
            flags=tuple(flags),
        )
        return Attempt(query, destination)

    def commit(self, delivery: TargetDelivery) -> bool:
        self._epoch()
        last = self._state.last_batch(delivery.flow, delivery.generation)
        if last is not None and last >= delivery.plan.batch:
            return False
        try:
            self.check(delivery.stored)
            self._deliver(delivery)
            by_us = self._state.note_delivered(delivery)
        except Exception:
            self.abort(delivery.attempt, delivery.stored)
            raise
        if by_us:
            self.abort(delivery.attempt, delivery.stored)
        return by_us

    def _deliver(self, delivery: TargetDelivery) -> None:
        """Hand the rows over. Nothing has noted yet that the batch was delivered."""
        raise NotImplementedError


class FunctionSink(BatchSink):
    """A function of the user's, called with each batch."""

    def _deliver(self, delivery: TargetDelivery) -> None:
        with step(Step.SINK_DELIVER):
            self._call(delivery)

    def _call(self, delivery: TargetDelivery) -> None:
        engine, stored = self._context.engine, delivery.stored
        files = [f"{self._files_url}/{file.path}" for file in stored.adds]
        columns = delivery.attempt.columns
        relation = engine.parquet(files, columns) if files else engine.empty(columns)
        assert self._place.function is not None
        try:
            self._place.function(engine.dataframe(relation), delivery.plan.batch)
        except ProaError:
            raise
        except Exception as error:
            raise self._failure(delivery, error) from error

    def _failure(self, delivery: TargetDelivery, error: Exception) -> ProaError:
        """What an exception of the function means: a network's may pass, others are mistakes."""
        where = raised_at(error, self._dataset.location)
        said = (
            f"the function of the sink {self._name!r} raised {type(error).__name__} for batch"
            f" {delivery.plan.batch} of the flow {delivery.flow!r}: {error}"
        )
        if isinstance(error, OSError):
            return UnknownOutcome(f"{said} ({where})", condition=_FUNCTION_FAILED)
        return PipelineError(said, condition=_FUNCTION_FAILED, location=where)


def _delivery_folder(flow: str, generation: int) -> str:
    return f"delivered/{folder_name(flow)}/{generation}"


_FUNCTION_FAILED = "FOREACH_BATCH_USER_FUNCTION_ERROR"
