"""`${key}` is replaced by the configuration, and errors still point at the user's own line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.errors import PipelineError
from proa.pipelines.sql.declarations import fill_identifiers, fill_parameters
from proa.pipelines.sql.lexer import SqlText, split

CONFIGURATION = {"source": "/landing", "day": "'2026-01-01'", "a.b": "x", "lines": "1\n+\n2"}


def replaced(text: str, configuration: dict[str, str] = CONFIGURATION) -> SqlText:
    source = SqlText(text, "f.sql")
    (piece,) = split(source)
    return fill_parameters(source, piece, configuration)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("SELECT '${source}/x'", "SELECT '/landing/x'"),
        ('SELECT "${source}"', 'SELECT "/landing"'),
        ("SELECT `${a.b}`", "SELECT `x`"),
        ("SELECT ${day}", "SELECT '2026-01-01'"),
        ("SELECT ${ day }", "SELECT '2026-01-01'"),
        ("SELECT ${spark:a.b}", "SELECT x"),
        ("SELECT '${source}${source}'", "SELECT '/landing/landing'"),
        ("SELECT 1 -- ${missing}", "SELECT 1 -- ${missing}"),
        ("SELECT '$5 {x}'", "SELECT '$5 {x}'"),
    ],
)
def test_parameters_are_replaced_as_text(written, meant):
    assert replaced(written).text == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("SELECT * FROM IDENTIFIER('c.s.t') x", "SELECT * FROM c.s.t x"),
        ("FROM STREAM(IDENTIFIER('${a.b}' || '.' || \"t\"))", "FROM STREAM(x.t)"),
        ("FROM identifier ( concat('${a.b}', '.', 't') )", "FROM x.t"),
        ("SELECT IDENTIFIER('a'), IDENTIFIER('b') FROM t", "SELECT a, b FROM t"),
        ("SELECT IDENTIFIER(lower('A')), identifier", "SELECT IDENTIFIER(lower('A')), identifier"),
        ("SELECT IDENTIFIER(), 'IDENTIFIER(''a'')'", "SELECT IDENTIFIER(), 'IDENTIFIER(''a'')'"),
    ],
)
def test_names_in_identifier_clauses_stand_for_themselves(written, meant):
    assert fill_identifiers(replaced(written)).text == meant


def test_a_place_behind_an_identifier_clause_is_the_users():
    source = fill_identifiers(replaced("SELECT\nIDENTIFIER(\n'a' ||\n'${lines}')\nFROM t"))
    assert source.location(source.text.index("FROM")).line == 5
    assert source.location(source.text.index("a")).line == 2


def test_an_unknown_key_is_refused_with_the_nearest_known_one():
    with pytest.raises(PipelineError, match="did you mean 'source'") as caught:
        replaced("SELECT 1,\n  '${sorce}/x'")
    assert caught.value.condition == "UNKNOWN_CONFIGURATION_KEY"
    assert (caught.value.location.file, caught.value.location.line) == ("f.sql", 2)


@pytest.mark.slow
@given(st.lists(st.sampled_from(["a\n", "${lines}", "${source}", " ", "\n", "'${lines}'"])))
def test_lines_are_those_of_the_users_file_whatever_the_values_hold(fragments: list[str]):
    text = "".join(["x\n", *fragments, "\nMARK"])
    source = replaced(text)
    location = source.location(source.text.index("MARK"))
    assert location.line == text[: text.index("MARK")].count("\n") + 1


def test_a_place_inside_a_value_is_where_the_parameter_stands():
    source = replaced("SELECT\n${lines}\nFROM t")
    assert source.location(source.text.index("2")).line == 2
    assert source.location(source.text.index("FROM")).line == 3
