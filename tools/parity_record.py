"""Records what Apache Spark answers to the parity corpus. Needs `pyspark` (not pyspark-client) and a JVM.

python tools/parity_record.py tests/engine/parity.json.gz
"""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
os.environ["TZ"] = "UTC"

from parity_values import ROWS, TYPES, edge

_COLUMN = re.compile(
    r"\b(?:id|grp|(?:" + "|".join(sorted(TYPES, key=len, reverse=True)) + r")[23]?)\b(?!\s*\()"
)
_QUOTED = re.compile(r"r?'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_TEXT_ONLY = re.compile(r"interval (?:year|month)|variant|time\(|geo|\btime\b|\bvoid\b.*interval")
_FEW = 8
_AGGREGATE = re.compile(r"SELECT grp, (.*) FROM edge GROUP BY grp ORDER BY grp", re.DOTALL)


def encoded(value: Any) -> Any:
    """A value as JSON holds it: exact, and the same from any client."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return {"d": repr(value)}
    if isinstance(value, Decimal):
        return {"n": f"{value:f}"}
    if isinstance(value, datetime):
        return {"v": value.replace(tzinfo=None).isoformat()}
    if isinstance(value, (date, time)):
        return {"t": value.isoformat()}
    if isinstance(value, timedelta):
        return {"e": (value.days * 86400 + value.seconds) * 1_000_000 + value.microseconds}
    if isinstance(value, (bytes, bytearray)):
        return {"x": bytes(value).hex()}
    if isinstance(value, dict):
        return {"m": [[encoded(k), encoded(v)] for k, v in value.items()]}
    return [encoded(item) for item in value]


class Recorder:
    def __init__(self, journal: Path) -> None:
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.master("local[2]").appName("parity")
        for name, value in {
            "spark.ui.enabled": "false",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "1",
            "spark.default.parallelism": "1",
            "spark.driver.memory": "3g",
            "spark.sql.codegen.wholeStage": "false",
            "spark.sql.codegen.factoryMode": "NO_CODEGEN",
            "spark.sql.adaptive.enabled": "false",
            "spark.driver.extraJavaOptions": "-Duser.timezone=UTC",
        }.items():
            builder = builder.config(name, value)
        self.spark = builder.getOrCreate()
        self.spark.sparkContext.setLogLevel("OFF")
        self.spark.sql(edge()).createOrReplaceTempView("edge")
        self.done = 0
        self.known: dict[str, Any] = {}
        if journal.exists():
            self.known = dict(json.loads(line) for line in journal.read_text().splitlines())
        self.journal = journal.open("a")
        self.lock = threading.Lock()

    def answer(self, query: str, ids: str | None = None) -> dict[str, Any]:
        """Columns, types and rows of a query, or its error. `ids` finds the rows that fail."""
        from py4j.protocol import Py4JJavaError
        from pyspark.errors import PySparkException

        try:
            frame = self.spark.sql(query)
            fields = frame.schema.fields
        except PySparkException as error:
            return {"error": error.getCondition() or type(error).__name__, "at": "analysis"}
        types = [field.dataType.simpleString() for field in fields]
        found: dict[str, Any] = {
            "c": [field.name for field in fields],
            "t": [json.loads(field.dataType.json()) for field in fields],
            "n": [field.nullable for field in fields],
        }
        if any(_TEXT_ONLY.search(text) for text in types):
            found["text"] = True
        try:
            found["rows"] = self._rows(frame, text="text" in found)
        except PySparkException as error:
            condition = error.getCondition() or type(error).__name__
            if ids is None:
                found |= {"error": condition, "at": "run"}
                return found
            found["rows"] = []
            found["errors"] = {}
            for k in range(_FEW):
                one = self.answer(f"{query} WHERE id = {k}")
                if "error" in one:
                    found["errors"][str(k)] = one["error"]
                else:
                    found["rows"] += one["rows"]
        except (OverflowError, ValueError, Py4JJavaError) as error:
            found["error"] = f"client: {type(error).__name__}"
        return found

    def _rows(self, frame: Any, *, text: bool) -> list[Any]:
        if text:
            names = [f"c{k}" for k in range(len(frame.columns))]
            frame = frame.toDF(*names).selectExpr(*(f"CAST({name} AS STRING)" for name in names))
        return [encoded(tuple(row)) for row in frame.collect()]

    def expression(self, text: str) -> dict[str, Any]:
        if _COLUMN.search(_QUOTED.sub("''", text)):
            found = self.answer(f"SELECT id, {text} FROM edge", "id")
        else:
            found = self.answer(f"SELECT {text}")
        return {"q": text, **found}

    def aggregate(self, text: str) -> list[dict[str, Any]]:
        return [
            {"q": query, **self.answer(query)}
            for query in (
                f"SELECT grp, {text} FROM edge GROUP BY grp ORDER BY grp",
                f"SELECT {text} FROM edge WHERE id < 3",
                f"SELECT {text} FROM edge WHERE false",
            )
        ]

    def over(self, text: str) -> dict[str, Any]:
        return {"q": text, "window": True, **self.answer(f"SELECT id, {text} FROM edge")}

    def query(self, text: str) -> dict[str, Any]:
        return {"q": text, **self.answer(text)}

    def all(self, work: Any, texts: Iterable[str]) -> list[Any]:
        def counted(text: str) -> Any:
            key = f"{work.__name__} {text}"
            found = self.known.get(key)
            if found is None:
                found = work(text)
            with self.lock:
                if key not in self.known:
                    self.journal.write(json.dumps([key, found]) + "\n")
                self.done += 1
                if self.done % 200 == 0:
                    print(self.done, text, flush=True)
            return found

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(counted, texts))


def asked(corpus: dict[str, Any], more: list[str]) -> dict[str, list[str]]:
    """What is to be recorded, by kind: expressions, windows, aggregates, queries."""
    found: dict[str, list[str]] = {"expression": [], "over": [], "agg": [], "query": []}
    for entry in corpus["expressions"]:
        found["over" if entry.get("window") else "expression"].append(entry["q"])
    for entry in corpus["aggregates"]:
        match = _AGGREGATE.fullmatch(entry["q"])
        if match:
            found["agg"].append(match.group(1))
    found["query"] = [entry["q"] for entry in corpus["queries"]]
    for line in more:
        kind, _, rest = line.partition(" ")
        if kind in found:
            found[kind].append(rest)
        elif line.strip():
            found["expression"].append(line)
    return {kind: list(dict.fromkeys(texts)) for kind, texts in found.items()}


def main() -> None:
    path = Path(sys.argv[1])
    corpus = json.loads(gzip.decompress(path.read_bytes()))
    more = Path(sys.argv[2]).read_text().splitlines() if sys.argv[2:] else []
    wanted = asked(corpus, more)
    recorder = Recorder(Path(sys.argv[1] + ".journal"))
    found: dict[str, Any] = {"spark": recorder.spark.version}
    found["expressions"] = recorder.all(recorder.expression, wanted["expression"])
    found["expressions"] += recorder.all(recorder.over, wanted["over"])
    groups = recorder.all(recorder.aggregate, wanted["agg"])
    found["aggregates"] = [entry for group in groups for entry in group]
    found["queries"] = recorder.all(recorder.query, wanted["query"])
    packed = json.dumps(found, separators=(",", ":"))
    path.write_bytes(gzip.compress(packed.encode(), 9, mtime=0))
    print({kind: len(texts) for kind, texts in wanted.items()}, ROWS)


if __name__ == "__main__":
    main()
