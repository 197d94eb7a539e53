"""Options: both spellings, exact values, and errors that help."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql.types import StructType

from proa.autoloader.hints import apply, parse_hints
from proa.autoloader.options import KNOWN, parse, parse_bytes
from proa.errors import PipelineError, ProaError
from proa.formats.reader_options import Evolution

JSON = {"cloudFiles.format": "json"}


def test_defaults_are_auto_loaders():
    options = parse(JSON, schema_given=False)
    assert (options.max_files, options.max_bytes) == (1000, None)
    assert options.include_existing
    assert not options.infer_types
    assert options.reader.evolution is Evolution.ADD
    assert options.reader.rescued_column == "_rescued_data"

    given = parse(JSON, schema_given=True)
    assert given.reader.evolution is Evolution.NONE
    assert given.reader.rescued_column is None


@pytest.mark.parametrize("prefix", ["cloudFiles.", "", "CLOUDFILES."])
def test_every_option_may_be_spelled_with_or_without_prefix_in_any_case(prefix):
    options = parse(
        {
            f"{prefix}FORMAT": "csv",
            f"{prefix}maxBytesPerTrigger": "10g",
            f"{prefix}schemaEvolutionMode": "RESCUE",
            f"{prefix}partitionColumns": "a, b",
            f"{prefix}modifiedAfter": "2026-01-01T00:00:00+01:00",
        },
        schema_given=False,
    )
    assert options.max_bytes == 10 * 2**30
    assert options.reader.evolution is Evolution.RESCUE
    assert options.partition_columns == ("a", "b")
    assert options.modified_after == datetime(2025, 12, 31, 23, tzinfo=UTC)


def test_an_unknown_option_suggests_the_nearest_name_unless_told_to_ignore_it():
    written = {**JSON, "cloudFiles.maxFilePerTriger": "1"}
    with pytest.raises(PipelineError, match="did you mean 'maxFilesPerTrigger'") as failed:
        parse(written, schema_given=False)
    assert failed.value.condition == "CF_UNKNOWN_OPTION_KEYS_ERROR"

    assert parse({**written, "cloudFiles.validateOptions": "false"}, schema_given=False)


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("cloudFiles.format", "jsn", "did you mean 'json'"),
        ("cloudFiles.format", "xml", "cannot be read yet"),
        ("cloudFiles.maxFilesPerTrigger", "0", "positive"),
        ("cloudFiles.maxFilesPerTrigger", "many", "positive"),
        ("cloudFiles.maxBytesPerTrigger", "10 elephants", "10g"),
        ("cloudFiles.includeExistingFiles", "yes", "'true' or 'false'"),
        ("cloudFiles.schemaEvolutionMode", "add", "addNewColumns"),
        ("cloudFiles.maxFileAge", "old", "90 days"),
        ("cloudFiles.cleanSource", "DELETE", "other region"),
        ("cloudFiles.schemaHints", "id", "'id'"),
        ("cloudFiles.schemaHints", "id wrong<type", "'id wrong<type'"),
        ("modifiedBefore", "yesterday", "2026"),
        ("sep", "||", "one ASCII character"),
        ("mode", "LOOSE", "PERMISSIVE"),
        ("encoding", "klingon", "UTF-8"),
        ("lineSep", "ab", "one ASCII character"),
        ("singleVariantColumn", "v", "not supported"),
        ("allowComments", "true", "set it to 'false'"),
        ("mergeSchema", "false", "set it to 'true'"),
        ("datetimeRebaseMode", "LEGACY", "set it to 'CORRECTED'"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(option, value, wanted):
    with pytest.raises(PipelineError) as failed:
        parse({**JSON, option: value}, schema_given=False)
    assert wanted in str(failed.value)


def test_a_missing_format_is_asked_for():
    with pytest.raises(PipelineError, match=r"cloudFiles\.format is not set"):
        parse({}, schema_given=False)


@given(st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=9), st.text(max_size=12)))
def test_no_option_makes_it_stumble(written):
    with contextlib.suppress(ProaError):
        parse(written, schema_given=False)


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("2k", 2048), ("3 MB", 3 << 20), ("1GiB", 1 << 30), ("1t", 1 << 40), ("7b", 7)],
)
def test_bytes_are_spelled_as_in_spark(text, number):
    assert parse_bytes(text) == number


def test_hints_take_names_in_backticks_paths_and_types_with_commas():
    hints = parse_hints("`a.b` int, c.d decimal(10,2), e: struct<x: int, y: array<string>>,")
    assert [(hint.path, hint.type.simpleString()) for hint in hints] == [
        (("a.b",), "int"),
        (("c", "d"), "decimal(10,2)"),
        (("e",), "struct<x:int,y:array<string>>"),
    ]


def test_hints_reach_into_maps():
    found = apply(
        parse_hints(
            "m map<string, int>, m.value bigint, n map<string, struct<a: int>>,"
            " n.value.b string, n.key int"
        ),
        StructType(),
    )
    assert found.simpleString() == (
        "struct<m:map<string,bigint>,n:map<int,struct<a:int,b:string>>>"
    )


def test_a_pattern_that_cannot_be_read_is_refused_with_the_options():
    with pytest.raises(PipelineError) as failed:
        parse({**JSON, "dateFormat": "QQQ yyyy"}, schema_given=False)
    assert failed.value.condition == "INVALID_DATETIME_PATTERN"
