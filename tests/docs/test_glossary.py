"""The words that the code lives by stand in the glossary, and the glossary has no others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import reference
import words

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "proa"


def words_of_commands() -> Iterator[tuple[str, str]]:
    """Each word in the name of a command, with that name."""
    for name, _ in reference.command_tree():
        for word in re.findall("[a-z]+", name):
            yield word, f"proa {name}"


def words_of_classes() -> Iterator[tuple[str, str]]:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")}
    return words.words_of_classes(trees)


def test_every_word_of_a_class_or_a_command_is_explained_or_common() -> None:
    assert words.unexplained([*words_of_classes(), *words_of_commands()]) == {}
    assert words.unexplained([("gizmo", "Gizmo"), ("manifest", "Manifest")]) == {"gizmo": "Gizmo"}


def test_every_term_is_used_where_users_or_readers_meet_it() -> None:
    places = [*SOURCE.rglob("*.py"), *(ROOT / "docs" / "guide").glob("*.md")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in places).lower()
    plain = re.sub(r"[_\s-]+", " ", text)
    unused = [
        term
        for term in map(str.lower, words.terms())
        if term.replace("-", " ") not in plain and term.replace(" ", "") not in plain
    ]
    assert unused == []


def test_a_term_is_explained_once_and_found_by_the_alphabet() -> None:
    names = [term.lower() for term in words.terms()]
    assert names == sorted(set(names))


def test_no_word_is_both_explained_and_common() -> None:
    assert words.common_words() & {term.lower() for term in words.terms()} == set()
