"""The reference page names everything that can be written, and every mistake."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from proa.pipelines import dlt, spec
from proa.pipelines.unsupported import REMEDIES, WITHOUT_EFFECT

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "declaring.md").read_text(encoding="utf-8")
CODE = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))
ROWS = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
SOURCES = [
    path
    for path in (ROOT / "src" / "proa" / "pipelines").rglob("*.py")
    if path.name not in {"declaring_session.py", "ddl.py", "definitions.py"}
]


@pytest.mark.parametrize("name", dlt.__all__)
def test_every_name_and_its_parameters_are_on_the_page(name):
    function = getattr(dlt, name)
    cells = next(cells for cells in ROWS if f"`{name}`" in " ".join(cells[:-1]))
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind in {p.VAR_POSITIONAL, p.VAR_KEYWORD} for p in parameters):
        return
    assert [p.name for p in parameters if f"`{p.name}`" not in cells[-1]] == []


@pytest.mark.parametrize("feature", REMEDIES)
def test_every_refusal_is_on_the_page(feature):
    assert feature in PAGE


@pytest.mark.parametrize("name", [*WITHOUT_EFFECT, *spec._FIELDS])
def test_what_has_no_effect_and_every_field_is_on_the_page(name):
    assert name in CODE


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_every_condition_is_on_the_page(source):
    text = source.read_text(encoding="utf-8")
    conditions = re.findall(r"\"([A-Z]+(?:_[A-Z]+)+)\"", text)
    assert [name for name in conditions if name not in PAGE] == []
