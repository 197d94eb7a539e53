"""What an engine says of a user's mistake, without what only its own developers read."""

import re

import pytest
from pyspark.errors.exceptions.connect import AnalysisException, PythonException

from proa.engine.engine_errors import translate

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
    error = translate(AnalysisException(f"{NO_TABLE} SQLSTATE: 42P01; line 3 pos 7{plan}{stack}"))
    assert str(error) == (f"the engine refused the query: {NO_TABLE} SQLSTATE: 42P01; line 3 pos 7")


@pytest.mark.parametrize("stack", ["", STACK])
def test_an_error_of_the_users_python_ends_with_its_own_words(stack):
    error = translate(PythonException(RAISED + stack))
    first, *way = str(error).splitlines()
    assert re.fullmatch(r".*: ZeroDivisionError: .* by zero \(/home/ann/pipeline\.py:6\)", first)
    assert [line.strip() for line in way][1:] == ["return 1 // (value - value)"]
