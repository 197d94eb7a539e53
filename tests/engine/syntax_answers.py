"""The queries of `syntax_queries.sql`, and what Apache Spark answers to them.

`python syntax_answers.py`, run with a Python that has Apache Spark 4.2 and a JVM, asks Spark again
and writes `syntax_answers.json`.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ANSWERS = HERE / "syntax_answers.json"


def queries() -> list[str]:
    text = (HERE / "syntax_queries.sql").read_text()
    return [query.strip() for query in text.split(";\n") if query.strip()]


def plain(value: Any) -> Any:
    """A value as JSON holds it, the same from Arrow and from Spark's rows."""
    if isinstance(value, dict):
        return [plain(item) for item in value.values()]
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=None).isoformat()
    if isinstance(value, decimal.Decimal | dt.date):
        return str(value)
    return value


def answer(query: str, schema: str, rows: list[Any]) -> dict[str, Any]:
    """Rows in an order of their own, unless the query orders them."""
    found = [plain(row) for row in rows]
    if "ORDER BY ALL" not in query:
        found.sort(key=json.dumps)
    return {"query": query, "schema": schema, "rows": found}


if __name__ == "__main__":
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.sql.session.timeZone", "UTC").getOrCreate()
    answers = []
    for text in queries():
        frame = spark.sql(text)
        rows = [list(row) for row in frame.collect()]
        answers.append(answer(text, frame.schema.simpleString(), rows))
    ANSWERS.write_text(json.dumps(answers, indent=1) + "\n")
