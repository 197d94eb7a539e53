"""The five evolution modes, hints, and where each kind of misfit ends up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proa.autoloader.loader import AutoLoader
from proa.errors import DataError, PipelineError

TYPES = {"cloudFiles.inferColumnTypes": "true"}


def rescued(row: dict[str, Any]) -> Any:
    return row["_rescued_data"] and json.loads(row["_rescued_data"])


def columns(loader: AutoLoader, source: Any) -> list[tuple[str, str]]:
    return [(f.name, f.dataType.simpleString()) for f in loader.schema(source.engine, ()).fields]


def test_without_type_inference_every_column_is_a_string(source, by):
    source.write("a.json", '{"id": 1, "price": 1.50, "nested": {"x": [1, 2]}, "none": null}\n')

    assert source.read() == [
        {
            "id": "1",
            "nested": '{"x": [1, 2]}',
            "none": None,
            "price": "1.50",
            "_rescued_data": None,
        }
    ]


def test_inferred_columns_are_in_the_order_of_their_names_whatever_came_first(source):
    source.write("1.json", '{"z": 1, "m": {"y": true, "b": "x"}}\n')
    source.write("2.json", '{"a": 1.5, "z": 2.5, "m": {"a": [1]}}\n')
    loader = source.loader(TYPES)
    backlog = loader.discover(None)

    schema = loader.schema(source.engine, backlog.take())

    assert schema.simpleString() == (
        "struct<a:double,m:struct<a:array<bigint>,b:string,y:boolean>,z:double,"
        "_rescued_data:string>"
    )


def test_a_new_column_is_added_at_the_end_and_earlier_ones_keep_their_types(source, by):
    source.write("1.json", '{"z": 1}\n')
    assert source.read(TYPES) == [{"z": 1, "_rescued_data": None}]

    source.write("2.json", '{"z": "text", "a": {"deep": 1}}\n')
    source.write("3.json", '{"a": {"deep": 2, "more": true}}\n')

    assert by(source.read(TYPES), "_rescued_data")[::-1] == [
        {
            "z": None,
            "a": {"deep": 1, "more": None},
            "_rescued_data": '{"z":"text","_file_path":"2.json"}',
        },
        {"z": None, "a": {"deep": 2, "more": True}, "_rescued_data": None},
    ]


def test_the_new_schema_is_stored_before_the_batch_is_computed_again(source):
    source.write("1.json", '{"a": 1}\n')
    source.read(TYPES)
    source.write("2.json", '{"b": 1}\n')
    loader = source.loader(TYPES)
    files = loader.discover(None).take()
    with pytest.raises(Exception, match="new_fields") as failed:
        source.engine.rows(loader.relation(source.engine, files))

    assert loader.evolve(source.engine, failed.value, files)

    assert columns(source.loader(TYPES), source) == [
        ("a", "bigint"),
        ("_rescued_data", "string"),
        ("b", "bigint"),
    ]


def test_two_runners_that_meet_the_same_new_column_store_one_schema(source):
    source.write("1.json", '{"a": 1}\n')
    source.read(TYPES)
    source.write("2.json", '{"b": 1}\n')
    loaders = [source.loader(TYPES), source.loader(TYPES)]
    batches = [loader.discover(None).take() for loader in loaders]
    for loader, files in zip(loaders, batches, strict=True):
        with pytest.raises(Exception, match="new_fields") as failed:
            source.engine.rows(loader.relation(source.engine, files))
        assert loader.evolve(source.engine, failed.value, files)

    assert len(list(source.state.walk("_schemas"))) == 2
    assert columns(loaders[0], source) == columns(loaders[1], source)


def test_fail_on_new_columns_fails_again_and_again(source):
    options = {**TYPES, "cloudFiles.schemaEvolutionMode": "failOnNewColumns"}
    source.write("1.json", '{"a": 1}\n')
    source.read(options)
    source.write("2.json", '{"a": 1, "b": 1}\n')

    for _ in range(2):
        with pytest.raises(DataError, match=r"2\.json.*'? has fields .*: b;") as failed:
            source.read(options)
        assert failed.value.condition == "UNKNOWN_FIELD_EXCEPTION"


def test_rescue_never_evolves_and_never_fails(source, by):
    options = {**TYPES, "cloudFiles.schemaEvolutionMode": "rescue"}
    source.write("1.json", '{"a": 1}\n')
    source.read(options)
    source.write("2.json", '{"a": 1, "b": {"x": 1.50}}\n' * 20 + '{"a": 2, "c": null}\n')

    rows = by(source.read(options), "a")

    assert rows[0] == {
        "a": 1,
        "_rescued_data": '{"b":"{\\"x\\": 1.50}","_file_path":"2.json"}',
    }
    assert rows[-1] == {"a": 2, "_rescued_data": None}
    assert len(rows) == 21


def test_with_a_schema_unknown_fields_are_ignored_unless_they_are_asked_for(source):
    source.write("1.json", '{"a": 1, "b": 2, "A": 3}\n')
    assert source.read(schema="a int") == [{"a": 1}]

    source.write("2.json", '{"a": "x", "b": 2}\n')
    assert source.read({"rescuedDataColumn": "kept"}, schema="a int") == [
        {"a": None, "kept": '{"a":"x","b":2,"_file_path":"2.json"}'}
    ]


def test_adding_columns_to_a_given_schema_is_refused(source):
    with pytest.raises(PipelineError, match="schemaHints"):
        source.loader({"cloudFiles.schemaEvolutionMode": "addNewColumns"}, "a int")


def test_types_widen_when_the_mode_says_so(source, by):
    options = {
        **TYPES,
        "cloudFiles.format": "csv",
        "cloudFiles.schemaEvolutionMode": "addNewColumnsWithTypeWidening",
    }
    source.write("1.csv", "a,b\n1,2\n")
    source.read(options)
    source.write("2.csv", "a,b,c\n3000000000,x,1\n5,2,3\n")

    rows = by(source.read(options), "a")

    assert rows == [
        {"a": 3000000000, "b": None, "c": 1, "_rescued_data": '{"b":"x","_file_path":"2.csv"}'},
        {"a": 5, "b": 2, "c": 3, "_rescued_data": None},
    ]


def test_a_hint_pins_a_type_and_may_reach_into_a_struct(source):
    options = {**TYPES, "cloudFiles.schemaHints": "id string, n.x decimal(6,2), later date"}
    source.write("1.json", '{"id": 7, "n": {"x": 1.255, "y": 1}}\n')
    loader = source.loader(options)
    files = loader.discover(None).take()

    assert loader.schema(source.engine, files).simpleString() == (
        "struct<id:string,n:struct<x:decimal(6,2),y:bigint>,later:date,_rescued_data:string>"
    )
    (row,) = source.engine.rows(loader.relation(source.engine, files))
    assert (row["id"], str(row["n"]["x"]), row["later"]) == ("7", "1.26", None)


def test_a_name_in_another_case_is_rescued_or_taken(source, by):
    source.write("1.json", '{"Name": "a"}\n{"name": "b", "Name": "c"}\n')
    strict = {"cloudFiles.schemaHints": "Name string"}
    assert [(row["Name"], rescued(row)) for row in source.read(strict)] == [
        ("a", None),
        ("c", {"name": "b", "_file_path": "1.json"}),
    ]

    source.write("2.json", '{"NAME": "d"}\n{"name": "e", "Name": "f"}\n' * 10)
    rows = source.read({**strict, "readerCaseSensitive": "false"})
    assert sorted({(row["Name"], str(rescued(row))) for row in rows}) == [
        ("d", "None"),
        ("f", "{'name': 'e', '_file_path': '2.json'}"),
    ]


def test_a_malformed_line_is_rescued_whole_unless_there_is_a_column_for_it(source, by):
    source.write("1.json", '{"a": 1}\n{"a": \n\n')
    assert [rescued(row) for row in by(source.read(TYPES), "a")] == [
        None,
        {"_corrupt_record": '{"a": ', "_file_path": "1.json"},
    ]

    source.write("2.json", '{"a": 2}\n{"a": \n')
    hinted = {**TYPES, "cloudFiles.schemaHints": "_corrupt_record string"}
    assert by(source.read(hinted), "a") == [
        {"a": 2, "_corrupt_record": None, "_rescued_data": None},
        {"a": None, "_corrupt_record": '{"a": ', "_rescued_data": None},
    ]


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_malformed_records_are_dropped_or_fail_when_the_mode_says_so(source, kind):
    good = {"json": '{"a": "1"}\n', "csv": "a\n1\n"}[kind]
    options = {"cloudFiles.format": kind}
    source.write(f"1.{kind}", good + '"broken\n')
    assert [row["a"] for row in source.read({**options, "mode": "DROPMALFORMED"})] == ["1"]

    source.write(f"2.{kind}", good + '"broken\n')
    with pytest.raises(DataError, match=f"2.{kind}.*malformed record") as failed:
        source.read({**options, "mode": "FAILFAST"})
    assert failed.value.condition == "MALFORMED_RECORD_IN_PARSING"


def test_objects_in_an_array_have_fields_as_others_have(source):
    source.write("1.json", '{"a": 1}\n')
    source.read(TYPES)
    source.write("2.json", '[{"a": 2, "b": 3}, {"a": 4}]\n')

    assert [(row["a"], row["b"]) for row in source.read(TYPES)] == [(2, 3), (4, None)]


def test_a_multi_line_file_is_one_object_or_an_array_of_them(source, by):
    options = {**TYPES, "multiLine": "true"}
    source.write("1.json", '{\n  "a": 1\n}\n')
    source.write("2.json", '[\n  {"a": 2},\n  {"a": 3}\n]\n')
    source.write("3.json", '{\n  "a":')

    assert [(row["a"], rescued(row)) for row in by(source.read(options), "a")] == [
        (1, None),
        (2, None),
        (3, None),
        (None, {"_corrupt_record": '{\n  "a":', "_file_path": "3.json"}),
    ]


def test_there_is_nothing_to_infer_from_an_empty_folder(source):
    loader = source.loader()
    with pytest.raises(DataError, match="no file") as failed:
        loader.schema(source.engine, loader.discover(None).take())
    assert failed.value.condition == "CF_EMPTY_DIR_FOR_SCHEMA_INFERENCE"


def test_a_damaged_stored_schema_is_reported(source):
    source.state.put("_schemas/0000000000", b"{")
    with pytest.raises(DataError, match="damaged"):
        source.loader().schema(source.engine, ())


def test_a_column_cannot_be_there_twice(source):
    with pytest.raises(PipelineError, match="twice"):
        source.loader(schema="a int, A int").schema(source.engine, ())
