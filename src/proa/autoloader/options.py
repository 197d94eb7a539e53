"""What a user may say about files: the options of `cloudFiles` and `read_files`, checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn

from proa.autoloader.hints import Hint, parse_hints
from proa.errors import PipelineError
from proa.formats.reader_options import (
    CORRUPT_COLUMN,
    MAX_COLUMNS,
    MAX_RECORD,
    RESCUED_COLUMN,
    WHOLE_FORMATS,
    Evolution,
    Mode,
    ReaderOptions,
)
from proa.graph.leaves import FilesLeaf
from proa.storage import absolute
from proa.text import suggestion
from proa.times import parse_duration, parse_moment

if TYPE_CHECKING:
    from proa.graph import Graph

FORMATS = ("avro", "binaryFile", "csv", "json", "orc", "parquet", "text")
"""The formats that are read; `xml` is refused by name."""


@dataclass(frozen=True)
class Options:
    """Everything a user said about one source of files."""

    reader: ReaderOptions
    infer_types: bool = False
    hints: tuple[Hint, ...] = ()
    max_files: int = 1000
    max_bytes: int | None = None
    include_existing: bool = True
    partition_columns: tuple[str, ...] | None = None
    """None: whatever the folders' names say; empty: none."""
    recursive: bool = False
    """Folders are always searched in depth; True only keeps their names from making columns."""
    name_glob: str | None = None
    modified_after: datetime | None = None
    modified_before: datetime | None = None
    max_age: float | None = None
    """Seconds; older files are not looked at."""
    sample_files: int = 1000
    sample_bytes: int = 50 * 1024**3
    metadata: frozenset[str] | None = None
    """What is asked of `_metadata`: those of `PLACE_NAMES` that are, and `WHOLE`. None: nothing."""


def parse(written: Mapping[str, str], *, schema_given: bool) -> Options:
    """Read the options as a user wrote them, with or without `cloudFiles.`, in any case.

    Raises PipelineError that names the option, and the nearest one when it is unknown.
    """
    values: dict[str, str] = {}
    for key, value in written.items():
        values[_bare(key).lower()] = str(value)
    get = _Values(values)
    if get.text("format", "").strip():
        _format(get)  # options of a format that is refused are no mistakes
    if _boolean("validateOptions", values.get("validateoptions", "true")):
        _refuse_unknown(written)
    _refuse_unsupported(values)
    reader = _reader_options(get, schema_given=schema_given)
    partitions = values.get("partitioncolumns")
    return Options(
        reader=reader,
        infer_types=get.boolean("inferColumnTypes", get.boolean("inferSchema", False)),
        hints=parse_hints(values.get("schemahints", "")),
        max_files=get.number("maxFilesPerTrigger", 1000),
        max_bytes=get.optional("maxBytesPerTrigger", parse_bytes),
        include_existing=get.boolean("includeExistingFiles", True),
        partition_columns=None
        if partitions is None
        else tuple(name.strip() for name in partitions.split(",") if name.strip()),
        recursive=get.boolean("recursiveFileLookup", False),
        name_glob=values.get("pathglobfilter", values.get("filenamepattern")),
        modified_after=get.optional("modifiedAfter", parse_time),
        modified_before=get.optional("modifiedBefore", parse_time),
        max_age=get.optional("maxFileAge", parse_duration),
        sample_files=get.number("schemaInference.sampleSize.numFiles", 1000),
        sample_bytes=get.optional("schemaInference.sampleSize.numBytes", parse_bytes)
        or 50 * 1024**3,
        metadata=_asked_metadata(values.get("proa.metadata", "false")),
    )


def _asked_metadata(text: str) -> frozenset[str] | None:
    """The names in a list of them; `true` asks for what Spark has, `false` for nothing."""
    names = frozenset(name.strip().lower() for name in text.split(","))
    return None if names == {"false"} else names - {"true"}


def check_options(graph: Graph) -> None:
    """Raise PipelineError, with the query's place, for the first option that is wrong."""
    from proa.pipelines.ddl import schema_of_text  # with sqlglot, which a switchover does without

    for node in graph.datasets.values():
        for flow in node.flows:
            for leaf in flow.plan.leaves:
                if isinstance(leaf, FilesLeaf):
                    try:
                        options = parse(leaf.options, schema_given=leaf.schema is not None)
                        check_bad_path(options, leaf.path)
                        if leaf.schema is not None:
                            schema_of_text(leaf.schema)
                    except PipelineError as error:
                        error.location = error.location or flow.flow.location
                        raise


def check_bad_path(options: Options, path: str) -> None:
    """Raise PipelineError if bad records would be written where files are read."""
    folder = options.reader.bad_records_path
    base = path if not (glob := re.search(r"[*?{\[]", path)) else path[: glob.start()]
    base = base if glob is None else base.rpartition("/")[0]
    if folder and f"{absolute(folder)}/".startswith(f"{absolute(base)}/"):
        raise PipelineError(
            f"badRecordsPath {folder!r} lies in the folder {path!r} that is read: what is written"
            " there would be read again; name a folder elsewhere",
            condition="CF_INVALID_OPTION",
        )


def parse_bytes(text: str) -> int:
    """Bytes as Spark spells them: "1048576", "10g", "512 MB"."""
    match = re.fullmatch(r"\s*(\d+)\s*([kmgtp]?)(?:i?b)?\s*", text.lower())
    if not match or int(match.group(1)) == 0:
        raise ValueError("a number of bytes such as '512m' or '10g'")
    return int(match.group(1)) << (10 * " kmgtp".index(match.group(2) or " "))


def parse_time(text: str) -> datetime:
    """A moment, in UTC unless it says otherwise."""
    try:
        return parse_moment(text.strip()).astimezone(UTC)
    except ValueError:
        raise ValueError("a time such as '2026-01-31T00:00:00'") from None


class _Values:
    """Typed look-ups that say which option is wrong."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str, default: str) -> str:
        return self._values.get(name.lower(), default)

    def boolean(self, name: str, default: bool) -> bool:  # noqa: FBT001 - a default, as in dict.get
        value = self._values.get(name.lower())
        return default if value is None else _boolean(name, value)

    def number(self, name: str, default: int) -> int:
        value = self._values.get(name.lower())
        if value is None:
            return default
        if not re.fullmatch(r"\s*\d{1,15}\s*", value) or int(value) == 0:
            _refuse(name, value, "a positive whole number")
        return int(value)

    def optional(self, name: str, convert: Callable[[str], Any]) -> Any:
        value = self._values.get(name.lower())
        try:
            return None if value is None else convert(value)
        except ValueError as error:
            return _refuse(name, str(value), str(error))

    def choice(self, name: str, default: str, choices: type[StrEnum]) -> Any:
        value = self._values.get(name.lower(), default)
        found = {choice.value.lower(): choice for choice in choices}
        if value.strip().lower() in found:
            return found[value.strip().lower()]
        return _refuse(name, value, "one of " + ", ".join(choice.value for choice in choices))


def _reader_options(get: _Values, *, schema_given: bool) -> ReaderOptions:
    kind = _format(get)
    default = Evolution.NONE if schema_given else Evolution.ADD
    evolution: Evolution = get.choice("schemaEvolutionMode", default.value, Evolution)
    if schema_given and evolution in {Evolution.ADD, Evolution.WIDEN}:
        raise PipelineError(
            f"schemaEvolutionMode {evolution.value!r} cannot be used when a schema is given;"
            " leave the schema out and pin types with schemaHints, or use 'rescue',"
            " 'failOnNewColumns' or 'none'",
            condition="CF_ADD_NEW_NOT_SUPPORTED",
        )
    bad_path = get.text("badRecordsPath", "").strip()
    if bad_path and get.text("mode", ""):
        raise PipelineError(
            "badRecordsPath and mode cannot be used together: what is malformed is written to"
            " badRecordsPath; leave mode out",
            condition="CF_INVALID_OPTION",
        )
    rescued: str | None = get.text("rescuedDataColumn", "").strip() or None
    rescues = get.boolean("proa.rescue", True)
    if rescued is None and rescues and (not schema_given or evolution is Evolution.RESCUE):
        rescued = RESCUED_COLUMN
    return ReaderOptions(
        format=kind,
        mode=Mode.DROP if bad_path else get.choice("mode", Mode.PERMISSIVE.value, Mode),
        evolution=evolution,
        rescued_column=None if kind in WHOLE_FORMATS else rescued,
        corrupt_column=get.text("columnNameOfCorruptRecord", CORRUPT_COLUMN),
        case_sensitive=get.boolean("readerCaseSensitive", True),
        ignore_corrupt=get.boolean("ignoreCorruptFiles", False),
        ignore_missing=get.boolean("ignoreMissingFiles", False),
        bad_records_path=bad_path,
        allow_overwrites=get.boolean("allowOverwrites", False),
        multi_line=get.boolean("multiLine", False),
        encoding=_encoding(get),
        line_separator=_line_separator(get),
        any_line_end=not get.text("lineSep", ""),
        # Inference takes the first line for names, as Auto Loader does; a given schema does not.
        header=get.boolean("header", not schema_given),
        by_position=get.boolean("proa.byPosition", False),
        check_header=not get.boolean("enforceSchema", True),
        delimiter=_character(get, "sep", get.text("delimiter", ",")),
        quote=_character(get, "quote", '"'),
        escape=_character(get, "escape", "\\"),
        comment=_character(get, "comment", ""),
        null_value=get.text("nullValue", ""),
        empty_value=get.text("emptyValue", ""),
        trim_left=get.boolean("ignoreLeadingWhiteSpace", False),
        trim_right=get.boolean("ignoreTrailingWhiteSpace", False),
        whole_text=get.boolean("wholetext", False),
        max_record=get.optional("maxRecordBytes", parse_bytes) or MAX_RECORD,
        max_columns=get.number("maxColumns", MAX_COLUMNS),
        avro_schema=_avro_schema(get),
        pinned=frozenset(hint.path[0].lower() for hint in parse_hints(get.text("schemaHints", ""))),
        date_format=_pattern(get.text("dateFormat", "")),
        timestamp_format=_pattern(get.text("timestampFormat", "")),
    )


def _format(get: _Values) -> str:
    kind = get.text("format", "").strip().lower()
    if not kind:
        raise PipelineError(
            "cloudFiles.format is not set, and no file's name tells it; say which format the files have: "
            + ", ".join(FORMATS),
            condition="CF_MISSING_FORMAT",
        )
    if kind not in {name.lower() for name in FORMATS}:
        known = kind == "xml"
        raise PipelineError(
            f"cloudFiles.format {kind!r} "
            + ("cannot be read yet" if known else f"is not a format{suggestion(kind, FORMATS)}")
            + "; the formats are "
            + ", ".join(FORMATS),
            condition="CF_UNSUPPORTED_FORMAT",
        )
    return kind


def _encoding(get: _Values) -> str:
    import codecs

    name = get.text("encoding", get.text("charset", "utf-8")).strip()
    try:
        return codecs.lookup(name).name
    except LookupError:
        _refuse("encoding", name, "the name of a character encoding such as 'UTF-8'")


def _line_separator(get: _Values) -> str:
    value = get.text("lineSep", "\n").replace("\\r", "\r").replace("\\n", "\n")
    if value == "\r\n":
        return "\n"
    if len(value.encode()) != 1:
        _refuse("lineSep", value, "one ASCII character, or '\\r\\n'")
    return value


def _avro_schema(get: _Values) -> str:
    text = get.text("avroSchema", "").strip()
    if text:
        import json

        from proa.formats.avro_schema import plain_schema

        try:
            plain_schema(json.loads(text))
        except (ValueError, KeyError, TypeError, RecursionError):
            _refuse("avroSchema", text, "the JSON of an Avro schema that is a record")
    return text


def _character(get: _Values, name: str, default: str) -> str:
    value = get.text(name, default)
    value = {"\\t": "\t", "\\u0001": "\x01", "\\0": "\0"}.get(value, value)
    empty_allowed = name in {"quote", "escape", "comment"}
    if len(value.encode()) > 1 or (not value and not empty_allowed):
        _refuse(name, value, "one ASCII character")
    return "" if value == "\0" else value


def _pattern(text: str) -> str | None:
    """The pattern of dates or times, when it is one that can be read."""
    from proa.formats.date_texts import to_strptime

    if text:
        to_strptime(text)
    return text or None


def _boolean(name: str, value: str) -> bool:
    if value.strip().lower() not in {"true", "false"}:
        _refuse(name, value, "'true' or 'false'")
    return value.strip().lower() == "true"


def _refuse(name: str, value: str, wanted: str) -> NoReturn:
    raise PipelineError(
        f"the option {name!r} is {value!r}; it must be {wanted}", condition="CF_INVALID_OPTION"
    )


def _bare(key: str) -> str:
    return key[len("cloudFiles.") :] if key.lower().startswith("cloudfiles.") else key


def _refuse_unknown(written: Mapping[str, str]) -> None:
    lowered = {name.lower() for name in KNOWN}
    for key in written:
        if _bare(key).lower() not in lowered and not key.lower().startswith(_PASSED_ON):
            raise PipelineError(
                f"{key!r} is not an option of the Auto Loader{suggestion(_bare(key), KNOWN)};"
                " mend its name, or set cloudFiles.validateOptions to false to ignore it",
                condition="CF_UNKNOWN_OPTION_KEYS_ERROR",
            )


def _refuse_unsupported(values: Mapping[str, str]) -> None:
    clean = values.get("cleansource", "OFF").strip().upper()
    if clean != "OFF":
        raise PipelineError(
            f"cloudFiles.cleanSource {clean!r} is refused: the other region, a full refresh and a"
            " recovery read the same files again; set it to OFF",
            condition="CF_UNSUPPORTED_OPTION",
        )
    for name, only in ONLY.items():
        value = values.get(name.lower())
        if value and value.strip().lower() not in {text.lower() for text in only}:
            raise PipelineError(
                f"the option {name!r} with the value {value!r} is not supported"
                + (f"; leave it out or set it to {only[0]!r}" if only else "; leave it out")
                + (_KEPT if name.startswith("allow") else ""),
                condition="CF_UNSUPPORTED_OPTION",
            )


_KEPT = f". What cannot be read is kept in the column {RESCUED_COLUMN!r}"

ONLY: dict[str, tuple[str, ...]] = {
    "allowBackslashEscapingAnyCharacter": ("false",),
    "allowComments": ("false",),
    "allowNonNumericNumbers": ("true",),
    "allowNumericLeadingZeros": ("false",),
    "allowSingleQuotes": ("false",),
    "allowUnquotedControlChars": ("false",),
    "allowUnquotedFieldNames": ("false",),
    "charToEscapeQuoteEscaping": (),
    "enableStableIdentifiersForUnionType": ("false",),
    "ignoreExtension": ("true",),
    "positionalFieldMatching": ("false",),
    "recursiveFieldMaxDepth": ("-1", "0"),
    "datetimeRebaseMode": ("CORRECTED", "EXCEPTION"),
    "dropFieldIfAllNull": ("false",),
    "inferTimestamp": ("false",),
    "int96RebaseMode": ("CORRECTED", "EXCEPTION"),
    "locale": ("en-US",),
    "mergeSchema": ("true",),
    "nanValue": ("NaN",),
    "negativeInf": ("-Inf",),
    "positiveInf": ("Inf",),
    "prefersDecimal": ("false",),
    "primitivesAsString": ("false",),
    "samplingRatio": ("1.0", "1"),
    "singleVariantColumn": (),
    "skipRows": ("0",),
    "timeZone": ("UTC", "Etc/UTC"),
    "timestampNTZFormat": (),
    "unescapedQuoteHandling": ("STOP_AT_DELIMITER",),
}
"""Options of Spark's that are taken only with the values that describe what happens anyway."""

_PASSED_ON = ("fs.", "spark.", "pathrewrites", "cloudfiles.resourcetag", "resourcetag")

KNOWN = (
    # discovery
    "format",
    "allowOverwrites",
    "includeExistingFiles",
    "maxFilesPerTrigger",
    "maxBytesPerTrigger",
    "maxFileAge",
    "pathGlobFilter",
    "fileNamePattern",
    "recursiveFileLookup",
    "modifiedAfter",
    "modifiedBefore",
    "ignoreCorruptFiles",
    "ignoreMissingFiles",
    "partitionColumns",
    "cleanSource",
    "cleanSource.retentionDuration",
    "cleanSource.moveDestination",
    "validateOptions",
    "useStrictGlobber",
    # how Databricks finds files; Proa lists, with the same result
    "backfillInterval",
    "useIncrementalListing",
    "useNotifications",
    "useManagedFileEvents",
    "listOnStart",
    "fetchParallelism",
    "queueUrl",
    "region",
    "connectionString",
    "subscriptionId",
    "tenantId",
    "clientId",
    "clientSecret",
    "resourceGroup",
    "projectId",
    "roleArn",
    # schema
    "schemaLocation",
    "schemaHints",
    "schemaEvolutionMode",
    "inferColumnTypes",
    "inferSchema",
    "rescuedDataColumn",
    "readerCaseSensitive",
    "columnNameOfCorruptRecord",
    "schemaInference.sampleSize.numFiles",
    "schemaInference.sampleSize.numBytes",
    "mergeSchema",
    "enforceSchema",
    "samplingRatio",
    "singleVariantColumn",
    # formats
    "mode",
    "multiLine",
    "encoding",
    "charset",
    "lineSep",
    "locale",
    "timeZone",
    "dateFormat",
    "timestampFormat",
    "timestampNTZFormat",
    "header",
    "sep",
    "delimiter",
    "quote",
    "escape",
    "comment",
    "nullValue",
    "emptyValue",
    "nanValue",
    "positiveInf",
    "negativeInf",
    "maxColumns",
    "maxRecordBytes",
    "maxCharsPerColumn",
    "ignoreLeadingWhiteSpace",
    "ignoreTrailingWhiteSpace",
    "charToEscapeQuoteEscaping",
    "unescapedQuoteHandling",
    "skipRows",
    "primitivesAsString",
    "prefersDecimal",
    "inferTimestamp",
    "dropFieldIfAllNull",
    "allowComments",
    "allowUnquotedFieldNames",
    "allowSingleQuotes",
    "allowNumericLeadingZeros",
    "allowBackslashEscapingAnyCharacter",
    "allowUnquotedControlChars",
    "allowNonNumericNumbers",
    "badRecordsPath",
    "wholetext",
    "avroSchema",
    "enableStableIdentifiersForUnionType",
    "ignoreExtension",
    "positionalFieldMatching",
    "recursiveFieldMaxDepth",
    "datetimeRebaseMode",
    "int96RebaseMode",
    "compression",
    "proa.byPosition",
    "proa.metadata",
    "proa.rescue",
)
"""Every option's name without the prefix `cloudFiles.`."""
