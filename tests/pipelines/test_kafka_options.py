"""Spark's options of a Kafka sink, as the client library reads them."""

from __future__ import annotations

import pytest

from proa.errors import PipelineError
from proa.pipelines.kafka_options import KafkaOptions, kafka_options

SERVERS = {"kafka.bootstrap.servers": "a:1,b:2"}
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "kafkashaded.org.apache.kafka.common.security.scram.ScramLoginModule"


def client(**options: str) -> dict[str, str]:
    """The client's configuration for options of the producer; `__` stands for a dot."""
    given = {f"kafka.{name.replace('__', '.')}": value for name, value in options.items()}
    found = dict(kafka_options("s", {**SERVERS, **given}).client)
    assert found.pop("bootstrap.servers") == "a:1,b:2"
    return found


def test_a_batch_is_a_transaction_unless_the_sink_says_otherwise():
    servers = {"bootstrap.servers": "a:1,b:2"}
    assert kafka_options("s", SERVERS) == KafkaOptions(servers, None, True, None, 30)
    given = {"topic": "t", "transactions": "FALSE", "kafka.transactional.id": "x"}
    given |= {"kafka.max.block.ms": "1500", "includeheaders": "true"}
    assert kafka_options("s", SERVERS | given) == KafkaOptions(servers, "t", False, "x", 1.5)


def test_properties_have_the_names_of_the_client_library():
    assert client(acks="all", linger__ms="5") == {"acks": "all", "linger.ms": "5"}
    assert client(max__request__size="7") == {"message.max.bytes": "7"}
    assert client(buffer__memory="4096") == {"queue.buffering.max.kbytes": "4"}
    assert client(ssl__endpoint__identification__algorithm="") == {
        "ssl.endpoint.identification.algorithm": "none"
    }
    assert client(ssl__truststore__type="PEM", ssl__truststore__location="/ca.pem") == {
        "ssl.ca.location": "/ca.pem"
    }


@pytest.mark.parametrize(
    ("text", "password"),
    [
        (f'{PLAIN} required username="u" password="p";', "p"),
        (f"{SCRAM} required\n  username='u'\n  password='p;q' ;", "p;q"),
        (rf'{PLAIN} required username="u" password="a\"b\\c";', 'a"b\\c'),
    ],
)
def test_a_login_of_java_is_a_name_and_a_password(text, password):
    assert client(sasl__jaas__config=text) == {"sasl.username": "u", "sasl.password": password}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kafka.bootstrap.servers": ""}, "needs the option 'kafka.bootstrap.servers'"),
        ({"topc": "t"}, "did you mean 'topic'"),
        ({"transactions": "yes"}, "true or false as 'transactions'"),
        ({"kafka.max.block.ms": "soon"}, "a number as 'kafka.max.block.ms'"),
        ({"kafka.value.serializer": "x"}, "to_json"),
        ({"kafka.ssl.truststore.location": "/a.jks"}, "ssl.truststore.type=PEM"),
        (
            {"kafka.sasl.jaas.config": "software.amazon.msk.auth.iam.IAMLoginModule required;"},
            "sasl",
        ),
        ({"kafka.sasl.jaas.config": f"{PLAIN} required username='u';"}, "kafka.sasl.password"),
    ],
)
def test_what_a_producer_cannot_do_is_refused_with_a_remedy(options, said):
    with pytest.raises(PipelineError, match="the sink 's'") as refused:
        kafka_options("s", SERVERS | options)
    assert refused.value.condition == "INVALID_SINK_OPTION"
    assert said in str(refused.value)
