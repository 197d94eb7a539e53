"""What a sink of format `kafka` may say: Spark's options, and what they are to the client library."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from proa.errors import PipelineError, SourceLocation
from proa.text import suggestion

INVALID = "INVALID_SINK_OPTION"
CLIENT = "kafka."
"""Options that begin with it are the producer's own."""
_OPTIONS = ("kafka.bootstrap.servers", "topic", "transactions", "includeHeaders")


@dataclass(frozen=True)
class KafkaOptions:
    """Where messages go, and how."""

    client: Mapping[str, str]
    """The producer's configuration, in the names of the client library (librdkafka)."""
    topic: str | None
    """The topic of all rows; None: each row names its own."""
    transactions: bool
    """Whether a batch is one transaction, and so in the topics exactly once."""
    transactional_id: str | None
    """What the ids of the flows' transactions begin with; None for the pipeline's id."""
    patience: float
    """Seconds that one question to the brokers may take."""


def kafka_options(
    sink: str, options: Mapping[str, str], location: SourceLocation | None = None
) -> KafkaOptions:
    """Return what the options of a sink mean. PipelineError for those that mean nothing.

    `options` are given by lower-case name.
    """
    reader = _Reader(sink, location)
    known = {option.lower() for option in _OPTIONS}
    for option in options:
        if option not in known and not option.startswith(CLIENT):
            raise reader.refusal(
                f"has no option {option!r}{suggestion(option, _OPTIONS)}; a Kafka sink takes"
                f" {', '.join(_OPTIONS)}, and options of the producer after {CLIENT!r}"
            )
    client = reader.client(
        {
            name.removeprefix(CLIENT): value
            for name, value in options.items()
            if name.startswith(CLIENT)
        }
    )
    if not client.get("bootstrap.servers"):
        raise reader.refusal(
            "needs the option 'kafka.bootstrap.servers': the addresses of brokers, as host:port,"
            " separated by commas"
        )
    reader.truth("includeHeaders", options.get("includeheaders", "false"))
    transactions = reader.truth("transactions", options.get("transactions", "true"))
    patience = reader.number(_PATIENCE, options.get(f"{CLIENT}{_PATIENCE}", "30000")) / 1000
    named = client.pop("transactional.id", None)
    return KafkaOptions(client, options.get("topic") or None, transactions, named, patience)


_RENAMED = {
    "max.request.size": "message.max.bytes",
    "send.buffer.bytes": "socket.send.buffer.bytes",
    "receive.buffer.bytes": "socket.receive.buffer.bytes",
    "ssl.truststore.location": "ssl.ca.location",
    "ssl.truststore.certificates": "ssl.ca.pem",
    "ssl.keystore.certificate.chain": "ssl.certificate.pem",
    "ssl.keystore.key": "ssl.key.pem",
}
"""Java's names of what librdkafka calls differently."""
_PATIENCE = "max.block.ms"
_OURS = {_PATIENCE, "ssl.truststore.type"}
"""Properties that say something to us and nothing to the client library."""
_SERIALIZERS = "keys and values are sent as text or bytes; make them so in the query (to_json)"
_REFUSED = {
    "key.serializer": _SERIALIZERS,
    "value.serializer": _SERIALIZERS,
    "partitioner.class": "name the partition of each row in a column 'partition'",
    "interceptor.classes": "change the rows in the query",
    "ssl.truststore.password": "a truststore of type PEM has no password",
    "ssl.keystore.location": "give the certificate and its key as PEM: ssl.keystore.certificate.chain"
    " and ssl.keystore.key",
    "sasl.client.callback.handler.class": "the client is no Java program; use SASL with a name and a"
    " password, or certificates",
    "sasl.login.callback.handler.class": "the client is no Java program; use SASL with a name and a"
    " password, or certificates",
}
"""Properties of Java's producer that have no counterpart, and what to do instead."""
_LOGIN = re.compile(
    r"\s*(?:kafkashaded\.)?org\.apache\.kafka\.common\.security\."
    r"(?:plain\.PlainLoginModule|scram\.ScramLoginModule)\s+\w+\s+(?P<fields>.*?);?\s*",
    re.DOTALL,
)
_FIELD = re.compile(r"(\w+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)')")


class _Reader:
    def __init__(self, sink: str, location: SourceLocation | None) -> None:
        self._sink = sink
        self._location = location

    def client(self, java: Mapping[str, str]) -> dict[str, str]:
        """Java's properties of a producer as librdkafka's."""
        found: dict[str, str] = {}
        for name, value in java.items():
            if name in _REFUSED:
                raise self.refusal(f"cannot take the option '{CLIENT}{name}'; {_REFUSED[name]}")
            if name == "sasl.jaas.config":
                found |= self._login(value)
            elif name == "buffer.memory":
                found["queue.buffering.max.kbytes"] = str(max(1, self.number(name, value) >> 10))
            elif name == "ssl.endpoint.identification.algorithm":
                found[name] = value or "none"
            elif name not in _OURS:
                found[_RENAMED.get(name, name)] = value
        stores = java.get("ssl.truststore.type", "JKS").upper()
        if "ssl.truststore.location" in java and stores != "PEM":
            raise self.refusal(
                f"has a truststore of type {stores}, which only Java reads; write its certificates as"
                " PEM (keytool -list -rfc), and name that file with ssl.truststore.type=PEM"
            )
        return found

    def _login(self, text: str) -> dict[str, str]:
        match = _LOGIN.fullmatch(text)
        fields = {
            name: re.sub(r"\\(.)", r"\1", double or single)
            for name, double, single in _FIELD.findall(match["fields"] if match else "")
        }
        if not {"username", "password"} <= fields.keys():
            raise self.refusal(
                "has a 'kafka.sasl.jaas.config' that is not PlainLoginModule's or ScramLoginModule's"
                " with a username and a password; use one of these, or kafka.sasl.username and"
                " kafka.sasl.password"
            )
        return {"sasl.username": fields["username"], "sasl.password": fields["password"]}

    def number(self, name: str, value: str) -> int:
        try:
            return int(value)
        except ValueError:
            raise self.refusal(f"needs a number as '{CLIENT}{name}', which is {value!r}") from None

    def truth(self, name: str, value: str) -> bool:
        if value.lower() not in {"true", "false"}:
            raise self.refusal(f"needs true or false as {name!r}, which is {value!r}")
        return value.lower() == "true"

    def refusal(self, what: str) -> PipelineError:
        return PipelineError(
            f"the sink {self._sink!r} {what}", condition=INVALID, location=self._location
        )
