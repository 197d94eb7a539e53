"""A name or a string that one part of Proa writes into SQL means the same to all that read it."""

from __future__ import annotations

import duckdb
import pytest
import sqlglot
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proa.engine import Engine
from proa.engine.parity.sql_tokens import tokens
from proa.pipelines.identifiers import Namespace, name_parts, plain_name
from proa.pipelines.sql.lexer import SqlText, TokenKind, tokenize, unquote
from proa.text import (
    duckdb_identifier,
    duckdb_literal,
    literal_value,
    quote_identifier,
    string_literal,
)

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), min_size=1, max_size=6)
STRINGS = st.text(st.characters(codec="utf-8"), max_size=8) | st.text(
    "\\'\"\0\n\r01u%_", max_size=8
)


@given(NAMES)
@example(" ")
@example("a ")
def test_a_quoted_name_is_read_back_by_each_reader(name: str) -> None:
    text = quote_identifier(name)
    (token,) = tokenize(SqlText(text, "f.sql"))
    assert (token.kind, unquote(token)) == (TokenKind.QUOTED, name)
    assert [(t.kind, t.text) for t in tokens(text)[:-1]] == [("quoted", text)]
    assert name_parts(text) == (name,)
    assert Namespace().key(plain_name(text)) == Namespace().key(text)
    assert sqlglot.parse_one(f"SELECT 1 AS {text}", dialect="databricks").selects[0].alias == name


@given(STRINGS)
def test_a_string_is_read_back_by_each_reader(value: str) -> None:
    text = string_literal(value)
    (token,) = tokenize(SqlText(text, "f.sql"))
    assert (token.kind, unquote(token)) == (TokenKind.STRING, value)
    assert [t.kind for t in tokens(text)[:-1]] == ["string"]
    assert literal_value(text) == value


@pytest.mark.slow
@settings(max_examples=40)
@given(STRINGS.filter(lambda value: "\0" not in value), NAMES)
def test_duckdb_reads_back_what_is_written_for_it(value: str, name: str) -> None:
    with duckdb.connect() as connection:
        rows = connection.execute(f"SELECT {duckdb_literal(value)} AS {duckdb_identifier(name)}")
        assert rows.fetchall() == [(value,)]
        assert rows.description[0][0] == name


@pytest.fixture(scope="module")
def engine():
    with Engine.start() as started:
        yield started


@settings(max_examples=15)
@given(st.lists(STRINGS, min_size=1, max_size=8), NAMES)
def test_the_engine_reads_back_what_is_written_for_it(engine, values, name) -> None:
    columns = ", ".join(
        f"{string_literal(value)} AS {quote_identifier(f'{name}{n}')}"
        for n, value in enumerate(values)
    )
    rows = engine.arrow(engine.spark.sql(f"SELECT {columns}"))
    assert rows.to_pylist() == [{f"{name}{n}": value for n, value in enumerate(values)}]
