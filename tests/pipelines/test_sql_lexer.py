"""SQL texts fall into statements, and nothing of the text is lost on the way."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.errors import PipelineError
from proa.pipelines.sql.lexer import (
    SqlText,
    TokenKind,
    first_word,
    reads_stream,
    split,
    tokenize,
    unquote,
)

FRAGMENTS = st.sampled_from(
    [
        "SELECT",
        "a",
        "`odd ; name`",
        "'it''s; fine'",
        '"double ; quoted"',
        r"'escaped \' ; quote'",
        r"r'raw \'",
        ";",
        "\n",
        " ",
        "-- a comment; with a semicolon\n",
        "/* block ; /* nested ; */ */",
        "\n-- COMMAND ----------\n",
        "\n-- MAGIC %md # Title; of a cell\n",
        "\n-- DBTITLE 1,Bronze; raw\n",
        "${source}",
        "(",
        ")",
        "::",
        "1.5",
        "é",
        "$$ body ; $$",
    ]
)


def statements(text: str) -> list[str]:
    return [
        text[piece.start : piece.end].strip()
        for piece in split(SqlText(text, "f.sql"))
        if piece.says_something
    ]


@given(st.lists(FRAGMENTS).map(" ".join))
def test_statements_and_separators_joined_are_the_text(text: str):
    pieces = split(SqlText(text, "f.sql"))
    assert "".join(text[piece.start : piece.end] for piece in pieces) == text
    assert all(before.end == after.start for before, after in pairwise(pieces))


@given(st.text())
def test_any_text_is_tokenized_without_loss_or_refused_with_a_line(text: str):
    source = SqlText(text, "f.sql")
    error = None
    try:
        tokens = tokenize(source)
    except PipelineError as refusal:
        error = refusal
    if error is None:
        assert "".join(token.text for token in tokens) == text
    else:
        assert 1 <= error.location.line <= text.count("\n") + 1


@given(st.lists(FRAGMENTS.filter(lambda fragment: ";" not in fragment), min_size=1).map(" ".join))
def test_a_semicolon_between_two_texts_separates_them(text: str):
    assert statements(text + "\n;" + text) == statements(text) * 2


def test_semicolons_in_strings_names_and_comments_separate_nothing():
    text = "SELECT ';', `a;b` -- c;d\n/* e;f /* g;h */ i;j */ FROM t"
    assert statements(text) == [text]


def test_cell_marks_separate_statements_that_have_no_semicolon():
    text = "SELECT 1\n\n-- COMMAND ----------\n\nSELECT 2\n-- COMMAND ----------\n-- only words"
    assert statements(text) == ["SELECT 1", "SELECT 2"]


def test_a_cell_mark_inside_a_string_is_text():
    text = "SELECT '\n-- COMMAND ----------\n'"
    assert statements(text) == [text]


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("SELECT 1;\nSELECT 'open", 2, "closing '"),
        ("\n\nSELECT `open", 3, "closing `"),
        ('SELECT "open', 1, 'closing "'),
    ],
)
def test_what_is_never_closed_is_refused_at_the_line_where_it_opens(text, line, expected):
    with pytest.raises(PipelineError, match=expected) as caught:
        tokenize(SqlText(text, "f.sql"))
    assert caught.value.condition == "PARSE_SYNTAX_ERROR"
    assert caught.value.location.line == line


def test_an_open_comment_has_sparks_own_condition():
    with pytest.raises(PipelineError) as caught:
        tokenize(SqlText("SELECT 1\n/* a /* b */", "f.sql"))
    assert caught.value.condition == "UNCLOSED_BRACKETED_COMMENT"
    assert caught.value.location.line == 2


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("'plain'", "plain"),
        ("'it''s'", "it's"),
        (r"'it\'s'", "it's"),
        ('"say ""x"""', 'say "x"'),
        (r"'tab\there'", "tab\there"),
        (r"'100\%'", r"100\%"),
        (r"'\u00e9'", "é"),
        (r"'\U0001F600 \101'", "😀 A"),
        (r"'\UFFFFFFFF'", "UFFFFFFFF"),
        (r"'\''''", "''"),
        (r"r'\d+'", r"\d+"),
        ("`a``b`", "a`b"),
        ("$$as is$$", "as is"),
    ],
)
def test_quotes_and_escapes_mean_what_spark_means(written, meant):
    (token,) = tokenize(SqlText(written, "f.sql"))
    assert token.kind in {TokenKind.STRING, TokenKind.QUOTED}
    assert unquote(token) == meant


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("-- a\n/* b /* c */ */ ((select 1", "SELECT"),
        ("with a as ('unclosed", "WITH"),
        ("", ""),
        ("-- only this", ""),
        ("'x'", "'X'"),
    ],
)
def test_a_statement_begins_with_its_first_word(text: str, word: str):
    assert first_word(text) == word


@pytest.mark.parametrize(
    ("text", "streams"),
    [
        ("SELECT * FROM STREAM(a)", True),
        ("SELECT * FROM stream a.b", True),
        ("SELECT * FROM b JOIN STREAM `a`", True),
        ("SELECT * FROM a -- FROM STREAM b", False),
        ("SELECT 'FROM STREAM(a)' FROM b", False),
        ("SELECT stream FROM a", False),
        ("SELECT * FROM a stream WHERE x", False),
    ],
)
def test_a_stream_is_read_where_a_relation_stands(text, streams):
    assert reads_stream(text) is streams
