"""Records what Apache Spark answers to lines of DataFrame code. Needs `pyspark[connect]` and a JVM.

python tools/dataframe_record.py tests/engine/dataframe_answers.json.gz [lines.txt]
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path

_ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(_ROOT / "tools"), str(_ROOT / "tests" / "engine")]
os.environ["TZ"] = "UTC"
os.environ["JAVA_TOOL_OPTIONS"] = "-Duser.timezone=UTC"
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)

_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "1",
    "spark.default.parallelism": "1",
    "spark.driver.memory": "3g",
    "spark.sql.adaptive.enabled": "false",
}


def main() -> None:
    """Record the lines of the file, and ask those again that the answers have."""
    from dataframe_code import (  # type: ignore[import-not-found]  # of tests/engine
        answer,
        tame,
    )
    from parity_values import edge
    from pyspark.sql import SparkSession

    target = Path(sys.argv[1])
    known = dict(json.loads(gzip.decompress(target.read_bytes()))) if target.exists() else {}
    lines = list(known)
    if len(sys.argv) > 2:
        lines += Path(sys.argv[2]).read_text().splitlines()
    builder = SparkSession.builder.remote("local[2]")
    for name, value in _SETTINGS.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    wild = spark.sql(edge())
    wild.createOrReplaceTempView("edge")
    tables = (tame(spark), wild)
    answers = []
    for line in dict.fromkeys(lines):
        wanted = [found is not None for found in known.get(line, ("", ""))]  # what is null stays so
        pairs = zip(tables, wanted, strict=True)
        answers.append((line, [answer(line, table, spark) if w else None for table, w in pairs]))
    target.write_bytes(gzip.compress(json.dumps(answers).encode(), mtime=0))
    os._exit(0)  # the server in this process waits for nobody


if __name__ == "__main__":
    main()
