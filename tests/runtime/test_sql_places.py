"""A mistake in SQL is told with the line and the column at which it stands in the user's own file."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.errors import PipelineError
from proa.runtime.compile import compile_project

SPEC = (
    "name: p\nstorage: storage\nconfiguration: {many: 'id,\n  id AS b,\n  id AS c', one: t}\n"
    "libraries: [{glob: {include: t/**}}]\n"
)
T = "CREATE MATERIALIZED VIEW t AS SELECT id, 'x' AS name FROM range(3);\n"
S = (
    "CREATE STREAMING TABLE s AS"
    " SELECT * FROM STREAM read_files('/x', format => 'json', schema => 'id INT');\n"
)
KEPT = "CREATE VIEW v (CONSTRAINT c EXPECT (id > 1) ON VIOLATION DROP ROW) AS\n"
CHANGES = "APPLY CHANGES INTO m FROM STREAM(s)\n"
M = "CREATE OR REFRESH MATERIALIZED VIEW m AS "
MISTAKES = {
    # what the parser of statements sees
    "word": (f"{T}CREATE MATERIALIZED @VEW m AS SELECT 1;", "PARSE_SYNTAX_ERROR"),
    "statement": (f"{T}\n  /* a\n b */ @INSERT INTO t SELECT 1", "UNSUPPORTED_FEATURE"),
    "quote": ("CREATE MATERIALIZED VIEW m AS SELECT @'a", "PARSE_SYNTAX_ERROR"),
    "comment": ("CREATE MATERIALIZED VIEW m AS SELECT 1 @/* a", "UNCLOSED_BRACKETED_COMMENT"),
    "key": (f"{M}SELECT '@${{nobody}}'", "UNKNOWN_CONFIGURATION_KEY"),
    "refused": (
        "CREATE STREAMING TABLE m (a INT @CHECK (a > 1)) AS SELECT 1",
        "UNSUPPORTED_FEATURE",
    ),
    # what the reader of queries sees
    "syntax": (f"{T}{M}\nSELECT id a @b FROM t", "PARSE_SYNTAX_ERROR"),
    "comma": (f"{M}SELECT 1 AS a @2 AS b", "PARSE_SYNTAX_ERROR"),
    "end": (f"{M}SELECT id FROM range(3) @WHERE", "PARSE_SYNTAX_ERROR"),
    "behind a stream": (
        f"{M}SELECT id FROM STREAM(t) x JOIN STREAM t y ON @ON z",
        "PARSE_SYNTAX_ERROR",
    ),
    "table": (f"{T}{M}SELECT * FROM t, @nowhere", "TABLE_OR_VIEW_NOT_FOUND"),
    "stream": (
        "CREATE STREAMING TABLE m AS SELECT * FROM STREAM( @live.nowhere )",
        "TABLE_OR_VIEW_NOT_FOUND",
    ),
    "qualified": (f"{M}SELECT abs(-1), @cat.sch.f(1)", "UNRESOLVED_ROUTINE"),
    "catalog": (f"{M}SELECT @spark_catalog.builtin.upper('a')", "UNRESOLVED_ROUTINE"),
    "files": (f"{M}SELECT * FROM @read_files(path => abs(1))", "PARSE_SYNTAX_ERROR"),
    "kafka": (f"{M}SELECT * FROM @event_log('x')", "UNSUPPORTED_TABLE_VALUED_FUNCTION"),
    # what the engine sees
    "column": (f"{T}{M}SELECT id,\n\t@nme FROM t", "UNRESOLVED_COLUMN"),
    "behind names": (
        f"{T}{M}SELECT t.id, live.t.name, @nme FROM live.t, t AS other",
        "UNRESOLVED_COLUMN",
    ),
    "full name": (f"{T}{M}SELECT @live.t.nme FROM live.t", "UNRESOLVED_COLUMN"),
    "letters": (f"{M}SELECT 'äöü😀' AS ü, @nme FROM range(3)", "UNRESOLVED_COLUMN"),
    "backticks": (f"{M}SELECT @`no me` FROM range(3)", "UNRESOLVED_COLUMN"),
    "which of two": (
        f"{M}SELECT k, @id FROM (SELECT id AS k FROM range(3)) WHERE k IN (SELECT id FROM range(2))",
        "UNRESOLVED_COLUMN",
    ),
    "the second": (
        f"{M}SELECT * FROM (SELECT id FROM range(3)) JOIN (SELECT @id FROM (SELECT 1 AS x)) ON true",
        "UNRESOLVED_COLUMN",
    ),
    "join": (
        f"{M}SELECT 1 FROM range(3) JOIN range(3) b USING (@nme)",
        "UNRESOLVED_USING_COLUMN_FOR_JOIN",
    ),
    "field": (f"{M}SELECT named_struct('a', 1).@nme AS b", "FIELD_NOT_FOUND"),
    "no window": (f"{M}SELECT @row_number() AS n", "WINDOW_FUNCTION_WITHOUT_OVER_CLAUSE"),
    "ambiguous": (
        f"{M}SELECT @id FROM range(3) a JOIN range(3) b ON a.id = b.id",
        "AMBIGUOUS_REFERENCE",
    ),
    "function": (f"{M}SELECT -- nope(\n abs(1), @nope(2)", "UNRESOLVED_ROUTINE"),
    "table function": (f"{M}SELECT * FROM @rnge(3)", "UNSUPPORTED_FEATURE"),
    "values above": (f"{T}{M}SELECT ${{many}},\n @nme FROM ${{one}}", "UNRESOLVED_COLUMN"),
    "second query": (
        f"{M}SELECT 1 AS a;\n\n{T}CREATE VIEW v AS\nSELECT @nme FROM t",
        "UNRESOLVED_COLUMN",
    ),
    "changes": (
        f"{S}CREATE STREAMING TABLE m;\n{CHANGES} WHERE @nme > 1 KEYS (id) SEQUENCE BY id",
        "UNRESOLVED_COLUMN",
    ),
    "kept rows": (
        f"{T}{KEPT}SELECT id, @nme FROM t;{M}SELECT * FROM v",
        "UNRESOLVED_COLUMN",
    ),
    "what is kept": (
        f"{T}{KEPT}SELECT id FROM @nowhere;{M}SELECT * FROM v",
        "TABLE_OR_VIEW_NOT_FOUND",
    ),
    # expectations
    "rule": (
        "CREATE MATERIALIZED VIEW m (\n  CONSTRAINT c EXPECT ( @nme > 1 )\n) AS SELECT 1 AS a",
        "UNRESOLVED_COLUMN",
    ),
    "rule's function": (
        "CREATE MATERIALIZED VIEW m (CONSTRAINT c EXPECT (a > @nope(a))) AS SELECT 1 AS a",
        "UNRESOLVED_ROUTINE",
    ),
    "rule's names": (
        "CREATE MATERIALIZED VIEW m (CONSTRAINT c EXPECT (@x.nope(a) > 1)) AS SELECT 1 AS a",
        "UNRESOLVED_ROUTINE",
    ),
    "rule's syntax": (
        "CREATE MATERIALIZED VIEW m (CONSTRAINT c EXPECT (\n a > 1 AND a b @c)) AS SELECT 1 AS a",
        "INVALID_EXPECTATION",
    ),
}


def mistake(folder: Path, name: str, data: bytes) -> PipelineError:
    (folder / "spark-pipeline.yml").write_text(SPEC)
    (folder / "t").mkdir(exist_ok=True)
    (folder / "t" / name).write_bytes(data)
    with pytest.raises(PipelineError) as caught:
        compile_project(folder, None, columns=True)
    return caught.value


def expected(text: str) -> tuple[str, str]:
    """The text without its mark, and the line and column of the mark."""
    before, _, behind = text.partition("@")
    return before + behind, f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize(
    "above", ["", "-- a; 'comment\n/* ö\n\t*/\n\n", "\ufeff"], ids=["top", "comments", "mark"]
)
@pytest.mark.parametrize(("text", "condition"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_sql_file(tmp_path, text, condition, above, end):
    written, place = expected(above.lstrip("\ufeff") + text)
    written = ("\ufeff" if above == "\ufeff" else "") + written
    error = mistake(tmp_path, "a.sql", written.replace("\n", end).encode())
    assert (str(error.location), error.condition) == (f"t/a.sql:{place}", condition)
    assert "sqlglot" not in str(error)


CODE = """from pyspark import pipelines as dp
from pyspark.sql import functions as F

@dp.materialized_view
def m():
    frame = spark.range(3)
    return {code}
"""
IN_PYTHON = {
    "query": ('spark.sql("""\n    SELECT id,\n      @nme FROM range(3)""")', "UNRESOLVED_COLUMN"),
    "query's syntax": ('spark.sql("SELECT id a @b FROM range(3)")', "PARSE_SYNTAX_ERROR"),
    "query's table": ('spark.sql("SELECT * FROM @nowhere")', "TABLE_OR_VIEW_NOT_FOUND"),
    "query's function": ('spark.sql("SELECT builtin.abs(1), @nope(1)")', "UNRESOLVED_ROUTINE"),
    "query's names": ('spark.sql("SELECT builtin.abs(1), @a.nope(1)")', "UNRESOLVED_ROUTINE"),
    "expr": ('frame.select(F.expr("abs(id) + @nope(id)"))', "UNRESOLVED_ROUTINE"),
    "expr's names": ('frame.select(F.expr("abs(id) + @a.nope(id)"))', "UNRESOLVED_ROUTINE"),
    "selectExpr": ('frame.selectExpr("id", "@nme + 1")', "UNRESOLVED_COLUMN"),
    "filter": ('frame.filter("id > 1 @and")', "PARSE_SYNTAX_ERROR"),
}


@pytest.mark.parametrize(("code", "condition"), IN_PYTHON.values(), ids=IN_PYTHON)
def test_a_mistake_in_sql_within_python(tmp_path, code, condition):
    before, behind = CODE.replace("@dp", "#dp").split("{code}")
    written, place = expected(before + code + behind)
    error = mistake(tmp_path, "a.py", written.replace("#dp", "@dp").encode())
    assert (str(error.location), error.condition) == (f"t/a.py:{place}", condition)


def test_a_column_of_a_dataframe_is_told_with_its_line(tmp_path):
    code = CODE.format(code="frame.select(\n        F.col('nme'),\n    )")
    assert str(mistake(tmp_path, "a.py", code.encode()).location) == "t/a.py:8"


COLUMNS = {
    "twice": ("m AS SELECT 1 AS x, 2 AS X", "COLUMN_ALREADY_EXISTS", "twice"),
    "type": (
        "m (id INT) AS SELECT id FROM range(3)",
        "DELTA_FAILED_TO_MERGE_FIELDS",
        "in its schema",
    ),
    "name": (
        "m (nme STRING) AS SELECT 'x' AS name",
        "USER_SPECIFIED_AND_INFERRED_SCHEMA_NOT_COMPATIBLE",
        "yields 'name', which its schema does not name",
    ),
}


@pytest.mark.parametrize(("text", "condition", "said"), COLUMNS.values(), ids=COLUMNS)
def test_columns_that_a_table_cannot_hold_are_found_before_anything_runs(
    tmp_path, text, condition, said
):
    error = mistake(tmp_path, "a.sql", f"\nCREATE MATERIALIZED VIEW {text};".encode())
    assert (error.condition, str(error.location)) == (condition, "t/a.sql:2")
    assert said in str(error)


def test_a_schema_of_files_that_is_none_is_told_with_its_query(tmp_path):
    query = "SELECT * FROM STREAM read_files('/x', format => 'json', schema => 'id INTT')"
    error = mistake(tmp_path, "a.sql", f"\nCREATE STREAMING TABLE s AS {query};".encode())
    assert (error.condition, str(error.location)) == ("PARSE_SYNTAX_ERROR", "t/a.sql:2")
