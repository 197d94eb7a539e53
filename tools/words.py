"""The words of public nouns: each stands in the glossary, or is one that everybody knows.

`tools/common_words.txt` has those that need no explanation to somebody who writes Python and SQL.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"
COMMON_WORDS = Path(__file__).parent / "common_words.txt"
DOMAIN = frozenset(
    (ROOT / "src" / "proa" / folder).resolve()
    for folder in (
        *(".", "autoloader", "capture", "cdc", "gateway", "graph", "graph/findings", "lake"),
        *("landing", "pipelines", "recovery", "runtime", "sinks", "storage"),
    )
)
"""The folders whose public classes are the product's nouns. In others are parsers and adapters."""

_TERM = re.compile(r"^\| \*\*(.+?)\*\* \|", re.MULTILINE)


def terms() -> list[str]:
    """The terms that the glossary explains, in its order."""
    return _TERM.findall(GLOSSARY.read_text(encoding="utf-8"))


def common_words() -> frozenset[str]:
    """The words that need no explanation."""
    return frozenset(COMMON_WORDS.read_text(encoding="utf-8").split())


def explained_words() -> frozenset[str]:
    """Each word of the glossary's terms."""
    return frozenset(word for term in terms() for word in re.findall("[a-z]+", term.lower()))


def forms(word: str) -> set[str]:
    """A word as it may stand elsewhere: its singular, its plural, what somebody does who is called so."""
    act = re.sub("(ier|ied)$", "y", re.sub("p?p(er|ed)$", "p", word))
    singulars = {
        word,
        act,
        word.removesuffix("s"),
        word.removesuffix("es"),
        re.sub("ies$", "y", word),
    }
    return singulars | {form + "s" for form in singulars} | {f"{act}per", f"{act}ping"}


def words_of_classes(trees: dict[Path, ast.Module]) -> Iterator[tuple[str, str]]:
    """Yield each word in the name of a public class of the domain, with that name."""
    for path, tree in trees.items():
        if path.resolve().parent not in DOMAIN:
            continue
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+", node.name):
                    yield word.lower(), node.name


def unexplained(words: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The words that neither the glossary has nor everybody knows, each with a name that has it."""
    known = explained_words() | common_words()
    return {word: name for word, name in words if not forms(word) & known}


def word_failures(trees: dict[Path, ast.Module]) -> Iterator[str]:
    """Yield a sentence for each word of a public class that needs an explanation and has none."""
    for word, name in unexplained(words_of_classes(trees)).items():
        yield (
            f"the class name {name!r} brings the word {word!r}: explain it in docs/glossary.md, use"
            " a word that is there, or add it to tools/common_words.txt if everybody knows it"
        )
