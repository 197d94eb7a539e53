"""What a text reads is found where it stands, and nothing else is touched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from proa.errors import PipelineError, SourceLocation
from proa.graph.sql_mask import TextEdit
from proa.graph.sql_text import (
    FilesRead,
    TableRead,
    apply_edits,
    expression,
    file_options,
    for_engine,
    read,
)
from proa.text import quote_identifier

CASES = [
    ("SELECT * FROM orders", ["orders"]),
    ("SELECT * FROM STREAM(orders)", ["STREAM orders"]),
    ("SELECT * FROM STREAM orders", ["STREAM orders"]),
    ("select * from stream ( live.`my orders` ) o", ["STREAM live.my orders"]),
    ("SELECT * FROM STREAM(LIVE.a) JOIN LIVE.b USING (id)", ["STREAM LIVE.a", "LIVE.b"]),
    ("SELECT * FROM cat.sch.orders o, `x.y`.z", ["cat.sch.orders", "x.y.z"]),
    ("SELECT stream FROM stream AS s JOIN stream ON stream.id = s.id", ["stream", "stream"]),
    ("SELECT * FROM STREAM stream", ["STREAM stream"]),
    ("FROM orders SELECT *", ["orders"]),
    ("TABLE orders", ["orders"]),
    ("SELECT ' FROM a ' FROM b -- FROM c\n/* FROM d */", ["b"]),
    ('SELECT "FROM a" FROM b WHERE x = "STREAM(c)"', ["b"]),
    ("WITH c AS (SELECT * FROM t) SELECT * FROM c", ["t"]),
    ("WITH c AS (SELECT * FROM c) SELECT * FROM c", ["c"]),
    ("WITH a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT * FROM a JOIN b", ["b"]),
    ("WITH c AS (SELECT 1) SELECT * FROM C JOIN d.c", ["d.c"]),
    ("SELECT * FROM (WITH c AS (SELECT 1) SELECT * FROM c) x JOIN c", ["c"]),
    ("WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT * FROM r) SELECT * FROM r", []),
    ("SELECT * FROM t WHERE id IN (SELECT id FROM u WHERE u.x = t.x)", ["t", "u"]),
    ("SELECT (SELECT max(x) FROM u) FROM t", "ut"),
    ("SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u) AND NOT EXISTS (SELECT 1 FROM v)", "tuv"),
    ("SELECT * FROM a UNION ALL SELECT * FROM b EXCEPT SELECT * FROM c", "abc"),
    ("SELECT * FROM (SELECT * FROM (SELECT * FROM a))", "a"),
    ("SELECT * FROM (a JOIN b USING (id)) JOIN c", "abc"),
    ("SELECT * FROM a, LATERAL (SELECT * FROM b WHERE b.x = a.x)", "ab"),
    ("SELECT x FROM t LATERAL VIEW explode(xs) v AS x", "t"),
    ("SELECT * FROM t TABLESAMPLE (10 PERCENT) REPEATABLE (3) JOIN u", "tu"),
    ("SELECT * FROM t PIVOT (sum(a) FOR b IN (1, 2))", "t"),
    ("SELECT /*+ BROADCAST(b) */ * FROM a JOIN b USING (id)", "ab"),
    ("SELECT * FROM range(10) r, explode(array(1)) e, t", "t"),
    ("SELECT * FROM VALUES (1), (2) AS v(x), t", "t"),
    ("SELECT * FROM t |> WHERE x > 1 |> SELECT x", "t"),
    ("SELECT extract(day FROM ts), trim(BOTH ' ' FROM x), substring(x FROM 2) FROM t", "t"),
    ("SELECT x IS DISTINCT FROM y FROM t", "t"),
    ("SELECT window(ts, '1 hour') FROM t GROUP BY window(ts, '1 hour')", "t"),
    ("SELECT date, first, events, day FROM first JOIN date JOIN events", ["first", "date", "events"]),
    ("SELECT * FROM STREAM a WITH (maxFilesPerTrigger = 5) JOIN b WITH ('x' = 'y')",
     ["STREAM a {'maxFilesPerTrigger': '5'}", "b {'x': 'y'}"]),
    ("SELECT * FROM STREAM read_files('/x', format => 'json') JOIN t", ["STREAM /x", "t"]),
    ("SELECT * FROM read_files('/a' || '/b')", ["/a/b"]),
    ("SELECT * FROM cloud_files('/x', 'csv', map('header', 'true'))", ["STREAM /x"]),
    ("SELECT read_files, cloud_files FROM stream_t", ["stream_t"]),
    ("SELECT watermark FROM t JOIN watermark", ["t", "watermark"]),
    ("SELECT 1", []),
]  # fmt: skip


def shown(found):
    text = "STREAM " if found.streaming else ""
    if isinstance(found, FilesRead):
        return text + found.path
    return text + ".".join(found.parts) + (f" {found.options}" if found.options else "")


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_all_that_is_read_is_found(text, expected):
    assert [shown(found) for found in read(text).reads] == list(expected)


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_a_span_covers_the_name_and_what_belongs_to_it(text, expected):
    for found in read(text).reads:
        span = text[found.start : found.end]
        assert span.strip() == span
        last = found.path if isinstance(found, FilesRead) else found.parts[-1]
        assert last in span or "||" in span
        assert span.lower().startswith("stream") or not found.streaming or "cloud" in span


FILES = [
    ("read_files('/x')", "/x", {"cloudFiles.inferColumnTypes": "true"}, None),
    (
        "read_files('/x/*.json', schemaHints => 'a int', multiLine => true, maxFilesPerTrigger=>7)",
        "/x/*.json",
        {
            "cloudFiles.schemaHints": "a int",
            "multiLine": "true",
            "cloudFiles.maxFilesPerTrigger": "7",
            "cloudFiles.inferColumnTypes": "true",
            "cloudFiles.format": "json",
        },
        None,
    ),
    (
        "read_files(path => '/x', format => 'csv', schema => 'a int, b string', header => true)",
        "/x",
        {"cloudFiles.format": "csv", "cloudFiles.inferColumnTypes": "true", "header": "true"},
        "a int, b string",
    ),
    (
        "read_files('/x', 'csv', map('cloudFiles.inferColumnTypes', 'false', 'sep', ';'))",
        "/x",
        {"cloudFiles.inferColumnTypes": "false", "sep": ";", "cloudFiles.format": "csv"},
        None,
    ),
    (
        "cloud_files('/x', 'json', map('schema', 'a int', 'cloudFiles.maxFilesPerTrigger', '2'))",
        "/x",
        {"cloudFiles.maxFilesPerTrigger": "2", "cloudFiles.format": "json"},
        "a int",
    ),
    ("cloud_files(\"/x\", 'text')", "/x", {"cloudFiles.format": "text"}, None),
]


@pytest.mark.parametrize(("call", "path", "options", "schema"), FILES)
def test_file_functions_say_the_same_as_auto_loader_options(call, path, options, schema):
    (found,) = read(f"SELECT * FROM {call} f WHERE 1 = 1").files
    assert (found.path, dict(found.options), found.schema) == (path, options, schema)


WRONG = [
    ("SELECT * FORM orders", "PARSE_SYNTAX_ERROR"),
    ("SELECT (1", "PARSE_SYNTAX_ERROR"),
    ("SELECT * FROM STREAM(orders", "PARSE_SYNTAX_ERROR"),
    ("SELECT 'a", "PARSE_SYNTAX_ERROR"),
    ("", "PARSE_SYNTAX_ERROR"),
    ("-- nothing", "PARSE_SYNTAX_ERROR"),
    ("CREATE TABLE t (a int)", "PARSE_SYNTAX_ERROR"),
    ("SELECT 1; SELECT 2", "PARSE_SYNTAX_ERROR"),
    ("SELECT * FROM read_files()", "PARSE_SYNTAX_ERROR"),
    ("SELECT * FROM read_files(upper('x'))", "PARSE_SYNTAX_ERROR"),
    ("SELECT * FROM STREAM(SELECT * FROM t)", "PARSE_SYNTAX_ERROR"),
    ("SELECT * FROM event_log(TABLE(t))", "UNSUPPORTED_TABLE_VALUED_FUNCTION"),
    ("SELECT * FROM read_kafka(topic => 'x')", "UNSUPPORTED_TABLE_VALUED_FUNCTION"),
    ("SELECT * FROM IDENTIFIER('t')", "UNSUPPORTED_TABLE_VALUED_FUNCTION"),
]


ENDINGS = {
    "/x/a.json": "json",
    "/x/*.JSONL": "json",
    "/x/*.ndjson.gz": "json",
    "/x/*.csv.*": "csv",
    "/x/2024/*.parquet": "parquet",
    "/x/*.avro": "avro",
    "/x/*.orc": "orc",
    "/x/*.txt": "text",
    "/x/*.xml": "xml",
    "/x": None,
    "/x.d/json": None,
    "/x/*.gz": None,
    "/x.json/day": None,
}


@pytest.mark.parametrize(("path", "format_"), ENDINGS.items())
def test_a_path_that_ends_like_a_format_is_of_that_format(path, format_):
    assert file_options({}, path, "read_files").get("cloudFiles.format") == format_
    given = file_options({"format": "csv"}, path, "read_files")
    assert given["cloudFiles.format"] == "csv"


@pytest.mark.parametrize(("text", "condition"), WRONG)
def test_what_cannot_be_read_is_an_error_with_its_place(text, condition):
    with pytest.raises(PipelineError) as caught:
        read(text, lambda offset: SourceLocation("q.sql", 9, offset))
    assert caught.value.condition == condition
    location = caught.value.location
    assert location is not None
    assert 0 <= location.column <= len(text)


FULL_NAMES = {
    "builtin.abs(x)": "abs(x)",
    "System.`builtin` . upper ( x ) || BUILTIN./* c */lower(x)": "upper ( x ) || lower(x)",
    "session.mine(x) + system.session.mine(builtin.abs(x))": "mine(x) + mine(abs(x))",
    "builtin.count(DISTINCT x) OVER (PARTITION BY builtin.y)": (
        "count(DISTINCT x) OVER (PARTITION BY builtin.y)"
    ),
    "builtin.transform(x, y -> y.builtin.z + 1)": "transform(x, y -> y.builtin.z + 1)",
    "`abs`(x) + `system`.`builtin`.`abs`(x) + `my abs`(`x`)": "abs(x) + abs(x) + `my abs`(`x`)",
    "x.y IN (1) AND builtin.z > 'builtin.abs(x)'": "x.y IN (1) AND builtin.z > 'builtin.abs(x)'",
}


@pytest.mark.parametrize(("text", "engines"), FULL_NAMES.items())
def test_functions_called_in_full_reach_engines_by_their_own_names(text, engines):
    assert for_engine(text) == engines
    query = read(f"SELECT {text} FROM builtin.explode(x)")
    assert apply_edits(query.text, list(query.fixes)) == f"SELECT {engines} FROM explode(x)"
    assert not query.tables


@pytest.mark.parametrize("name", ["spark_catalog.builtin.abs", "system.abs", "a.b.c.f", "`a`.f"])
def test_names_that_no_function_has_are_refused_where_they_stand(name):
    with pytest.raises(PipelineError, match="there is no function") as caught:
        expression(f"1 + {name}(x)", lambda offset: SourceLocation("q.sql", 1, offset))
    assert (caught.value.condition, caught.value.location) == (
        "UNRESOLVED_ROUTINE",
        SourceLocation("q.sql", 1, 4),
    )


def test_long_qualifiers_are_cut_to_the_tables_name():
    text = "SELECT live.o.id, o.x, c.s.t.y.z FROM live.o JOIN c.s.t ON c.s.t.id = live.o.id"
    found = read(text)
    assert apply_edits(text, list(found.fixes)) == (
        "SELECT o.id, o.x, t.y.z FROM live.o JOIN c.s.t ON t.id = o.id"
    )


def test_tables_of_one_last_name_stay_apart():
    text = (
        "SELECT bronze.o.id, silver.o.s.x, main.bronze.O.y FROM main.bronze.o"
        " JOIN silver.o ON bronze.o.id = silver.o.id"
    )
    found = read(text)
    assert [table.alias for table in found.tables] == ["main_bronze_o", "silver_o"]
    assert apply_edits(text, list(found.fixes)) == (
        "SELECT `main_bronze_o`.id, `silver_o`.s.x, `main_bronze_o`.y FROM main.bronze.o"
        " JOIN silver.o ON `main_bronze_o`.id = `silver_o`.id"
    )


NAMES = st.text("abcxyzäß .`'\"-_/", min_size=1, max_size=12)
NOISE = st.sampled_from(
    ["", " -- FROM x\n", " /* STREAM(y) */ ", "\n\n", " ", "\t", " /* ' */ ", " -- `\n"]
)


@given(st.lists(st.tuples(NAMES, st.booleans(), NOISE), min_size=1, max_size=5), NOISE, NAMES)
def test_only_the_spans_change_whatever_the_names_and_the_space_between(tables, noise, literal):
    joined = " JOIN ".join(
        f"{space}{'STREAM ' if stream else ''}{quote_identifier(name)}{space} AS t{n}"
        for n, (name, stream, space) in enumerate(tables)
    )
    string = "'" + literal.replace("\\", "").replace("'", "") + "'"
    text = f"SELECT {string} AS s,{noise} 'FROM `z`' FROM {joined} WHERE a = {string}"
    found = read(text)
    assert [table.parts[-1] for table in found.tables] == [name for name, _, _ in tables]
    assert [table.streaming for table in found.tables] == [stream for _, stream, _ in tables]
    changed = apply_edits(text, [TextEdit(table.start, table.end, "X") for table in found.tables])
    expected = f"SELECT {string} AS s,{noise} 'FROM `z`' FROM " + " JOIN ".join(
        f"{space}X{space} AS t{n}" for n, (_, _, space) in enumerate(tables)
    )
    assert changed == expected + f" WHERE a = {string}"


@given(st.text(max_size=60))
def test_no_text_makes_the_reader_fail_in_any_other_way(text):
    try:
        found = read("SELECT " + text)
    except PipelineError:
        return
    assert all(isinstance(table, TableRead) for table in found.tables)


WORDS = "select from stream ( ) , t join on where a = 'x' read_files cloud_files with as . * `q` ;"


@given(st.lists(st.sampled_from(WORDS.split()), max_size=25))
def test_no_sequence_of_words_makes_the_reader_fail_in_any_other_way(words):
    try:
        found = read(" ".join(words))
    except PipelineError:
        return
    text = " ".join(words)
    assert all(0 <= each.start < each.end <= len(text) for each in found.reads)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("SELECT window, count(*) FROM x GROUP BY window", {"window"}),
        ("SELECT window.a FROM x GROUP BY window HAVING b > 1", {"window.a", "window", "b"}),
        (
            "SELECT x.window AS window, sum(a) OVER w FROM x WINDOW w AS (ORDER BY b)",
            {"x.window", "a", "b"},
        ),
    ],
)
def test_a_column_may_be_called_window(text, columns):
    assert {column.sql() for column in read(text).tree.find_all(exp.Column)} == columns
