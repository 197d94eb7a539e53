"""`spark-pipeline.yml` is read by Apache's rules, with Apache's names for mistakes."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proa.errors import SettingsError
from proa.pipelines import PipelineSpec, find_spec, load_spec
from proa.pipelines.spec import parse_spec


def test_every_field_is_read(tmp_path):
    path = tmp_path / "spark-pipeline.yml"
    path.write_text("""
name: shop
storage: file:///data
catalog: main
database: sales
configuration:
  landing_zone: /landing
libraries:
  - glob:
      include: transformations/**
  - glob:
      include: extra.sql
""")
    assert load_spec(path) == PipelineSpec(
        name="shop",
        storage="file:///data",
        catalog="main",
        database="sales",
        configuration={"landing_zone": "/landing"},
        libraries=("transformations/**", "extra.sql"),
    )


def test_schema_is_another_word_for_database():
    assert parse_spec({"name": "n", "storage": "s", "schema": "x"}).database == "x"
    both = parse_spec({"name": "n", "storage": "s", "schema": "x", "database": "y"})
    assert both.database == "y"


def test_name_and_storage_are_enough():
    spec = parse_spec({"name": "n", "storage": "s"})
    assert (spec.catalog, spec.database, spec.configuration, spec.libraries) == (None, None, {}, ())


@pytest.mark.parametrize(
    ("fields", "condition", "message"),
    [
        ({"storge": "x"}, "PIPELINE_SPEC_UNEXPECTED_FIELD", "did you mean 'storage'"),
        ({"name": None}, "PIPELINE_SPEC_MISSING_REQUIRED_FIELD", "'name'"),
        ({"storage": None}, "PIPELINE_SPEC_MISSING_REQUIRED_FIELD", "'storage'"),
        ({"configuration": []}, "PIPELINE_SPEC_FIELD_NOT_DICT", "must be a mapping"),
        ({"configuration": {1: "a"}}, "PIPELINE_SPEC_DICT_KEY_NOT_STRING", "key 1"),
        ({"configuration": {"a": 1}}, "PIPELINE_SPEC_DICT_VALUE_NOT_STRING", "value 1"),
        ({"name": 3}, "INVALID_SETTING", "'name' must be a string"),
        ({"libraries": {"glob": 1}}, "INVALID_SETTING", "must be a list"),
        ({"libraries": ["a.py"]}, "INVALID_SETTING", "must be 'glob"),
        ({"libraries": [{"file": {"path": "a.py"}}]}, "INVALID_SETTING", "must be 'glob"),
        (
            {"libraries": [{"glob": {"include": "a/**/*.py"}}]},
            "PIPELINE_SPEC_INVALID_GLOB_PATTERN",
            "'a/**/*.py'",
        ),
        ({"libraries": [{"glob": {"include": "*.py"}}]}, "PIPELINE_SPEC_INVALID_GLOB_PATTERN", ""),
        ({"libraries": [{"glob": {"include": "/**"}}]}, "PIPELINE_SPEC_INVALID_GLOB_PATTERN", ""),
    ],
)
def test_a_mistake_has_apaches_name_and_names_the_file(tmp_path, fields, condition, message):
    path = tmp_path / "spark-pipeline.yml"
    path.write_text(yaml.safe_dump({"name": "n", "storage": "s"} | fields))
    with pytest.raises(SettingsError, match=re.escape(str(path))) as caught:
        load_spec(path)
    assert caught.value.condition == condition
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n", "a: [", "just words"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "spark-pipeline.yml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=re.escape(str(path))):
        load_spec(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SettingsError) as caught:
        load_spec(tmp_path / "spark-pipeline.yml")
    assert caught.value.condition == "PIPELINE_SPEC_FILE_DOES_NOT_EXIST"


@pytest.mark.parametrize("name", ["spark-pipeline.yml", "spark-pipeline.yaml"])
def test_the_specification_is_searched_upward(tmp_path, name):
    (tmp_path / name).write_text("")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_spec(below) == find_spec(tmp_path) == tmp_path / name


def test_two_specifications_in_one_folder_are_refused(tmp_path):
    for name in ("spark-pipeline.yml", "spark-pipeline.yaml"):
        (tmp_path / name).write_text("")
    with pytest.raises(SettingsError) as caught:
        find_spec(tmp_path)
    assert caught.value.condition == "MULTIPLE_PIPELINE_SPEC_FILES_FOUND"


def test_no_specification_above_is_an_error_that_names_the_start(tmp_path):
    with pytest.raises(SettingsError, match=re.escape(str(tmp_path))) as caught:
        find_spec(tmp_path)
    assert caught.value.condition == "PIPELINE_SPEC_FILE_NOT_FOUND"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["name", "storage", "configuration", "libraries", "glob", 1]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    )
)
def test_any_yaml_is_read_or_refused(data):
    refused = None
    try:
        spec = parse_spec(data)
    except SettingsError as error:
        refused = error
    assert refused is not None or (spec.name, spec.storage) == (data["name"], data["storage"])
