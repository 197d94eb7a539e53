"""An engine: a Spark Connect server that computes, embedded in this process or elsewhere."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from proa.engine.engine_errors import as_proa_error
from proa.errors import ProaError, UnavailableError
from proa.settings import EngineSettings
from proa.storage import is_url

Relation = Any
"""A `spark.connect.Relation`: protobuf's generated classes are untyped here."""

_PASSED_ON = {
    "aws_endpoint_url": "AWS_ENDPOINT_URL",
    "aws_endpoint": "AWS_ENDPOINT_URL",
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
    "aws_region": "AWS_REGION",
    "aws_default_region": "AWS_REGION",
    "aws_allow_http": "AWS_ALLOW_HTTP",
    "allow_http": "AWS_ALLOW_HTTP",
    "aws_virtual_hosted_style_request": "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "google_service_account": "GOOGLE_SERVICE_ACCOUNT",
    "google_service_account_key": "GOOGLE_SERVICE_ACCOUNT_KEY",
    "azure_storage_account_name": "AZURE_STORAGE_ACCOUNT_NAME",
    "azure_storage_account_key": "AZURE_STORAGE_ACCOUNT_KEY",
    "azure_storage_sas_token": "AZURE_STORAGE_SAS_TOKEN",
    "azure_storage_client_id": "AZURE_STORAGE_CLIENT_ID",
    "azure_storage_client_secret": "AZURE_STORAGE_CLIENT_SECRET",
    "azure_storage_tenant_id": "AZURE_STORAGE_TENANT_ID",
}
"""Object-store settings that the embedded engine finds in its environment."""

_EMBEDDED = {
    "RUST_LOG": "error",
    # With statistics of files the engine puts their bounds in the place of values, and a NaN, which
    # no bound tells of, is then another number.
    "SAIL_EXECUTION__COLLECT_STATISTICS": "false",
}
"""What the embedded engine finds in its environment unless that says otherwise."""

_embedding = threading.Lock()

_LOOKS_AGAIN = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)
"""How gRPC looks again at an address that was dead: soon, and without what another channel met there."""

ALIVE_EVERY_MS = 310_000
"""How often a server that is computing is asked for a sign of life, in milliseconds.

A connection that was lost without a word would be waited for without end. Apache Spark 4.2 takes more
than one question in five minutes for an attack, and ends the connection.
"""
_SIGN_OF_LIFE_MS = 20_000

_TRUE_ELSEWHERE = {"spark.sql.parquet.filterPushdown": "false"}
"""What an Apache Spark is told so that it loses no row.

Statistics in Parquet files leave NaN out (as Arrow and DuckDB write them), and Spark, for which NaN is
greater than every number, skips row groups by them: `x > 5` would not find it.
"""

_TRUE_EMBEDDED = {"spark.sql.execution.pandas.convertToArrowArraySafely": "true"}
"""What the embedded engine is told: as in Apache Spark 4.2, what a user's function returns fails where
it does not fit its type. It would be another number: 44 for 300 in a TINYINT.
"""


class Engine:
    """Computes plans. Starts at first use; safe to share between threads.

    All verbs raise `UserError` where the query is wrong and `UnavailableError` where the engine
    did not answer.
    """

    def __init__(self, remote: str | None, options: Mapping[str, str]) -> None:
        self._remote = remote
        self._options = dict(options)
        self._lock = threading.Lock()
        self._server: Any = None
        self._spark: Any = None
        self._asked: Any = None
        self._has_master = False
        self._equipping = threading.Lock()
        self._equipped: Any = None
        """The session whose workers have Proa's code."""
        self._schemas: dict[bytes, Any] = {}
        self._settings: dict[str, str] = {}
        self._functions: dict[str, Any] = {}
        self._parent: Engine | None = None
        """The engine whose server this one uses; None for a server of its own."""
        self._children: dict[tuple[tuple[str, str], ...], Engine] = {}

    @classmethod
    def start(
        cls, settings: EngineSettings | None = None, options: Mapping[str, str] | None = None
    ) -> Engine:
        """An engine that is started when first asked for something.

        `options` are the object-store settings of the region, which an embedded engine takes
        over; a remote one has its own.
        """
        return cls((settings or EngineSettings()).remote, options or {})

    def using(self, settings: Mapping[str, str]) -> Engine:
        """Return an engine with a session of these Spark settings, on the same server.

        Returns this one if there are no settings. It ends with this one.
        """
        if not settings:
            return self
        key = tuple(sorted(settings.items()))
        with self._lock:
            if key not in self._children:
                child = Engine(self._remote, self._options)
                child._settings, child._parent = dict(settings), self
                self._children[key] = child
            return self._children[key]

    def register(self, functions: Mapping[str, Any]) -> None:
        """Let SQL call these functions, Spark Connect's messages by name."""
        for name, function in functions.items():
            if self._functions.get(name) != function:
                self._functions[name] = function
                self._schemas.clear()
                with self._lock:
                    spark = self._spark
                if spark is not None:
                    with self.translating():
                        _register(spark, function)

    @property
    def spark(self) -> Any:
        """The Spark Connect session."""
        with self._lock:
            if self._spark is None:
                self._spark = self._connect()
            return self._spark

    def dataframe(self, relation: Relation) -> Any:
        """A DataFrame over a ready-made plan."""
        from proa.engine.relations import dataframe

        return dataframe(self._prepare(relation), self.spark)

    @property
    def answers_by_plan(self) -> bool:
        """Whether a plan's columns depend on the plan, this engine's version and its settings alone.

        They do not where a server elsewhere is asked, or functions of the user's are registered.
        """
        return self._remote is None and not self._functions

    def digest(self) -> str:
        """32 hexadecimal digits over what rows depend on besides their plan: settings, functions."""
        found = hashlib.sha256(repr((self._remote, sorted(self._settings.items()))).encode())
        for name, function in sorted(self._functions.items()):
            found.update(name.encode() + function.SerializeToString(deterministic=True))
        return found.hexdigest()[:32]

    def _prepare(self, relation: Relation) -> Relation:
        """The plan as the engine reads it. Raises UserError for what it lacks."""
        from proa.engine.plan_syntax import prepare_plan, rename_references

        if self._remote is not None:
            return rename_references(relation)
        return prepare_plan(relation, self.schema)

    def schema(self, relation: Relation) -> Any:
        """What `relation` yields, as a pyspark `StructType`. Remembered: plans repeat."""
        key = relation.SerializeToString(deterministic=True)
        known = self._schemas.get(key)
        if known is None:
            known = self._analyze(relation)
            if len(self._schemas) >= _REMEMBERED_SCHEMAS:
                self._schemas.clear()
            self._schemas[key] = known
        return known

    def _analyze(self, relation: Relation) -> Any:
        with self.translating():
            return self.dataframe(relation).schema

    def on_workers(
        self, function: Callable[[Any], Iterator[Any]]
    ) -> Callable[[Any], Iterator[Any]]:
        """Make a function of Proa's runnable by this engine's workers, for `mapInArrow`.

        The workers of an engine elsewhere are given Proa's code, once a session.
        """
        if self._remote is None:
            return function
        from proa.engine import worker_code

        spark = self.spark
        with self._equipping, self.translating():
            if self._equipped is not spark:
                worker_code.send(spark)
                self._equipped = spark
        return worker_code.on_workers(function)

    def parquet(self, urls: Sequence[str], schema: Any) -> Relation:
        """A plan that reads Parquet files as `schema`; what a file lacks is NULL."""
        from proa.engine.relations import parquet_relation

        write = hadoop_path if self._is_apache() else encoded_path
        return parquet_relation([write(url) for url in urls], schema)

    def _is_apache(self) -> bool:
        """Whether a JVM computes: it takes paths as Hadoop does. Asked once a session."""
        if self._remote is None:
            return False
        spark = self.spark
        if self._asked is not spark:
            with self.translating():
                self._has_master = spark.conf.get("spark.master", None) is not None
            self._asked = spark
        return self._has_master

    def delta(self, url: str, version: int) -> Relation:
        """A plan that reads a Delta table at a version."""
        from proa.engine.relations import delta_relation

        return delta_relation(url, version)

    def empty(self, schema: Any) -> Relation:
        """A plan that yields no rows."""
        from proa.engine.relations import empty_relation

        return empty_relation(schema)

    def arrow(self, dataframe: Any) -> Any:
        """Compute a DataFrame; its rows as a `pyarrow.Table`."""
        from proa.engine.relations import is_drawn

        with self.translating():
            if is_drawn(dataframe):
                return dataframe._to_table()[0]  # noqa: SLF001 - toArrow() asks for columns
            return dataframe.toArrow()

    def stream(self, dataframe: Any) -> tuple[Any, Iterator[Any]]:
        """Start to compute a DataFrame; its `pyarrow.Schema`, and its record batches as they come.

        Memory holds a batch at a time. Closing the iterator ends the computation's answer.
        """
        from pyspark.sql.pandas.types import to_arrow_schema

        with self.translating():
            schema = to_arrow_schema(
                dataframe.schema, error_on_duplicated_field_names_in_struct=True, timezone="UTC"
            )
        return schema, self._batches(dataframe, schema)

    def _batches(self, dataframe: Any, schema: Any) -> Iterator[Any]:
        import pyarrow as pa

        with self.translating():
            client = self.spark.client
            plan = dataframe._plan  # noqa: SLF001 - the client's only way to a stream of Arrow
            for part in client.to_table_as_iterator(plan.to_proto(client), plan.observations):
                if isinstance(part, pa.Table):
                    yield from part.cast(schema).to_batches()

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Say errors of the Spark Connect client in Proa's kinds."""
        try:
            yield
        except ProaError:
            raise
        except Exception as error:  # the client raises gRPC's, pyspark's and its own kinds
            found = as_proa_error(error)
            if isinstance(found, UnavailableError):
                self._forget()
            raise found from error

    def _forget(self) -> None:
        """A server elsewhere may have been started anew: the next use makes a new session."""
        with self._lock:
            if self._remote is not None:
                self._spark = None

    def close(self) -> None:
        """End the session, and the server when it is ours. The engine may be used again."""
        with self._lock:
            spark, server, self._spark, self._server = self._spark, self._server, None, None
            children, self._children = self._children, {}
        for child in children.values():
            child.close()
        if spark is not None:
            with _ignored_when_gone():
                spark.client.close()
        if server is not None:
            server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> Any:
        address = self._remote or (self._parent._address() if self._parent else self._embed())  # noqa: SLF001 - its own kind
        from pyspark.sql.connect.client.retries import DefaultPolicy
        from pyspark.sql.connect.session import SparkSession

        parity = None
        connection: Any = address
        if self._remote is None:
            from proa.engine.parity_channel import channel

            connection, parity = channel(address)
        else:
            from pyspark.sql.connect.client import DefaultChannelBuilder

            connection = DefaultChannelBuilder(address, [*_LOOKS_AGAIN, *_asks_for_life()])
        try:
            spark = SparkSession(connection)
            spark.client.set_retry_policies([DefaultPolicy(max_retries=7, max_backoff=500)])
            # not conf.set(): a pipeline's code may be running, in which that is forbidden
            settings = {
                "spark.sql.session.timeZone": "UTC",
                **(_TRUE_ELSEWHERE if parity is None else _TRUE_EMBEDDED),
                **self._settings,
            }
            spark.conf._set_all(settings, silent=False)  # noqa: SLF001
            for function in self._functions.values():
                _register(spark, function)
            if parity is not None:
                parity.watch(spark, self._settings)
        except Exception as error:
            self._stop_server()
            where = self._remote or "embedded in this process"
            raise UnavailableError(
                f"the engine {where!r} does not answer: {as_proa_error(error).args[0]};"
                " check that the server runs and that the address is right"
            ) from error
        return spark

    def _address(self) -> str:
        """Where the embedded server listens; it is started if it is not there yet."""
        with self._lock:
            return self._embed()

    def _embed(self) -> str:
        if self._server is not None:
            host, port = self._server.listening_address
            return f"sc://{host}:{port}"
        with _embedding:
            os.environ.update(
                {_PASSED_ON[k]: v for k, v in self._options.items() if k in _PASSED_ON}
            )
            for name, value in _EMBEDDED.items():
                os.environ.setdefault(name, value)
            from pysail.spark import SparkConnectServer

            self._server = SparkConnectServer()
            self._server.start(background=True)
        host, port = self._server.listening_address
        return f"sc://{host}:{port}"

    def _stop_server(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.stop()


_REMEMBERED_SCHEMAS = 1000


def _asks_for_life() -> list[tuple[str, int]]:
    """Options of gRPC: a connection that says nothing for so long is given up, and made anew."""
    patience = min(_SIGN_OF_LIFE_MS, ALIVE_EVERY_MS)
    return [
        ("grpc.keepalive_time_ms", ALIVE_EVERY_MS),
        ("grpc.keepalive_timeout_ms", patience),
        ("grpc.http2.ping_timeout_ms", patience),
        ("grpc.http2.max_pings_without_data", 0),
    ]


def _register(spark: Any, function: Any) -> None:
    client = spark.client
    request = client._execute_plan_request_with_metadata()  # noqa: SLF001 - pyspark's own way
    request.plan.command.register_function.CopyFrom(function)
    client._execute(request)  # noqa: SLF001


def encoded_path(location: str) -> str:
    """Write a path or URL as the embedded engine takes it, whatever characters it holds: encoded."""
    scheme, rest = _split(location)
    return f"{scheme}://{urllib.parse.quote(rest)}"


def hadoop_path(location: str) -> str:
    """Write a path or URL as Apache Spark takes it: as it is, but for the characters of globs."""
    scheme, rest = _split(location)
    return f"{scheme}://" + re.sub(r"[\\{}\[\]*?]", r"\\\g<0>", rest)


def _split(location: str) -> tuple[str, str]:
    if is_url(location):
        scheme, _, rest = location.partition("://")
        return scheme, rest
    return "file", location.removeprefix("file://")


@contextmanager
def _ignored_when_gone() -> Iterator[None]:
    """A server that is gone already needs no good-bye."""
    try:
        yield
    except Exception as error:
        if not isinstance(as_proa_error(error), UnavailableError):
            raise
