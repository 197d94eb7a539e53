"""What an engine says of a user's mistake, without what only its own developers read."""

import re

import pytest
from pyspark.errors.exceptions.connect import (
    AnalysisException,
    PythonException,
    UnknownException,
)

from proa.engine.engine_errors import as_proa_error
from proa.engine.relations import relation_of
from proa.errors import UnavailableError, UserError

STACK = "\n\nJVM stacktrace:\norg.apache.spark.sql.X\n\tat org.apache.spark.sql.Y(Y.scala:97)"
NO_TABLE = "[TABLE_OR_VIEW_NOT_FOUND] The table `t` cannot be found.\nTo tolerate it use IF EXISTS."
RAISED = """
An exception was thrown from the Python worker. Please see the stack trace below.
[PYTHON_EXCEPTION] An exception was thrown: Traceback (most recent call last):
  File "/home/ann/pipeline.py", line 6, in bad
    return 1 // (value - value)
           ~~^^~~~~~~~~~~~~~~~~
ZeroDivisionError: integer division or modulo by zero
 SQLSTATE: 38000"""


@pytest.mark.parametrize("stack", ["", STACK])
def test_the_plan_and_the_stack_trace_of_a_server_are_left_out(stack):
    plan = ";\n'Project [*]\n+- 'UnresolvedRelation [t], [], false\n"
    error = as_proa_error(
        AnalysisException(f"{NO_TABLE} SQLSTATE: 42P01; line 3 pos 7{plan}{stack}")
    )
    assert str(error) == (f"the engine refused the query: {NO_TABLE} SQLSTATE: 42P01; line 3 pos 7")


@pytest.mark.parametrize("stack", ["", STACK])
def test_an_error_of_the_users_python_ends_with_its_own_words(stack):
    error = as_proa_error(PythonException(RAISED + stack))
    first, *way = str(error).splitlines()
    assert re.fullmatch(r".*: ZeroDivisionError: .* by zero \(/home/ann/pipeline\.py:6\)", first)
    assert [line.strip() for line in way][1:] == ["return 1 // (value - value)"]


def test_what_a_statement_names_wrongly_is_not_tried_again():
    """Spark's client knows some mistakes by their SQLSTATE only; other failures may pass."""
    wrong = as_proa_error(UnknownException("[X] Failed to find it. SQLSTATE: 42K02" + STACK))
    assert isinstance(wrong, UserError)
    broken = as_proa_error(UnknownException("[X] The executor is lost. SQLSTATE: XX000" + STACK))
    assert isinstance(broken, UnavailableError)


def test_a_server_without_delta_lake_is_told_what_it_lacks():
    error = as_proa_error(
        UnknownException(
            "(org.apache.spark.SparkClassNotFoundException) [DATA_SOURCE_NOT_FOUND] Failed to find"
            " the data source: delta. Make sure it is registered. SQLSTATE: 42K02" + STACK
        )
    )
    assert error.condition == "DATA_SOURCE_NOT_FOUND"
    assert "has no Delta Lake" in str(error)
    assert "--packages io.delta:" in str(error)


UNPLANNED = [
    "SELECT a.id, l.m FROM range(3) a, LATERAL (SELECT max(b.id) AS m FROM range(3) b WHERE b.id <= a.id) l",
    "SELECT map()",
    "SELECT xxhash64(INTERVAL '1' YEAR)",
    "SELECT array(NULL, NULL)",
]


@pytest.mark.parametrize("text", UNPLANNED)
def test_what_the_engine_never_computes_is_not_tried_again(embedded, text):
    with pytest.raises(UserError, match="write it in another way") as caught:
        embedded.arrow(embedded.spark.sql(text))
    assert caught.value.condition == "ENGINE_REFUSED"
    assert "DataFusion" not in str(caught.value)


@pytest.mark.parametrize(
    "said", ["Resources exhausted: Failed to allocate 5 MB", "Generic S3 error: timed out", ""]
)
def test_what_may_pass_is_tried_again(said):
    assert isinstance(as_proa_error(UnknownException(said)), UnavailableError)


WRONG_QUERIES = {
    "SELECT explode(1)": "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
    "SELECT size(1)": "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
    "SELECT id FROM range(3) WHERE id + 1": "DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN",
    "SELECT 1 FROM range(3) JOIN range(3) b USING (nope)": "UNRESOLVED_USING_COLUMN_FOR_JOIN",
    "SELECT DATE '2020-13-01'": "INVALID_TYPED_LITERAL",
    "SELECT 1 AS x UNION ALL SELECT 2, 3": "NUM_COLUMNS_MISMATCH",
    "SELECT 1 AS x EXCEPT SELECT 2, 3": "NUM_COLUMNS_MISMATCH",
    "SELECT id, id % 2 AS k, count(*) FROM range(3) GROUP BY k": "MISSING_AGGREGATION",
    "SELECT id, k FROM (SELECT id, 1 AS k FROM range(3)) GROUP BY k": "MISSING_AGGREGATION",
    "SELECT id, sum(id) FROM range(3)": "MISSING_AGGREGATION",
    "SELECT named_struct('a', 1).b": "FIELD_NOT_FOUND",
    "SELECT row_number() FROM range(3)": "WINDOW_FUNCTION_WITHOUT_OVER_CLAUSE",
    "SELECT sum(count(*)) FROM range(3)": "NESTED_AGGREGATE_FUNCTION",
    "SELECT id FROM range(3) WHERE count(*) > 1": "INVALID_WHERE_CONDITION",
    "SELECT id FROM range(3) WHERE row_number() OVER (ORDER BY id) > 1": (
        "WINDOW_FUNCTION_NOT_ALLOWED_IN_CLAUSE"
    ),
    "SELECT (SELECT id FROM range(3)) AS x": "SCALAR_SUBQUERY_TOO_MANY_ROWS",
    "SELECT id IN (SELECT id, 1 FROM range(1)) FROM range(3)": "INVALID_SUBQUERY_EXPRESSION",
    "SELECT x FROM VALUES (1), (2, 3) AS t(x)": "INVALID_INLINE_TABLE.NUM_COLUMNS_MISMATCH",
    "SELECT id FROM range(3) ORDER BY 5": "ORDER_BY_POS_OUT_OF_RANGE",
    "SELECT md5(id) FROM range(3)": "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
    "SELECT id.* FROM range(3)": "CANNOT_RESOLVE_STAR_EXPAND",
}
JARGON = re.compile(r"#\d|Int64|Utf8|AggregateFunction|predicate|logical|planning|coercion")


@pytest.mark.parametrize(("query", "condition"), WRONG_QUERIES.items())
def test_a_mistake_in_a_query_is_the_users_with_sparks_name_and_a_remedy(
    embedded, query, condition
):
    with pytest.raises(UserError) as caught, embedded.translating():
        embedded.arrow(embedded.spark.sql(query))
    assert caught.value.condition == condition
    said = str(caught.value.args[0])
    assert ";" in said
    assert not JARGON.search(said)


@pytest.mark.parametrize("call", ["substring(1)", "sum()", "coalesce()", "if(true, 1)"])
def test_a_call_with_too_few_arguments_is_a_mistake_and_no_failure(embedded, call):
    with pytest.raises(UserError) as caught, embedded.translating():
        embedded.arrow(embedded.spark.sql(f"SELECT {call} FROM range(3)"))
    count = call.count(",") + (not call.endswith("()"))
    assert f"{call.partition('(')[0]}() with {count} argument" in str(caught.value)
    assert "look at what the function takes" in str(caught.value)


WRONG_CALLS = {
    "dropDuplicates": (lambda t: t.dropDuplicates(["nope"]), "UNRESOLVED_USING_COLUMN_FOR_JOIN"),
    "dropna": (lambda t: t.dropna(subset=["nope"]), "UNRESOLVED_COLUMN"),
    "unionByName": (lambda t: t.unionByName(t.toDF("other")), "UNRESOLVED_COLUMN"),
    "intersect": (lambda t: t.intersect(t.withColumn("x", t.id)), "NUM_COLUMNS_MISMATCH"),
}


@pytest.mark.parametrize(("query", "condition"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_a_mistake_in_dataframe_code_has_sparks_name_and_a_remedy(embedded, query, condition):
    with pytest.raises(UserError) as caught:
        embedded.schema(relation_of(query(embedded.spark.range(3))))
    assert caught.value.condition == condition
    said = str(caught.value.args[0])
    assert ";" in said
    assert not JARGON.search(said)


APACHE = {
    "a.nope": "[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column, variable, or function parameter with name"
    " `a`.`nope` cannot be resolved. Did you mean one of the following? [`a`.`id`]. SQLSTATE: 42703",
    "nope": "[UNRESOLVED_USING_COLUMN_FOR_JOIN] USING column `nope` cannot be resolved on the left side"
    " of the join. The left-side columns: [`id`]. SQLSTATE: 42703",
    "": "[NUM_COLUMNS_MISMATCH] UNION can only be performed on `x`. SQLSTATE: 42826",
}


@pytest.mark.parametrize(("about", "said"), APACHE.items())
def test_the_name_that_spark_does_not_know_is_taken_from_its_words(about, said):
    assert as_proa_error(AnalysisException(said)).about == about
