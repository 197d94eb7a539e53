"""A mistake that shows in one declaration is found when it is declared."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("sql", "condition", "message"),
    [
        (
            "CREATE STREAMING TABLE t (CONSTRAINT c EXPECT (a), CONSTRAINT c EXPECT (b))",
            "INVALID_EXPECTATION",
            "two expectations named 'c'",
        ),
        (
            "CREATE STREAMING TABLE t PARTITIONED BY (a) CLUSTER BY (b)",
            "SPECIFY_CLUSTER_BY_WITH_PARTITIONED_BY_IS_NOT_ALLOWED",
            "choose one",
        ),
        ("CREATE STREAMING TABLE t (a INT, A STRING)", "COLUMN_ALREADY_EXISTS", "named 'A'"),
        ("CREATE STREAMING TABLE t (a INTT)", "PARSE_SYNTAX_ERROR", "INTT"),
        (
            "CREATE STREAMING TABLE t (a INT) PARTITIONED BY (b)",
            "UNRESOLVED_COLUMN",
            "laid out by 'b'",
        ),
        ("CREATE STREAMING TABLE a.b.c.d", "INVALID_DATASET_NAME", "one to three parts"),
        ("CREATE STREAMING TABLE `../../t`", "INVALID_DATASET_NAME", "cannot name a dataset"),
        ("CREATE STREAMING TABLE s.`..`", "INVALID_DATASET_NAME", "cannot name a dataset"),
        ("CREATE STREAMING TABLE ` `", "INVALID_DATASET_NAME", "cannot name a dataset"),
        (
            "CREATE FLOW a.f AS INSERT INTO t BY NAME SELECT 1",
            "MULTIPART_FLOW_NAME_NOT_SUPPORTED",
            "name it 'f'",
        ),
        (
            "CREATE FLOW `a/f` AS INSERT INTO t BY NAME SELECT 1",
            "INVALID_FLOW_NAME",
            "cannot name a flow",
        ),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_line(project, sql, condition, message):
    project.write("transformations/a.sql", f"-- first\n{sql};")
    error = project.refused()
    assert error.condition == condition
    assert message in str(error)
    assert str(error.location) == "transformations/a.sql:2"


@pytest.mark.parametrize("name", ["t", "a.b", "a.b.c", "odd name", "ünïcode", "my-table", "2026"])
def test_a_name_may_be_anything_that_can_stand_in_a_path(python, name):
    assert python(f"dlt.create_streaming_table({name!r})").datasets[0].name == name


@pytest.mark.parametrize(
    ("written", "name"),
    [("`odd name`", "odd name"), ("main.`my-table`", "main.my-table"), ("`a.b`.c", "`a.b`.c")],
)
def test_backticks_are_no_part_of_a_name(python, written, name):
    found = python(f"dlt.create_streaming_table({written!r})")
    assert found.datasets[0].name == name


def test_a_schema_in_python_is_checked_too(python_refused):
    error = python_refused("dlt.create_streaming_table('t', schema='a INTT')")
    assert error.condition == "PARSE_SYNTAX_ERROR"
    assert str(error.location) == "transformations/a.py:3"
