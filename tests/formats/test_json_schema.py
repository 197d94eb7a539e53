"""What is inferred from JSON: every field of every record, at the type that takes all its values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.autoloader.options import parse
from proa.formats.arrow_types import in_order, settle_type
from proa.formats.json_schema import JsonInference
from proa.formats.source import OpenPart, Part

OPTIONS = parse({"format": "json"}, schema_given=False).reader


def infer(
    path: Any, content: str, *, types: bool = True, pinned: frozenset[str] = frozenset()
) -> str:
    data = content.encode("utf-8", "surrogateescape")
    path.write_bytes(data)
    inference = JsonInference(OPTIONS, types=types, pinned=pinned)
    found = inference.infer(OpenPart(Part(str(path), len(data), 0), OPTIONS, {}))
    return ",".join(
        f"{f.name}:{settle_type(f.dataType).simpleString()}" for f in in_order(found).fields
    )


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (['{"a": 1}', '{"a": 2.5}'], "a:double"),
        (['{"a": 1}', '{"a": "x"}'], "a:string"),
        (['{"a": 9223372036854775807}'], "a:bigint"),
        (['{"a": 9223372036854775808}'], "a:decimal(19,0)"),
        (['{"a": 9223372036854775808}', '{"a": 7}'], "a:decimal(20,0)"),
        (['{"a": 9223372036854775808}', '{"a": 0.5}'], "a:double"),
        (['{"a": 1' + "0" * 37 + "}"], "a:decimal(38,0)"),
        (['{"a": -1' + "0" * 38 + "}", '{"a": 1e400}'], "a:double"),
        (['{"a": true}', '{"a": null}'], "a:boolean"),
        (['{"a": null}'], "a:string"),
        (['{"a": "2020-01-01T00:00:00Z"}'], "a:string"),
        (['{"a": {}}'], "a:string"),
        (['{"a": {}}', '{"a": {"x": 1}}'], "a:struct<x:bigint>"),
        (['{"a": []}', '{"a": [1, 2.5]}'], "a:array<double>"),
        (['{"a": [1, "x"]}'], "a:array<string>"),
        (['{"a": [{"x": 1}, {"y": "z"}]}'], "a:array<struct<x:bigint,y:string>>"),
        (['{"a": {"x": 1}}', '{"a": 5}'], "a:string"),
        (['{"b": 1}', '{"a": 1}', "{broken", "[1]", '"text"', "\udcff"], "a:bigint,b:bigint"),
        *((['{"a": 1}', f'{{"{"x" * n}{"é" * 100}": 1, "b":}}'], "a:bigint") for n in range(2)),
        (['{"b": 1}', '[{"a": 1}, {"a": 2.5}]', '[{"c": 1}, 2]'], "a:double,b:bigint"),
        (['\ufeff[{"a": null}]'], "a:string"),
        (
            ['[{"a": 9223372036854775808, "s": {"x": [1]}}]'],
            "a:decimal(19,0),s:struct<x:array<bigint>>",
        ),
        (["[]", "[[{}]]", "null"], ""),
        (['{"a": 1}', "null", '{"a": null}'], "a:bigint"),
        ([], ""),
    ],
)
def test_the_type_takes_every_value(tmp_path, lines, found):
    assert infer(tmp_path / "f", "\n".join(lines)) == found


def test_a_number_that_no_bigint_holds_is_a_decimal_however_the_block_is_read(tmp_path):
    large, nested = '{"a": 9223372036854775808}', '{"b": {"x": [9223372036854775808]}}'

    assert infer(tmp_path / "f", f"{large}\n{nested}\n") == infer(
        tmp_path / "f", f"{large}\n{nested}\n{{broken\n"
    )


def test_names_that_differ_in_case_only_are_found_each(tmp_path):
    for content in ('{"a": 1, "A": 2}\n', '{"A": 1, "a": 2}\n', '{"a": 1}\n{"A": 2}\n{broken\n'):
        assert infer(tmp_path / "f", content) == "A:bigint,a:bigint"


def test_pinned_names_and_names_without_types_are_found_too(tmp_path):
    content = '{"a": 1, "B": {"x": 1}, "c": true}\n'
    assert infer(tmp_path / "f", content, pinned=frozenset({"b"})) == "B:string,a:bigint,c:boolean"
    assert infer(tmp_path / "f", content, types=False) == "B:string,a:string,c:string"


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.sampled_from(["", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2)
    ),
    max_leaves=5,
)


@settings(max_examples=20, deadline=None)
@given(
    records=st.lists(
        st.dictionaries(st.sampled_from(["a", "b", "c"]), values, max_size=3),
        min_size=1,
        max_size=6,
    ),
    data=st.data(),
)
def test_the_order_of_records_does_not_matter(tmp_path_factory, records, data):
    path = tmp_path_factory.getbasetemp() / "order"
    shuffled = data.draw(st.permutations(records))

    first, second = (
        infer(path, "\n".join(map(json.dumps, some)) + "\n") for some in (records, shuffled)
    )

    assert first == second
