"""The `spark` of pipeline files: it builds plans and talks to no server.

Everything that a query function may do with `spark` makes a plan. What needs an answer is refused
under Apache's name for it, unless somebody can give one: `DeclaringSession.compute` answers `collect`,
`count` and `show`, `DeclaringSession.analyzer` answers `schema` and `columns`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Self

import grpc
import pyarrow as pa
import pyspark
from pyspark.errors import utils as origins
from pyspark.sql.connect import proto
from pyspark.sql.connect.client import ChannelBuilder, SparkConnectClient
from pyspark.sql.connect.client.core import AnalyzeResult, ConfigResult
from pyspark.sql.connect.conf import RuntimeConf
from pyspark.sql.connect.dataframe import DataFrame
from pyspark.sql.connect.expressions import CommonInlineUserDefinedFunction, PythonUDF
from pyspark.sql.connect.functions import lit
from pyspark.sql.connect.plan import SQL, SubqueryAlias
from pyspark.sql.connect.session import SparkSession
from pyspark.sql.connect.sql_formatter import SQLStringFormatter
from pyspark.sql.connect.udf import UDFRegistration
from pyspark.sql.types import StructType
from pyspark.util import PythonEvalType

from proa.errors import PipelineError, SourceLocation
from proa.pipelines.ddl import parse_type
from proa.pipelines.session_settings import check_flow_settings
from proa.pipelines.sql.lexer import first_word, reads_stream

Relation = Any
"""A `spark.connect.Relation`: protobuf's generated classes are untyped here."""

Analyzer = Callable[[Relation], StructType]

Compute = Callable[[Relation], Any]
"""Returns the rows of a plan as a `pyarrow.Table`."""

_NEVER = str(1 << 62)
_DEFAULTS = {
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.session.localRelationCacheThreshold": _NEVER,
    "spark.sql.session.localRelationSizeLimit": _NEVER,
    "spark.sql.session.localRelationChunkSizeRows": _NEVER,
    "spark.sql.session.localRelationChunkSizeBytes": _NEVER,
    "spark.sql.session.localRelationBatchOfChunksSizeBytes": _NEVER,
    "spark.sql.execution.pandas.convertToArrowArraySafely": "true",
    "spark.sql.execution.pandas.inferPandasDictAsMap": "false",
    "spark.sql.execution.arrow.useLargeVarTypes": "false",
    "spark.sql.execution.pythonUDF.arrow.enabled": "true",
    "spark.sql.pyspark.inferNestedDictAsStruct.enabled": "false",
    "spark.sql.pyspark.legacy.inferArrayTypeFromFirstElement.enabled": "false",
    "spark.sql.pyspark.legacy.inferMapTypeFromFirstPair.enabled": "false",
    "spark.sql.repl.eagerEval.enabled": "false",
    "spark.sql.repl.eagerEval.maxNumRows": "20",
    "spark.sql.repl.eagerEval.truncate": "20",
    "spark.connect.session.planCompression.threshold": "-1",
    "spark.connect.session.planCompression.defaultAlgorithm": "NONE",
}
"""Spark's defaults for the settings that its Python client asks for while it builds a plan."""

_QUERY_STARTS = frozenset({"SELECT", "WITH", "FROM", "VALUES", "TABLE"})

_LIBRARIES = (str(Path(pyspark.__file__).parent), str(Path(__file__).parent.parent))


class DeclaringSession(SparkSession):  # type: ignore[misc]
    """A Spark session that only makes plans.

    `configuration` is what `spark.conf.get` sees, besides the defaults of Spark's client.
    """

    def __init__(self, configuration: Mapping[str, str] | None = None) -> None:
        self._client = _DeclaringClient(configuration or {})
        self._session_id = self._client._session_id  # noqa: SLF001 - the base class reads it
        self.release_session_on_close = False

    @property
    def analyzer(self) -> Analyzer | None:
        """Answers `df.schema` and `df.columns`; None refuses them."""
        analyzer: Analyzer | None = self._client.analyzer
        return analyzer

    @analyzer.setter
    def analyzer(self, analyzer: Analyzer | None) -> None:
        self._client.analyzer = analyzer

    @property
    def compute(self) -> Compute | None:
        """Answers `collect()`, `count()` and the like; None refuses them."""
        compute: Compute | None = self._client.compute
        return compute

    @compute.setter
    def compute(self, compute: Compute | None) -> None:
        self._client.compute = compute

    @property
    def functions(self) -> Mapping[str, Any]:
        """The functions that code has registered for SQL, as Spark Connect's messages, by name."""
        functions: Mapping[str, Any] = self._client.functions
        return functions

    @property
    def conf(self) -> RuntimeConf:
        return _DeclaringConf(self._client)

    @property
    def udf(self) -> UDFRegistration:
        return _DeclaringFunctions(self)

    @property
    def configuration(self) -> Mapping[str, str]:
        """What `spark.conf.get` sees of the pipeline's configuration."""
        configuration: Mapping[str, str] = self._client.configuration
        return configuration

    def sql(self, sqlQuery: str, args: Any = None, **kwargs: Any) -> Any:  # noqa: N803 - pyspark's
        """A plan that holds the text. Commands are refused: a pipeline declares, it does not act."""
        positional: list[Any] = []
        named: dict[str, Any] = {}
        if isinstance(args, Mapping):
            named = {key: lit(value) for key, value in args.items()}
        elif args is not None:
            positional = [lit(value) for value in args]
        views = []
        if kwargs:
            formatter = SQLStringFormatter(self)
            sqlQuery = formatter.format(sqlQuery, **kwargs)  # noqa: N806
            views = [SubqueryAlias(df._plan, name) for df, name in formatter._temp_views]  # noqa: SLF001
        word = first_word(sqlQuery)
        if not is_query(sqlQuery):
            raise PipelineError(
                f"spark.sql() in a pipeline takes queries only, and this one starts with {word!r};"
                " declare a dataset for what the statement should do",
                condition="UNSUPPORTED_PIPELINE_SPARK_SQL_COMMAND",
                location=user_location(),
            )
        return DataFrame(SQL(sqlQuery, positional, named, views), self)

    @contextmanager
    def install(self) -> Iterator[None]:
        """Make this the session that the user's code finds, for a while; see `install_session`."""
        with install_session(self):
            yield


@contextmanager
def install_session(session: SparkSession) -> Iterator[None]:
    """Make `session` the one that `SparkSession.builder.getOrCreate()`, `getActiveSession()`
    and pyspark's own functions find in this thread, for a while.
    """
    local = SparkSession._active_session  # noqa: SLF001 - pyspark offers no other way
    previous = getattr(local, "session", None)
    default, remote = SparkSession._default_session, os.environ.get("SPARK_REMOTE")  # noqa: SLF001
    local.session = SparkSession._default_session = session  # noqa: SLF001
    # pyspark notes where a column was written, unless it was first used without a session
    debugging, origins._enable_debugging_cache = origins._enable_debugging_cache, True  # noqa: SLF001
    os.environ.setdefault("SPARK_REMOTE", "sc://declaring")
    try:
        yield
    finally:
        origins._enable_debugging_cache = debugging  # noqa: SLF001
        local.session, SparkSession._default_session = previous, default  # noqa: SLF001
        if remote is None:
            os.environ.pop("SPARK_REMOTE", None)


class _DeclaringConf(RuntimeConf):  # type: ignore[misc]
    """May be set while declaring, which Apache forbids for all: what is set is checked here."""

    set = RuntimeConf.set


class _DeclaringFunctions(UDFRegistration):  # type: ignore[misc]
    """May register functions while declaring, which Apache forbids for all."""

    register = UDFRegistration.register


def is_query(sql: str) -> bool:
    """Whether a statement yields rows and changes nothing, by its first word."""
    return first_word(sql) in _QUERY_STARTS


def relation_of(dataframe: Any) -> Relation:
    """The plan of a DataFrame that a declaring session has made."""
    return dataframe._plan.plan(dataframe.sparkSession.client)  # noqa: SLF001 - pyspark's only way


def user_location() -> SourceLocation | None:
    """The innermost line on the stack that belongs neither to pyspark nor to Proa."""
    return _user_call()[1]


def _user_call() -> tuple[str, SourceLocation | None]:
    """Which function of pyspark the user called, and where."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - inspect.stack() reads all sources
    called = ""
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((*_LIBRARIES, "<")):
            return called, SourceLocation(name, frame.f_lineno)
        called, frame = frame.f_code.co_name, frame.f_back
    return called, None


def _refuse_analysis() -> NoReturn:
    called, location = _user_call()
    raise PipelineError(
        f"{called!r} asks for an answer, but declaring a pipeline runs nothing; return a DataFrame"
        " and let the pipeline compute it",
        condition="ATTEMPT_ANALYSIS_IN_PIPELINE_QUERY_FUNCTION",
        location=location,
    )


def _refuse_mutation(kind: str) -> NoReturn:
    called, location = _user_call()
    raise PipelineError(
        f"{called!r} changes the session, which a declarative pipeline does not allow; use the"
        " pipeline's configuration, or spark_conf of the dataset",
        condition=f"SESSION_MUTATION_IN_DECLARATIVE_PIPELINE.{kind}",
        location=location,
    )


def pyspark_sentence(error: BaseException) -> tuple[str, str | None]:
    """What pyspark says without its condition in brackets, and the condition; None for others' errors."""
    condition = getattr(error, "getCondition", lambda: None)()
    if condition == "JVM_ATTRIBUTE_NOT_SUPPORTED":
        attribute = error.getMessageParameters()["attr_name"]  # type: ignore[attr-defined]
        said = (
            f"{attribute!r} belongs to Spark's classic API, which a pipeline does not have; use"
            " DataFrames, and the pipeline's configuration for settings"
        )
        return said, condition
    return str(error).removeprefix(f"[{condition}] ").rstrip(), condition


class _NoChannel(grpc.Channel):  # type: ignore[misc]
    """A channel on which nothing can be sent."""

    def _method(self, *_: Any, **__: Any) -> Callable[..., NoReturn]:
        def refuse(*_: Any, **__: Any) -> NoReturn:
            _refuse_analysis()

        return refuse

    unary_unary = unary_stream = stream_unary = stream_stream = _method

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:  # noqa: FBT001, FBT002
        pass

    def unsubscribe(self, callback: Any) -> None:
        pass

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _NoServer(ChannelBuilder):  # type: ignore[misc]
    def toChannel(self) -> grpc.Channel:  # noqa: N802 - pyspark's
        return _NoChannel()

    @property
    def host(self) -> str:
        return "declaring"


class _DeclaringClient(SparkConnectClient):  # type: ignore[misc]
    """Answers what can be answered without a server."""

    def __init__(self, configuration: Mapping[str, str]) -> None:
        super().__init__(_NoServer(), use_reattachable_execute=False)
        self.configuration = dict(configuration)
        self.functions: dict[str, Any] = {}
        self.analyzer: Analyzer | None = None
        self.compute: Compute | None = None

    def config(self, operation: Any) -> Any:
        kind = operation.WhichOneof("op_type")
        known = _DEFAULTS | self.configuration
        if kind == "set" and operation.set.silent:
            return ConfigResult([], [])
        if kind == "set":
            settings = {pair.key: pair.value for pair in operation.set.pairs}
            check_flow_settings(settings, self.configuration, user_location())
            self.configuration.update(settings)
            return ConfigResult([], [])
        if kind == "unset":
            _refuse_mutation("SET_RUNTIME_CONF")
        if kind == "get":
            for key in operation.get.keys:
                if key not in known and not key.startswith("spark.sql."):
                    self._refuse_unknown(key)
            pairs = [(key, known.get(key)) for key in operation.get.keys]
        elif kind == "get_with_default":
            pairs = [
                (pair.key, known.get(pair.key, pair.value if pair.HasField("value") else None))
                for pair in operation.get_with_default.pairs
            ]
        elif kind == "get_option":
            pairs = [(key, known.get(key)) for key in operation.get_option.keys]
        elif kind == "get_all":
            prefix = operation.get_all.prefix
            pairs = [item for item in self.configuration.items() if item[0].startswith(prefix)]
        else:
            pairs = [(key, "false") for key in operation.is_modifiable.keys]
        return ConfigResult(pairs, [])

    def _refuse_unknown(self, key: str) -> NoReturn:
        there = ", ".join(sorted(self.configuration)) or "nothing"
        raise PipelineError(
            f"spark.conf.get({key!r}) finds no such key; the pipeline's configuration holds"
            f" {there}; add it there or give get() a default",
            condition="SQL_CONF_NOT_FOUND",
            location=user_location(),
        )

    def _analyze(self, method: str, **kwargs: Any) -> Any:
        if method == "ddl_parse":
            return _result(parsed=parse_type(kwargs["ddl_string"]))
        if method == "spark_version":
            return _result(spark_version=pyspark.__version__)
        if method == "is_streaming":
            return _result(is_streaming=_is_streaming(kwargs["plan"]))
        if method == "schema" and self.analyzer is not None:
            return _result(schema=self.analyzer(kwargs["plan"].root))
        return _refuse_analysis()

    def _execute_and_fetch_as_iterator(
        self, request: Any, observations: Any, progress: Any = None
    ) -> Iterator[Any]:
        del observations, progress
        root = request.plan.root
        if self.compute is None or not request.plan.HasField("root"):
            _refuse_analysis()
        rows = self.compute(root)
        yield from rows.to_batches() or [pa.RecordBatch.from_pylist([], schema=rows.schema)]

    def execute_command(self, command: Any, *_: Any, **__: Any) -> Any:
        if command.WhichOneof("command_type") == "create_dataframe_view":
            _refuse_mutation("CREATE_OR_REPLACE_TEMP_VIEW")
        _refuse_analysis()

    def register_udf(
        self,
        function: Any,
        return_type: Any,
        name: str | None = None,
        eval_type: int = PythonEvalType.SQL_BATCHED_UDF,
        deterministic: bool = True,  # noqa: FBT001, FBT002 - pyspark's
    ) -> str:
        """Keep a function for SQL; the engine is given it before it computes."""
        assert name is not None
        code = PythonUDF(
            return_type, eval_type, function, f"{sys.version_info.major}.{sys.version_info.minor}"
        )
        function = CommonInlineUserDefinedFunction(name, code, deterministic, [])
        self.functions[name.casefold()] = function.to_plan_udf(self)
        return name

    def register_udtf(self, *_: Any, **__: Any) -> NoReturn:
        _refuse_mutation("REGISTER_UDF")

    register_data_source = register_udtf

    def register_java(self, *_: Any, **__: Any) -> NoReturn:
        _refuse_mutation("REGISTER_JAVA_UDF")

    def close(self) -> None:
        self._closed = True


def _result(**known: Any) -> Any:
    fields = (
        "schema explain_string tree_string is_local is_streaming input_files spark_version parsed"
        " is_same_semantics semantic_hash storage_level ddl_string"
    )
    return AnalyzeResult(**{name: known.get(name) for name in fields.split()})


def _is_streaming(message: Any) -> bool:
    """Whether anything in the plan is read as a stream."""
    if isinstance(message, proto.Read) and message.is_streaming:
        return True
    if isinstance(message, proto.SQL) and reads_stream(message.query):
        return True
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        parts = [value] if hasattr(value, "ListFields") else value
        if any(_is_streaming(part) for part in parts):
            return True
    return False
