"""What went wrong in an engine, said in Proa's own kinds of errors.

An error that Proa itself raises inside an engine's worker (a reader met a broken file, the writer
a full disk) arrives as the kind and with the message it was raised with: see `carried_errors`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from proa.engine.carried_errors import carried_error
from proa.engine.worker_code import lacking_library
from proa.errors import DataError, ProaError, UnavailableError, UserError, one_line

_USERS = frozenset(
    {
        "AnalysisException",
        "ArithmeticException",
        "ArrayIndexOutOfBoundsException",
        "DateTimeException",
        "IllegalArgumentException",
        "NumberFormatException",
        "ParseException",
        "PythonException",
        "SparkUpgradeException",
        "UnsupportedOperationException",
    }
)
_IMPOSSIBLE = re.compile(
    r"watermark|session_window|not (?:yet )?(?:implemented|supported)", re.IGNORECASE
)


_UNPLANNED = re.compile(
    r"^(?:Error during planning|Schema error|Invalid argument error|Internal error|This feature is not"
    r" implemented|Optimizer rule|type_coercion)\b|^No field named|^Unsupported data type in hasher"
    r"|Physical plan does not support|^A null type field may not be|Length spanned by list offsets"
    r"|UNSUPPORTED_DATA_TYPE_FOR_ARROW_CONVERSION|^It is not possible to concatenate arrays"
)
"""What the embedded engine says of a query that it cannot compute, however often it is asked."""
_ITS_AUTHORS = re.compile(r"\s*This issue was likely caused by a bug in DataFusion.*", re.DOTALL)


PYTHON_FAILED = "PYTHON_FAILED"
"""The condition of a UserError that stands for an exception in the user's own Python code."""
_OWN = re.escape(str(Path(__file__).parent.parent))
_OTHERS = re.compile(rf'"(?:spark\.py|<[^"]*>|[^"]*/site-packages/[^"]*|{_OWN}/[^"]*)"')
_STACK = re.compile(r"\s*\n\s*JVM stacktrace:.*", re.DOTALL)
_PLAN = re.compile(r"(line \d+ pos \d+);?\s*\n.*", re.DOTALL)
_SPARKS_NAME = re.compile(
    r"^\[(?:UNRESOLVED_COLUMN|UNRESOLVED_ROUTINE|UNRESOLVED_USING_COLUMN_FOR_JOIN|WRONG_NUM_ARGS)[\w.]*\]"
    r"[^`]*(`[^`]+`(?:\.`[^`]+`)*)"
)
"""The name that Apache Spark says is wrong; the place that it tells is that in a text with other names."""
_SQLSTATE = re.compile(r"\s*SQLSTATE: \w{5}\s*\Z")
_MISTAKE = re.compile(r"SQLSTATE: 42\w{3}")
"""The class of what is wrong with a statement or what it names, in the SQL standard."""


def as_proa_error(error: BaseException) -> ProaError:
    """`error`, raised by a Spark Connect client, as one of Proa's kinds."""
    if isinstance(error, ProaError):
        return error
    text = str(error)
    names = {cls.__name__ for cls in type(error).__mro__}
    in_python = "PythonException" in names
    own = carried_error(text) or lacking_library(text)
    if own is None and not in_python:
        own = data_error(text) or _known_mistake(text)
    if own is not None:
        return own
    message = _without_traces(text) or type(error).__name__
    if in_python:
        return UserError(_python_failed(message), condition=PYTHON_FAILED)
    if names & _USERS or _MISTAKE.search(message):
        if (said := reword(message)) is not None:
            return _about(UserError(said[1], condition=said[0]), said[2])
        condition = getattr(error, "getCondition", lambda: None)() or "ENGINE_REFUSED"
        remedy = (
            f"; this engine lacks it: write it in another way, {_SPARK_TOO}"
            if _IMPOSSIBLE.search(message)
            else ""
        )
        refused = UserError(f"the engine refused the query: {message}{remedy}", condition=condition)
        named = _SPARKS_NAME.search(message)
        return _about(refused, named[1].replace("`", "") if named else "")
    return _failure(getattr(error, "details", lambda: None)() or message)


def _failure(details: str) -> ProaError:
    """What is no mistake of the user's. `details` are gRPC's, whose errors are many lines."""
    if _UNPLANNED.search(details) is None:
        return UnavailableError(f"the engine failed: {details}", condition="ENGINE_FAILED")
    said = one_line(_ITS_AUTHORS.sub("", details)).rstrip(".")
    return UserError(
        f"the engine cannot compute the query: {said}; write it in another way, {_SPARK_TOO}",
        condition="ENGINE_REFUSED",
    )


def _without_traces(text: str) -> str:
    """Return what an engine says without what only its own developers read.

    Apache Spark adds the analyzed plan behind the place of an error, and its server's stack trace.
    """
    return _PLAN.sub(r"\1", _STACK.sub("", text)).strip()


def _python_failed(message: str) -> str:
    """What went wrong, where in the user's code, and the way there without other people's code."""
    lines = [line.strip() for line in _SQLSTATE.sub("", message).splitlines() if line.strip()]
    frames = [
        (line, code)
        for line, code in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith('File "') and not _OTHERS.search(line)
    ]
    what = lines[-1] if lines else message
    said = f"Python code of the pipeline failed in the engine: {what}"
    found = re.match(r'File "(.*)", line (\d+)', frames[-1][0]) if frames else None
    if found is not None:
        said += f" ({found.group(1)}:{found.group(2)})"
    way = "".join(f"\n  {line}\n    {code}" for line, code in frames)
    return said + way


_SPARK_TOO = "or use an Apache Spark Connect server (engine: {remote: sc://host:15002})"
_FUNCTIONS = {
    "input_file_name": "_metadata.file_path",
    "input_file_block_start": "_metadata.file_block_start",
    "input_file_block_length": "_metadata.file_block_length",
}
"""Functions that others have taken the place of."""
_WINDOW_FUNCTIONS = frozenset(
    {"row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead"}
)
_WHO_ASKS = {"is_member", "is_account_group_member"}
_NAME = re.compile(r'Identifier\("((?:[^"\\]|\\.)*)"\)')
_MISSING = re.compile(r"attribute ObjectName\((\[.*?\])\) is missing from the schema")
_AMBIGUOUS = re.compile(r"ambiguous attribute: ObjectName\((\[.*?\])\)")
_STAR = re.compile(r"cannot resolve wildcard: ObjectName\((\[.*?\])\)")
_FUNCTION = re.compile(
    r"^(?:unknown )?function: (\w+)$|^\[UNRESOLVED_ROUTINE\] Cannot resolve routine `(\w+)`"
)
_SOURCE = re.compile(
    r"No data source found for: (\w+)|\[DATA_SOURCE_NOT_FOUND\].*data source: (\w+)"
)
_SYNTAX = re.compile(r"^invalid argument: found (.+?)(?: at \d+:\d+)? expected ", re.DOTALL)


def _missing_function(name: str, remedy: str) -> tuple[str, str]:
    """Return the condition and the sentence for a function that the engine has not.

    `remedy` is for one whose name says no more.
    """
    if name.lower() in _WHO_ASKS:
        return (
            "UNSUPPORTED_FEATURE",
            (
                f"{name}() depends on who asks, and a table's rows are the same for all: write a table"
                " for each group, and grant each group its own"
            ),
        )
    if name.lower().startswith("ai_"):
        return (
            "UNSUPPORTED_FEATURE",
            (
                f"{name}() asks a model, whose answers two regions cannot both get; ask it before the"
                " data lands, and let its answers land as data"
            ),
        )
    if name.lower() in _WINDOW_FUNCTIONS:
        return (
            "WINDOW_FUNCTION_WITHOUT_OVER_CLAUSE",
            (
                f"{name}() is computed over a window, and names none; write"
                " OVER (PARTITION BY ... ORDER BY ...) behind it"
            ),
        )
    if instead := _FUNCTIONS.get(name.lower()):
        remedy = f"read {instead}"
    return ("UNRESOLVED_ROUTINE", f"the engine has no function {name}(); {remedy}")


def _missing_format(name: str) -> str:
    if name == "delta":
        return (
            "the Spark server has no Delta Lake, which reads tables whose files have deletion"
            " vectors or mapped columns; start it with Delta Lake's package for its version"
            " (for Spark 4.2: --packages io.delta:delta-spark_4.2_2.13:4.4.0)"
        )
    return (
        f"the engine reads no format {name!r}; land the data as json, csv, parquet, avro or orc"
        f" (proa capture does so for PostgreSQL), {_SPARK_TOO}"
    )


@dataclass(frozen=True)
class _Mistake:
    """A mistake in a query, as the embedded engine says it."""

    pattern: str
    condition: str
    """Spark's name of it."""
    said: str
    """The sentence for people; takes the groups of the pattern."""
    about: str = ""
    """The name that it is about; takes the groups too."""


_KNOWN_MISTAKES = (
    _Mistake(
        r"explode should only be called with a list or map",
        condition="DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
        said="explode() takes an array or a map and is given something else; make one of it first"
        " (split, from_json, array)",
        about="explode",
    ),
    _Mistake(
        r"invalid argument: (\w+) expects List or Map as argument",
        condition="DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
        said="{0}() takes an array or a map and is given something else; make one of it first"
        " (split, from_json, array)",
        about="{0}",
    ),
    _Mistake(
        r"Cannot create filter with non-boolean predicate",
        condition="DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN",
        said="a condition is a value that is neither true nor false; write a comparison (... > 0)",
    ),
    _Mistake(
        r"^\[UNRESOLVED_COLUMN\] Cannot find column (\w+)",
        condition="UNRESOLVED_USING_COLUMN_FOR_JOIN",
        said="a join or dropDuplicates() is by the column {0!r}, which is not there, or not on both sides;"
        " look at its spelling, or join by a condition (ON a.x = b.y)",
        about="{0}",
    ),
    _Mistake(
        r"invalid argument: (?:Could not resolve column|right column not found): (.+)",
        condition="UNRESOLVED_COLUMN",
        said="there is no column {0!r} on one side or in what is read; look at its spelling, or let"
        " unionByName() fill it (allowMissingColumns=True)",
        about="{0}",
    ),
    _Mistake(
        r"invalid argument: No columns specified for drop na",
        condition="UNRESOLVED_COLUMN",
        said="dropna() names no column that is there; look at the spelling of its subset",
    ),
    _Mistake(
        r"^qualified function name",
        condition="UNRESOLVED_ROUTINE",
        said="the query calls a function by its full name (catalog.schema.name), and no catalog has functions"
        " here; register it in a Python file (spark.udf.register) and call it by its last name",
    ),
    _Mistake(
        r"(?:different number of columns: left|same number of columns\. Left) (?:has|is) (\d+)(?: columns?)?"
        r"(?: whereas|,| and) right (?:has|is) (\d+)",
        condition="NUM_COLUMNS_MISMATCH",
        said="two queries that are put together (UNION, INTERSECT, EXCEPT) have {0} and {1} columns; give"
        " both the same columns",
    ),
    _Mistake(
        r'No field named \S*"#\d+"\.[^\n]*\n?\s*Valid fields are'
        r"|Aggregate requires at least one grouping or aggregate expression",
        condition="MISSING_AGGREGATION",
        said="a column is neither grouped nor aggregated, and others are; name it in GROUP BY, or take one"
        " value of it (any_value)",
    ),
    _Mistake(
        r"No function matches the given name and argument types '(\w+)\(",
        condition="DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
        said="{0}() is given values of other types than it takes, or too few of them; cast them",
        about="{0}",
    ),
    _Mistake(
        r"missing or ambiguous field: (\w+)",
        condition="FIELD_NOT_FOUND",
        said="a struct has no field {0!r}; look at its spelling",
        about="{0}",
    ),
    _Mistake(
        r"Aggregate function calls cannot be nested",
        condition="NESTED_AGGREGATE_FUNCTION",
        said="an aggregate stands inside of another one; compute the inner one in a query of its own",
    ),
    _Mistake(
        r"Physical plan does not support logical expression AggregateFunction",
        condition="INVALID_WHERE_CONDITION",
        said="an aggregate stands where rows are chosen one by one (WHERE); choose groups with HAVING",
    ),
    _Mistake(
        r"Physical plan does not support logical expression WindowFunction",
        condition="WINDOW_FUNCTION_NOT_ALLOWED_IN_CLAUSE",
        said="a window function stands where rows are chosen (WHERE); choose by its value with QUALIFY, or"
        " in a query around this one",
    ),
    _Mistake(
        r"invalid argument: (?:Date|Time|Timestamp)Value",
        condition="INVALID_TYPED_LITERAL",
        said="a literal is no day or time that there is; write DATE '2026-01-31' or"
        " TIMESTAMP '2026-01-31 12:00:00'",
    ),
    _Mistake(
        r"Scalar subquery returned more than one row",
        condition="SCALAR_SUBQUERY_TOO_MANY_ROWS",
        said="a query that stands for one value yields several rows; let it yield one (max, any_value), or"
        " join it",
    ),
    _Mistake(
        r"[sS]ubquery should only return one column, but found (\d+)",
        condition="INVALID_SUBQUERY_EXPRESSION",
        said="a query that stands for one value has {0} columns; let it have one",
    ),
    _Mistake(
        r"Inconsistent data length across values list: got (\d+) values in row \d+ but expected (\d+)",
        condition="INVALID_INLINE_TABLE.NUM_COLUMNS_MISMATCH",
        said="VALUES has rows of {1} and of {0} values; give all of them the same number",
    ),
    _Mistake(
        r"Cannot resolve column position (\d+)\. Valid positions are 1 to (\d+)",
        condition="ORDER_BY_POS_OUT_OF_RANGE",
        said="ORDER BY or GROUP BY names column number {0}, and the query has {1}; write its name",
    ),
)


def _known_mistake(message: str) -> UserError | None:
    for mistake in _KNOWN_MISTAKES:
        found = re.search(mistake.pattern, message)
        if found is not None:
            error = UserError(mistake.said.format(*found.groups()), condition=mistake.condition)
            return _about(error, mistake.about.format(*found.groups()))
    return None


def _about(error: UserError, name: str) -> UserError:
    error.about = name
    return error


def reword(message: str) -> tuple[str, str, str] | None:
    """(Spark's condition, a sentence, the name that it is about) for what an engine says in its own way."""
    if (said := _about_column(message)) is not None:
        return said
    if found := _FUNCTION.match(message):
        embedded, apache = found.groups()
        remedy = "look at its spelling" + (f", {_SPARK_TOO}" if embedded else "")
        return (*_missing_function(embedded or apache, remedy), embedded or apache)
    if found := _SOURCE.search(message):
        return ("DATA_SOURCE_NOT_FOUND", _missing_format(found.group(1) or found.group(2)), "")
    if found := _SYNTAX.match(message):
        what = f"the engine cannot read the query at {found.group(1)!r}"
        return ("PARSE_SYNTAX_ERROR", what, "")
    return None


def _about_column(message: str) -> tuple[str, str, str] | None:
    if found := _MISSING.search(message):
        names = _NAME.findall(found.group(1))
        whole, under = ".".join(names), "_".join(names)
        hint = (
            f" (behind a join by column names write {names[-1]!r} alone, and rename a column that"
            f" has dots in its own name: withColumnRenamed({whole!r}, {under!r}))"
            if len(names) > 1
            else ""
        )
        return (
            "UNRESOLVED_COLUMN",
            (
                f"there is no column {whole!r} here; look at its spelling and at what the query"
                f" reads{hint}"
            ),
            whole,
        )
    if found := _AMBIGUOUS.search(message):
        name = ".".join(_NAME.findall(found.group(1)))
        return (
            "AMBIGUOUS_REFERENCE",
            f"the column {name!r} may be that of several tables; write the table's name before it",
            name,
        )
    if found := _STAR.search(message):
        name = ".".join(_NAME.findall(found.group(1)))
        return (
            "CANNOT_RESOLVE_STAR_EXPAND",
            (
                f"{name}.* names neither a table of the query nor a struct; look at the spelling and"
                f" at the type of {name!r}"
            ),
            name,
        )
    return None


_CONDITIONS = (
    (
        r"Cannot cast (?:string|value) .* to value of|[Ii]nvalid (?:timestamp|date): ",
        "CAST_INVALID_INPUT",
    ),
    (r"Can't cast value .* to type", "CAST_OVERFLOW"),
    (
        r"too large to store in a Decimal|too small to store in a Decimal",
        "NUMERIC_VALUE_OUT_OF_RANGE",
    ),
    (r"[Dd]ivide by zero|[Dd]ivision by zero", "DIVIDE_BY_ZERO"),
    (r"[Rr]emainder by zero", "REMAINDER_BY_ZERO"),
    (r"[Aa]rithmetic overflow|Overflow happened|[Ii]nteger overflow", "ARITHMETIC_OVERFLOW"),
    (r"element_at: the index is out of bounds", "INVALID_ARRAY_INDEX_IN_ELEMENT_AT"),
)
"""What engines say of rows that they cannot compute, and Spark's name for it."""
_CSV_WIDTH = re.compile(r"Csv error: incorrect number of fields for line \d+")
_SPARKS = re.compile(
    r"\[((?:CAST_INVALID_INPUT|CAST_OVERFLOW|NUMERIC_VALUE_OUT_OF_RANGE|DIVIDE_BY_ZERO"
    r"|REMAINDER_BY_ZERO|ARITHMETIC_OVERFLOW|INVALID_ARRAY_INDEX|CANNOT_PARSE_TIMESTAMP)[A-Z_.]*)\]"
)


def data_error(message: str) -> DataError | None:
    """The DataError that an engine's message stands for. Returns None if it is about something else.

    Such an error is in the data: another try fails as well. Engines say it in words of their own, and
    some as if they themselves had failed.
    """
    if _CSV_WIDTH.search(message):
        return DataError(
            "a CSV file has records of more or fewer values than its first line; give the reader a schema"
            " (spark.read.schema(...)), with which values that are missing are NULL",
            condition="MALFORMED_RECORD_IN_PARSING",
        )
    condition = _condition(message)
    if condition is None:
        return None
    said = re.sub(r"^(?:[A-Za-z]+ error: |\[[A-Z_.]+\] )+", "", one_line(message)).rstrip(".")
    return DataError(
        f"a row cannot be computed: {said}; mend the data, or let the query yield NULL for it"
        " (try_cast, try_divide, try_element_at)",
        condition=condition,
    )


def _condition(message: str) -> str | None:
    spark = _SPARKS.search(message)
    if spark is not None:
        return spark[1]
    return next((name for pattern, name in _CONDITIONS if re.search(pattern, message)), None)
