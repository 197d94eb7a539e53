"""AUTO CDC is declared with Databricks' names and clauses, in Python and SQL alike."""

from __future__ import annotations

import pytest

from proa.errors import PipelineError
from proa.pipelines.definitions import AutoCdc, ColumnChoice, SnapshotCdc
from proa.pipelines.sql import declarations
from proa.pipelines.sql.lexer import SqlText


def one(found):
    [flow] = found.flows
    return flow


def sql(text: str):
    return declarations.declare(SqlText(text, "f.sql"), {})


def sql_refused(text: str) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        sql(text)
    return caught.value


TARGET = "dp.create_streaming_table('t')\n"


@pytest.mark.parametrize(
    "call",
    [
        "dp.create_auto_cdc_flow('t', 's', ['id'], 'n')",
        "dlt.create_auto_cdc_flow(target='t', source='s', keys=['id'], sequence_by='n')",
        "dlt.apply_changes(target='t', source='s', keys=['id'], sequence_by='n')",
        "dlt.apply_changes('t', 's', ['id'], 'n', None, False)",
        "dp.create_auto_cdc_flow('t', 's', ['id'], 'n', stored_as_scd_type=1, column_list=[])",
        "from pyspark.pipelines import api; api.create_auto_cdc_flow('t', 's', ['id'], 'n')",
    ],
)
def test_every_spelling_declares_the_same_flow(python, call):
    flow = one(python(TARGET + call))
    assert (flow.name, flow.target, flow.once) == ("t", "t", False)
    assert (flow.cdc.keys, flow.cdc.history, flow.cdc.columns) == (("id",), False, None)


def test_columns_may_be_given_as_columns(python):
    flow = one(
        python(
            "from pyspark.sql.functions import col, expr, struct\n"
            + TARGET
            + "dp.create_auto_cdc_flow('t', 's', [col('id'), 'b'], struct('n', 'm'),"
            " apply_as_deletes=expr('op = 1'), except_column_list=[col('op'), 'n'],"
            " stored_as_scd_type='2', track_history_except_column_list=['c'], name='f', once=True)"
        )
    )
    assert (flow.name, flow.once) == ("f", True)
    assert flow.cdc.keys == ("id", "b")
    assert flow.cdc.columns == ColumnChoice(("op", "n"), excluded=True)
    assert flow.cdc.tracked == ColumnChoice(("c",), excluded=True)
    assert flow.cdc.history


@pytest.mark.parametrize(
    ("arguments", "choice"),
    [
        ("ignore_null_updates=True", ColumnChoice(excluded=True)),
        ("ignore_null_updates=False", None),
        ("ignore_null_updates_column_list=['a', 'b.c']", ColumnChoice(("a", "b.c"))),
        ("ignore_null_updates_except_column_list=['a']", ColumnChoice(("a",), excluded=True)),
    ],
)
def test_null_may_leave_columns_as_they_were(python, arguments, choice):
    call = f"dp.create_auto_cdc_flow('t', 's', ['id'], 'n', {arguments})"
    assert one(python(TARGET + call)).cdc.null_keeps == choice


@pytest.mark.parametrize(
    ("arguments", "condition", "message"),
    [
        ("'t', 's', [], 'n'", "AUTOCDC_EMPTY_KEYS", "'keys' is empty"),
        ("'t', 's', 'id', 'n'", "NOT_EXPECTED_TYPE", "a list of column names"),
        ("'t', 's', ['id'], 3", "NOT_EXPECTED_TYPE", "'sequence_by'"),
        ("'t', 's', ['id'], 'n', stored_as_scd_type=3", "NOT_EXPECTED_TYPE", "must be 1 or 2"),
        (
            "'t', 's', ['id'], 'n', column_list=['id'], except_column_list=['a']",
            "CANNOT_SET_TOGETHER",
            "only one of 'column_list' and 'except_column_list'",
        ),
        (
            "'t', 's', ['id'], 'n', apply_as_truncates='a', stored_as_scd_type=2",
            "INVALID_MULTIPLE_ARGUMENT_CONDITIONS",
            "SCD type 1 only",
        ),
        (
            "'t', 's', ['id'], 'n', track_history_column_list=['a']",
            "INVALID_MULTIPLE_ARGUMENT_CONDITIONS",
            "SCD type 2 only",
        ),
        (
            "'t', 's', ['id'], 'n', columns_to_update='u', ignore_null_updates=True",
            "INVALID_MULTIPLE_ARGUMENT_CONDITIONS",
            "give one of them",
        ),
        ("'t', 's', ['id'], 'n', nmae='x'", "UNEXPECTED_ARGUMENT", "did you mean 'name'"),
    ],
)
def test_a_wrong_argument_is_named_with_its_place(python_refused, arguments, condition, message):
    error = python_refused(f"dp.create_auto_cdc_flow({arguments})")
    assert error.condition == condition
    assert message in str(error)
    assert str(error.location) == "transformations/a.py:3"


@pytest.mark.parametrize("argument", ["source=next_snapshot", "snapshot_and_version=next_snapshot"])
def test_a_snapshot_flow_takes_a_function(python, argument):
    flow = one(
        python(
            "def next_snapshot(latest): return None\n"
            + TARGET
            + f"dlt.apply_changes_from_snapshot(target='t', {argument}, keys=['id'],"
            " stored_as_scd_type=2)"
        )
    )
    assert isinstance(flow.cdc, SnapshotCdc)
    assert flow.cdc.history
    assert flow.cdc.next_snapshot(None) is None


FULL = """CREATE OR REFRESH STREAMING TABLE t;
CREATE FLOW f COMMENT 'c' AS AUTO CDC ONCE INTO t
FROM stream(live.s) KEYS (id, `the key`)
IGNORE NULL UPDATES ON (a, b.c)
APPLY AS DELETE WHEN operation = "DELETE" AND size(array(1)) > 0
APPLY AS TRUNCATE WHEN operation = "TRUNCATE"
SEQUENCE BY struct(n, m)
COLUMNS * EXCEPT (operation, n)
STORED AS SCD TYPE 1"""


def test_all_clauses_are_understood():
    flow = one(sql(FULL))
    assert (flow.name, flow.target, flow.once, flow.comment) == ("f", "t", True, "c")
    assert flow.cdc == AutoCdc(
        keys=("id", "the key"),
        sequence_by="struct(n, m)",
        deletes='operation = "DELETE" AND size(array(1)) > 0',
        truncates='operation = "TRUNCATE"',
        columns=ColumnChoice(("operation", "n"), excluded=True),
        null_keeps=ColumnChoice(("a", "b.c")),
    )


@pytest.mark.parametrize(
    "text",
    [
        "AUTO CDC INTO t FROM STREAM(s) KEYS (id) SEQUENCE BY n STORED AS SCD TYPE 2",
        "APPLY CHANGES INTO LIVE.t FROM STREAM(LIVE.s) KEYS (id) SEQUENCE BY n STORED AS SCD TYPE 2",
        "CREATE FLOW t AS AUTO CDC INTO t FROM STREAM s KEYS (id) SEQUENCE BY n STORED AS SCD TYPE 2",
        (
            "CREATE STREAMING TABLE t FLOW AUTO CDC FROM STREAM s KEYS (id) SEQUENCE BY n"
            " STORED AS SCD TYPE 2"
        ),
    ],
)
def test_every_statement_declares_the_same_flow(text):
    flow = one(sql(text))
    assert (flow.name, flow.cdc) == ("t", AutoCdc(("id",), "n", history=True))


def test_a_snapshot_is_named_in_sql():
    flow = one(
        sql(
            "CREATE FLOW f AS AUTO CDC INTO t FROM SNAPSHOT s KEYS (id) STORED AS SCD TYPE 2"
            " TRACK HISTORY ON * EXCEPT (a)"
        )
    )
    assert flow.cdc == SnapshotCdc(
        ("id",), history=True, tracked=ColumnChoice(("a",), excluded=True)
    )
    assert flow.query.text == "SELECT *, current_timestamp() AS __proa_sequence FROM s"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("AUTO CDC INTO t FROM STREAM(s) KEYS (id)", "expected SEQUENCE BY"),
        ("AUTO CDC INTO t FROM STREAM(s) SEQUENCE BY n", "expected KEYS"),
        (
            "AUTO CDC INTO t FROM STREAM(s) KEYS (id) SEQUENCE BY n APPLY AS DELETE WHEN d",
            "stand in this order: KEYS, IGNORE NULL UPDATES, APPLY AS DELETE WHEN",
        ),
        (
            "AUTO CDC INTO t FROM STREAM(s) KEYS (id) SEQUENCE BY n STORED AS SCD TYPE 2 COLUMNS (a)",
            "stand in this order",
        ),
        ("AUTO CDC INTO t FROM STREAM(s) KEYS (id) SEQUENCE BY n STORED AS SCD TYPE 3", "1 or 2"),
        ("AUTO CDC t FROM STREAM(s) KEYS (id) SEQUENCE BY n", "expected INTO"),
    ],
)
def test_a_clause_out_of_its_order_is_refused_with_the_order(text, message):
    error = sql_refused(text)
    assert error.condition == "PARSE_SYNTAX_ERROR"
    assert message in str(error)
