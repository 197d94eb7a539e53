"""The page of the API names every call that is served, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from proa.region.api.app import create_app

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"


def test_the_page_and_the_server_agree(still):
    described = create_app(still.region).openapi()["paths"]
    expected = {f"{verb.upper()} {path}" for path, verbs in described.items() for verb in verbs}
    written = re.findall(
        r"^\| `((?:GET|PUT|POST|PATCH|DELETE|HEAD) [^`]+)`", PAGE.read_text(), re.MULTILINE
    )
    assert sorted(expected) == sorted(written)
