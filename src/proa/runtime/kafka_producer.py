"""Batches of messages into Kafka: one transaction each, or acknowledged and no more.

A transaction holds the messages of a batch and, as the offset of a consumer group that nobody joins,
the batch's number. Both become visible or neither does. Who begins with a transactional id ends what
the one before has left open, and fences it: so the number that is read then is the last one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from proa.errors import (
    ConflictError,
    DataError,
    ProaError,
    SettingsError,
    UnavailableError,
    UnknownOutcome,
)
from proa.extras import needs
from proa.pipelines.kafka_options import KafkaOptions

_POLLED = 1000
"""Messages between two looks at what the brokers say."""
_COMMON = {
    # Rows of one key go to the partition that Java's producers, and so Spark, would choose.
    "partitioner": "murmur2_random",
    "enable.idempotence": "true",
}
_TIMES = {"transaction.timeout.ms": "300000", "delivery.timeout.ms": "120000"}
_REFUSED = "KAFKA_REFUSED"
_FENCED = frozenset({"_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"})
_AT_LEAST_ONCE = "; or let the sink write at least once (option transactions=false)"
_SETTINGS = {
    "_AUTHENTICATION": "check the name and the password",
    "SASL_AUTHENTICATION_FAILED": "check the name and the password",
    "_SSL": "check the certificates (kafka.ssl. ...)",
    "TOPIC_AUTHORIZATION_FAILED": "grant the user Write and Describe on the topic",
    "CLUSTER_AUTHORIZATION_FAILED": "grant the user IdempotentWrite on the cluster",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": "grant the user Write and Describe on the transactional"
    f" id{_AT_LEAST_ONCE}",
    "GROUP_AUTHORIZATION_FAILED": f"grant the user Read and Describe on the group{_AT_LEAST_ONCE}",
    "UNSUPPORTED_VERSION": f"use brokers that know transactions{_AT_LEAST_ONCE}",
    "_UNSUPPORTED_FEATURE": f"use brokers that know transactions{_AT_LEAST_ONCE}",
    "INVALID_TRANSACTION_TIMEOUT": "set kafka.transaction.timeout.ms to what the brokers allow"
    " (transaction.max.timeout.ms)",
    "UNKNOWN_TOPIC_OR_PART": "create the topic, or check its name and the partition's number",
    "_UNKNOWN_TOPIC": "create the topic, or check its name",
    "_UNKNOWN_PARTITION": "check the numbers in the column 'partition'",
    "TOPIC_EXCEPTION": "check the topic's name",
}
_DATA = {
    "MSG_SIZE_TOO_LARGE": "raise kafka.max.request.size and the topic's max.message.bytes, or send"
    " less in a row",
    "INVALID_RECORD": "give each row a key, which a compacted topic needs",
}
"""Errors that trying again does not mend, by the client's names, and what does."""


class Message(NamedTuple):
    """One row on its way."""

    topic: str
    key: Any
    value: Any
    headers: Any
    """Pairs of a name and bytes."""
    partition: int
    """-1: the one that its key gives."""


class BatchProducer:
    """Sends messages and waits until the brokers have them."""

    def __init__(self, sink: str, options: KafkaOptions, more: Mapping[str, str]) -> None:
        self._sink = sink
        self._failed: Any = None
        """The first error that a message met."""
        self._trouble: Any = None
        """The last error of a connection."""
        client = self._client = dict(options.client)
        self._patience = options.patience
        times = {} if "transaction.timeout.ms" in client else _TIMES
        with self.saying("cannot be made"):
            self._producer = _library().Producer(
                {**_COMMON, **times, **client, **more, "error_cb": self._note_trouble},
                logger=_LOG,
            )

    def send(self, messages: Iterable[Message]) -> None:
        """Send messages. Raises what the first that could not be sent has met."""
        produce, poll = self._producer.produce, self._producer.poll
        self._failed = None
        with self.saying("cannot send"):
            for number, message in enumerate(messages, 1):
                while True:
                    try:
                        produce(
                            message.topic,
                            message.value,
                            message.key,
                            message.partition,
                            self._note_delivery,
                            headers=message.headers,
                        )
                        break
                    except BufferError:
                        poll(0.1)
                if number % _POLLED == 0:
                    poll(0)
                if self._failed is not None:
                    break
            self._producer.flush()
            if self._failed is not None:
                raise _library().KafkaException(self._failed)

    @contextmanager
    def saying(self, what: str) -> Iterator[None]:
        """Say in Proa's own kinds of errors what the client library raises."""
        kafka = _library()
        try:
            yield
        except kafka.KafkaException as error:
            raise self._meaning(what, error.args[0]) from error
        except (TypeError, ValueError) as error:
            raise SettingsError(
                f"the producer of the sink {self._sink!r} {what}: {error}"
            ) from error

    def _meaning(self, what: str, found: Any) -> ProaError:
        error = self._failed or found
        if error.name() in {"_TIMED_OUT", "_MSG_TIMED_OUT", "_STATE"} and self._trouble is not None:
            # A connection says why nobody answers.
            error = self._trouble
        name = error.name()
        said = f"the producer of the sink {self._sink!r} {what}: {error.str()}"
        if name in _FENCED:
            return ConflictError(
                f"{said}; another run writes to the sink now", condition="SINK_FENCED"
            )
        if name == "_INVALID_ARG":
            return SettingsError(
                f"{said}; options after 'kafka.' are properties of a producer",
                condition="INVALID_SINK_OPTION",
            )
        if name in _SETTINGS:
            return SettingsError(f"{said}; {_SETTINGS[name]}", condition=_REFUSED)
        if name in _DATA:
            return DataError(f"{said}; {_DATA[name]}", condition=_REFUSED)
        return UnavailableError(f"{said}; check that the brokers answer, and run again")

    def _note_delivery(self, error: Any, _message: Any) -> None:
        if error is not None and self._failed is None:
            self._failed = error

    def _note_trouble(self, error: Any) -> None:
        if error.name() != "_ALL_BROKERS_DOWN" or self._trouble is None:
            self._trouble = error


class TransactionProducer(BatchProducer):
    """Sends each batch in a transaction of its own, with the batch's number."""

    def __init__(self, sink: str, options: KafkaOptions, transactional_id: str, group: str) -> None:
        super().__init__(sink, options, {"transactional.id": transactional_id})
        self._group = group
        with self.saying("cannot begin transactions"):
            try:
                self._producer.init_transactions(self._patience)
            finally:
                self._producer.poll(0)
        self.last = self._last_batch()
        """The last batch that is in the topics; None for none."""

    def send_once(self, batch: int, messages: Iterable[Message]) -> None:
        """Send a batch in a transaction, which `commit` or `abort` is to end."""
        with self.saying("cannot begin a transaction"):
            self._producer.begin_transaction()
        topics: list[str] = []
        self.send(_noting_first(messages, topics))
        if not topics:
            return
        place = _library().TopicPartition(
            topics[0], 0, batch + 1, metadata="the number of batches that Proa has written"
        )
        with self.saying("cannot note the batch"):
            self._producer.send_offsets_to_transaction([place], self._metadata, self._patience)

    def commit(self, batch: int) -> None:
        """Commit the transaction of a batch. UnknownOutcome if nobody knows whether it is."""
        kafka = _library()
        try:
            self._producer.commit_transaction(self._patience)
        except kafka.KafkaException as error:
            meaning = self._meaning("cannot commit a transaction", error.args[0])
            if isinstance(meaning, UnavailableError):
                raise UnknownOutcome(str(meaning)) from error
            raise meaning from error
        self.last = batch

    def abort(self) -> None:
        """Abort the open transaction, if that can be done now; who begins next does it else."""
        with suppress(_library().KafkaException):
            self._producer.abort_transaction(self._patience)

    def _last_batch(self) -> int | None:
        kafka = _library()
        from confluent_kafka.admin import AdminClient

        with self.saying("cannot look at what it has written"):
            consumer = kafka.Consumer({**self._client, "group.id": self._group}, logger=_LOG)
            self._metadata = consumer.consumer_group_metadata()
            consumer.close()
            admin = AdminClient(self._client, logger=_LOG)
            asked = kafka.ConsumerGroupTopicPartitions(self._group)
            answers = admin.list_consumer_group_offsets(
                [asked], require_stable=True, request_timeout=self._patience
            )
            places = answers[self._group].result(self._patience).topic_partitions
        return max((place.offset - 1 for place in places if place.offset > 0), default=None)


def _noting_first(messages: Iterable[Message], topics: list[str]) -> Iterator[Message]:
    for message in messages:
        if not topics:
            topics.append(message.topic)
        yield message


def _library() -> Any:
    with needs("kafka"):
        import confluent_kafka
    return confluent_kafka


_LOG = logging.getLogger("proa.kafka")
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False
