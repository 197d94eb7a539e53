"""The list of what the embedded engine answers differently is true of the engine as it is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pysail.spark import SparkConnectServer
from pyspark.sql import SparkSession

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs/reference/upstream-bugs.md"
ROW = re.compile(r"^\| `(.+?)` \| `(.+?)` \| `.+?` \| .+ \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """A session without Proa between it and the engine."""
    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    _, port = server.listening_address
    session = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").create()
    session.conf.set("spark.sql.session.timeZone", "UTC")
    yield session
    session.stop()
    server.stop()


def answer(spark: Any, expression: str) -> str:
    try:
        return str(spark.sql(f"SELECT {expression}").toArrow().column(0)[0].as_py())
    except Exception:  # noqa: BLE001 - whatever the engine raises is an error of the list
        return "error"


def test_the_page_lists_what_differs() -> None:
    assert len(ROWS) > 30


@pytest.mark.parametrize(("expression", "said"), ROWS)
def test_an_upstream_bug_is_there_still(spark: Any, expression: str, said: str) -> None:
    assert answer(spark, expression) == said, "the engine has changed: look at Proa's rule for it"
