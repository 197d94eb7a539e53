"""Kafka as a sink: rows become messages, each batch once, or at least once without transactions.

Rows have the columns that Spark's own writer knows: `value`, and if they like `key`, `headers`,
`topic` and `partition`. Others are left out, as Spark leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from proa.errors import DataError
from proa.extras import needs
from proa.lake import Flag
from proa.pipelines.definitions import Dataset, SinkPlace
from proa.pipelines.kafka_options import kafka_options
from proa.runtime.context import Context
from proa.runtime.kafka_producer import BatchProducer, Message, TransactionProducer
from proa.runtime.sinks import BatchSink
from proa.runtime.target import Attempt, TargetDelivery
from proa.steps import Step, step
from proa.storage import Store, is_url

_ROWS = 4096
"""Rows that are read at once."""
_TEXT = ("string", "binary")
_HEADERS = "array<struct<key:string,value:binary>>"
_COLUMNS: dict[str, Sequence[str]] = {
    "value": _TEXT,
    "key": _TEXT,
    "headers": (_HEADERS,),
    "topic": ("string",),
    "partition": ("int",),
}
"""The columns of a message and the types that they may have."""
_BATCH_HEADER = "proa-batch"


class KafkaSink(BatchSink):
    """Topics of Kafka."""

    def __init__(self, name: str, dataset: Dataset, place: SinkPlace, context: Context) -> None:
        super().__init__(name, dataset, place, context)
        self._options = kafka_options(name, place.options, dataset.location)
        self._open: tuple[str, TransactionProducer] | None = None
        """The group whose batches a producer sends; nobody else has sent any since it began."""

    def begin(self, query: Any, flags: Sequence[Flag], *, replaces: bool, widens: bool) -> Attempt:
        with needs("kafka"):
            import confluent_kafka  # noqa: F401 - before anything is computed
        self._check_columns(query)
        return super().begin(query, flags, replaces=replaces, widens=widens)

    def _check_columns(self, query: Any) -> None:
        types = {field.name: field.dataType.simpleString() for field in query.fields}
        topic = () if self._options.topic else ("topic",)
        for name in ("value", *topic):
            if name not in types:
                option = ", or the sink the option 'topic'" if name == "topic" else ""
                raise self._unfit(f"lack the column {name!r}; add it in the query{option}")
        for name, allowed in _COLUMNS.items():
            if types.get(name, allowed[0]) not in allowed:
                raise self._unfit(
                    f"have a column {name!r} of type {types[name]}; make it"
                    f" {' or '.join(allowed)} in the query"
                    f"{' (to_json(struct(...)))' if name == 'value' else ''}"
                )

    def _unfit(self, what: str) -> DataError:
        return DataError(
            f"the rows for the sink {self._name!r} {what}", condition="INVALID_SINK_COLUMNS"
        )

    def _deliver(self, delivery: TargetDelivery) -> None:
        origin = self._context.events.origin
        group = ":".join(
            [
                f"proa:{origin.pipeline_id}:{origin.region or ''}",
                f"{delivery.flow}:{delivery.generation}",
                self._state.identity(self._context.ids),
            ]
        )
        if self._options.transactions:
            self._deliver_once(delivery, group)
            return
        headers = [(_BATCH_HEADER, f"{group}:{delivery.plan.batch}".encode())]
        producer = BatchProducer(self._name, self._options, {})
        with step(Step.SINK_DELIVER):
            producer.send(self._messages(delivery, headers))

    def _deliver_once(self, delivery: TargetDelivery, group: str) -> None:
        producer, batch = self._producer(delivery.flow, group), delivery.plan.batch
        if producer.last is not None and producer.last >= batch:
            return
        # A producer that has met an error is done: the next one finds out what became of the batch.
        self._open = None
        try:
            with step(Step.SINK_SEND):
                producer.send_once(batch, self._messages(delivery, []))
            self._epoch()
            with step(Step.SINK_DELIVER):
                producer.commit(batch)
        except Exception:
            producer.abort()
            raise
        self._open = group, producer

    def _producer(self, flow: str, group: str) -> TransactionProducer:
        if self._open is not None and self._open[0] == group:
            return self._open[1]
        origin = self._context.events.origin
        given = self._options.transactional_id or f"proa:{origin.pipeline_id}"
        return TransactionProducer(self._name, self._options, f"{given}:{self._name}:{flow}", group)

    def _messages(
        self, delivery: TargetDelivery, more: list[tuple[str, bytes]]
    ) -> Iterator[Message]:
        store = Store.open(self._files_url, self._context.options)
        for file in delivery.stored.adds:
            with _open_file(store, file.path) as opened:
                names = [name for name in _COLUMNS if name in opened.schema_arrow.names]
                for rows in opened.iter_batches(_ROWS, columns=names, use_threads=False):
                    yield from self._messages_of(rows, more)

    def _messages_of(self, rows: Any, more: list[tuple[str, bytes]]) -> Iterator[Message]:
        nothing = [None] * rows.num_rows
        columns = (
            rows.column(name).to_pylist() if name in rows.schema.names else nothing
            for name in _COLUMNS
        )
        topic = self._options.topic
        for value, key, headers, named, partition in zip(*columns, strict=True):
            if not (topic or named):
                raise self._unfit("have no topic in some row; fill the column 'topic'")
            pairs = [(one["key"], one["value"]) for one in headers or () if one is not None]
            yield Message(
                topic or named,
                key,
                value,
                [*pairs, *more] or None,
                -1 if partition is None else partition,
            )


@contextmanager
def _open_file(store: Store, path: str) -> Iterator[Any]:
    place = store.url_of(path)
    source = store.open_reader(path) if is_url(place) else pa.OSFile(place)
    with pq.ParquetFile(source, pre_buffer=False) as file:
        yield file
