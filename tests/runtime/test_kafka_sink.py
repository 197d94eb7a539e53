"""Rows become messages of Kafka: each once where the brokers know transactions.

The brokers speak Kafka's protocol and come with the client library. They know no transactions: what
was aborted is seen, and no batch is noted. `PROA_TEST_KAFKA` names real brokers (host:port), where
nothing may be seen twice.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from small_projects import Project, ok

from proa.errors import ConflictError, UnavailableError
from proa.pipelines.kafka_options import kafka_options
from proa.runtime import UpdateRequest
from proa.runtime.context import Turn
from proa.runtime.kafka_producer import Message, TransactionProducer
from proa.steps import Step, probing
from proa.testing import Fault, FaultProbe, Killed, every_fault

REAL = os.environ.get("PROA_TEST_KAFKA")
QUIET = logging.getLogger("tests.kafka")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


@dataclass
class Brokers:
    """Brokers, and a topic that nobody else writes to."""

    address: str
    topic: str

    def messages(self, topic: str | None = None) -> list[Any]:
        """The messages that are committed, partition by partition."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": "reader",
                "enable.auto.commit": "false",
                "enable.partition.eof": "true",
            },
            logger=QUIET,
        )
        topic = topic or self.topic
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, at, OFFSET_BEGINNING) for at in partitions])
        found, ends = [], 0
        while ends < len(partitions):
            (message,) = consumer.consume(1, timeout=30) or pytest.fail("no answer")
            if message.error() is None:
                found.append(message)
                continue
            assert message.error().code() == KafkaError._PARTITION_EOF
            ends += 1
        consumer.close()
        return sorted(found, key=lambda message: (message.partition(), message.offset()))

    def values(self, topic: str | None = None) -> list[str]:
        return sorted((message.value() or b"").decode() for message in self.messages(topic))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    if REAL:
        yield REAL
        return
    host = Producer({"bootstrap.servers": "x", "test.mock.num.brokers": 1}, logger=QUIET)
    (broker,) = host.list_topics(timeout=30).brokers.values()
    yield f"{broker.host}:{broker.port}"
    del host


@pytest.fixture
def brokers(address: str, tmp_path, request) -> Brokers:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)
    return Brokers(address, f"{name}-{abs(hash(str(tmp_path)))}")


BRONZE = """
@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.maxFilesPerTrigger", 1).option("cloudFiles.schemaHints", "id long")
        .load(spark.conf.get("landing_zone"))
    )
"""
SINK = """
dp.create_sink("out", "kafka", {{
    "kafka.bootstrap.servers": spark.conf.get("brokers"),
    "topic": spark.conf.get("topic"),
    {more}
}})

@dp.append_flow(target="out")
def to_out():
    return spark.readStream.table("bronze").selectExpr({columns})
"""
IDS = "'cast(id AS string) AS value'"


def sink(more: str = "", columns: str = IDS) -> str:
    return BRONZE + SINK.format(more=more, columns=columns)


@pytest.fixture
def kafka(project: Project, brokers: Brokers) -> Project:
    project.configuration = {"brokers": brokers.address, "topic": brokers.topic}
    return project.write(sink())


def land(project: Project, *numbers: int) -> None:
    for number in numbers:
        project.land(f"{number}.json", [{"id": number}, {"id": number + 100}])


def values_of(*numbers: int) -> list[str]:
    return sorted(str(value) for number in numbers for value in (number, number + 100))


@pytest.mark.slow
def test_each_row_becomes_a_message_once(kafka: Project, brokers: Brokers) -> None:
    land(kafka, 1, 2)
    ok(kafka.run())
    land(kafka, 3)
    ok(kafka.run())
    assert brokers.values() == values_of(1, 2, 3)
    assert ok(kafka.run()).rows == 0
    ok(kafka.run(full_refresh_all=True))
    assert brokers.values() == sorted(values_of(1, 2, 3) * 2)


def test_a_message_has_what_its_row_says(kafka: Project, brokers: Brokers) -> None:
    columns = [
        "encode(cast(id AS string), 'UTF-8') AS key",
        "IF(id < 100, to_json(struct(id)), NULL) AS value",
        "array(struct('a' AS key, encode('b', 'UTF-8') AS value)) AS headers",
        "cast(IF(id < 100, 2, 1) AS int) AS partition",
        "'elsewhere' AS topic",
        "id AS left_out",
    ]
    kafka.write(sink(columns=str(columns)[1:-1]))
    land(kafka, 1)
    ok(kafka.run())
    assert [
        (message.partition(), message.key(), message.value(), message.headers())
        for message in brokers.messages()
    ] == [
        (1, b"101", None, [("a", b"b")]),
        (2, b"1", b'{"id":1}', [("a", b"b")]),
    ]


def test_rows_of_one_key_go_where_java_would_send_them(kafka: Project, brokers: Brokers) -> None:
    kafka.write(sink(columns="'cast(id AS string) AS key', 'cast(id AS string) AS value'"))
    land(kafka, 1)
    ok(kafka.run())
    count = 4 if not REAL else len(_partitions(brokers))
    assert {message.key(): message.partition() for message in brokers.messages()} == {
        key: (murmur2(key) & 0x7FFFFFFF) % count for key in (b"1", b"101")
    }


def _partitions(brokers: Brokers) -> Any:
    host = Producer({"bootstrap.servers": brokers.address}, logger=QUIET)
    return host.list_topics(brokers.topic, timeout=30).topics[brokers.topic].partitions


def murmur2(data: bytes) -> int:
    """The hash of a key by which Java's producer chooses a partition."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    if len(data) % 4:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


def test_rows_may_name_their_topics(kafka: Project, brokers: Brokers) -> None:
    first, second = f"{brokers.topic}-a", f"{brokers.topic}-b"
    topic = f"IF(id < 100, '{first}', IF(id < 1000, '{second}', NULL)) AS topic"
    kafka.write(sink(columns=f'{IDS}, "{topic}"').replace('"topic": spark.conf.get("topic"),', ""))
    land(kafka, 1, 2)
    ok(kafka.run())
    assert brokers.values(first) == ["1", "2"]
    assert brokers.values(second) == ["101", "102"]
    land(kafka, 1000)
    error = kafka.run().error
    assert error is not None
    assert error.condition == "INVALID_SINK_COLUMNS"
    assert "no topic" in str(error)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("'id'", "lack the column 'value'"),
        ("'id AS value'", "'value' of type bigint"),
        (f"{IDS}, 'id AS key'", "'key' of type bigint; make it string or binary"),
        (f"{IDS}, 'id AS partition'", "'partition' of type bigint; make it int"),
        (f"{IDS}, 'array(id) AS headers'", "'headers' of type array<bigint>"),
    ],
)
def test_columns_that_make_no_message_are_refused(kafka: Project, columns, said) -> None:
    kafka.write(sink(columns=columns))
    land(kafka, 1)
    error = kafka.run().error
    assert error is not None
    assert error.condition == "INVALID_SINK_COLUMNS"
    assert said in str(error)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", every_fault([Step.SINK_SEND, Step.SINK_DELIVER, Step.SINK_NOTE]), ids=str
)
def test_a_batch_is_there_once_whatever_fails(kafka: Project, brokers: Brokers, fault) -> None:
    land(kafka, 1, 2)
    ok(kafka.run(refresh=["bronze"]))
    crash(kafka, fault)
    land(kafka, 3)
    ok(kafka.run())
    values = brokers.values()
    assert set(values) == set(values_of(1, 2, 3))
    assert len(values) == 6 or not REAL


@pytest.mark.slow
@pytest.mark.parametrize("fault", every_fault([Step.SINK_DELIVER, Step.SINK_NOTE]), ids=str)
def test_without_transactions_a_batch_may_come_again_and_says_its_number(
    kafka: Project, brokers: Brokers, fault
) -> None:
    kafka.write(sink("'transactions': False,"))
    land(kafka, 1, 2)
    ok(kafka.run(refresh=["bronze"]))
    crash(kafka, fault)
    land(kafka, 3)
    ok(kafka.run())
    found = {(message.value(), *message.headers()[0]) for message in brokers.messages()}
    assert sorted(value.decode() for value, _, _ in found) == values_of(1, 2, 3)
    batches = {value: batch.rsplit(b":", 1)[-1] for value, _, batch in found}
    assert (batches[b"1"], batches[b"102"], batches[b"3"]) == (b"0", b"0", b"1")
    assert {name for _, name, _ in found} == {"proa-batch"}


def crash(project: Project, fault: Fault) -> None:
    probe = FaultProbe(fault)
    with contextlib.suppress(Killed), probing(probe):
        project.runner().update(UpdateRequest(refresh=["out"]))
    assert probe.struck == [fault]


def test_a_standby_sends_nothing_and_everything_once_it_is_active(
    kafka: Project, brokers: Brokers
) -> None:
    land(kafka, 1)
    turns = [Turn(1, "west is active")]
    with kafka.runner(gate=lambda: turns[0]) as runner:
        runner.update()
        assert brokers.values() == []
        turns[0] = Turn(2)
        ok(runner.update())
    assert brokers.values() == values_of(1)


def test_a_region_that_is_replaced_while_it_sends_commits_nothing(
    kafka: Project, brokers: Brokers
) -> None:
    land(kafka, 1)
    sent = FaultProbe()
    with kafka.runner(gate=lambda: Turn(1, "west" if sent.reached[Step.SINK_SEND] else None)) as r:
        ok(r.update(UpdateRequest(refresh=["bronze"])))
        with probing(sent):
            error = r.update(UpdateRequest(cause="USER_ACTION")).error
    assert sent.reached[Step.SINK_SEND] == 1
    assert not sent.reached[Step.SINK_DELIVER]
    assert error is None or error.condition == "REGION_NOT_ACTIVE"
    assert brokers.values() == [] or not REAL


@pytest.mark.skipif(not REAL, reason="the brokers of the library know no transactions")
def test_who_begins_later_fences_who_began_before(brokers: Brokers) -> None:
    options = kafka_options("out", {"kafka.bootstrap.servers": brokers.address})
    rows = [Message(brokers.topic, None, "a", None, -1)]
    first = TransactionProducer("out", options, brokers.topic, "g")
    first.send_once(0, rows)
    second = TransactionProducer("out", options, brokers.topic, f"proa:{brokers.topic}")
    assert second.last is None
    with pytest.raises(ConflictError) as fenced:
        first.commit(0)
    assert fenced.value.condition == "SINK_FENCED"
    second.send_once(0, rows)
    second.commit(0)
    third = TransactionProducer("out", options, brokers.topic, f"proa:{brokers.topic}")
    assert third.last == 0
    assert brokers.values() == ["a"]


def test_brokers_that_do_not_answer_are_named() -> None:
    options = kafka_options(
        "out", {"kafka.bootstrap.servers": "127.0.0.1:1", "kafka.max.block.ms": "200"}
    )
    with pytest.raises(UnavailableError, match=r"sink 'out' .*127\.0\.0\.1:1"):
        TransactionProducer("out", options, "id", "group")


def test_a_property_that_no_producer_has_is_named(kafka: Project) -> None:
    kafka.write(sink("'kafka.lingre.ms': 5,"))
    land(kafka, 1)
    error = kafka.run().error
    assert error is not None
    assert error.condition == "INVALID_SINK_OPTION"
    assert "lingre.ms" in str(error)
