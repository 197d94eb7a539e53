"""Runs a line of DataFrame code over a table of typed values, on any Spark session.

`tools/dataframe_record.py` records what Apache Spark answers, and the suite asks the embedded engine. A
line sees `e` (the table), `c` (the table, for its columns), F, T, W, `spark` and what Python programs use
beside them. It yields a column or a table.
"""

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from parity_corpus import encoded

ANSWERS = Path(__file__).with_name("dataframe_answers.json.gz")
TAME = Path(__file__).with_name("parity_tame.arrow")
"""Few rows of values that no function fails over."""
_YIELDS_COLUMNS = ("F.explode", "F.posexplode", "F.inline", "F.stack", "F.json_tuple")


def tame(spark: Any) -> Any:
    """The table of tame values, with the columns of the table of edge values."""
    from pyspark.sql.connect import functions as F

    frame = spark.createDataFrame(pa.ipc.open_file(TAME).read_all())
    return frame.withColumn("g", F.expr("make_ym_interval(0, g)")).withColumn(
        "z", F.col("z").cast("timestamp_ntz")
    )


def answer(text: str, frame: Any, spark: Any) -> dict[str, Any]:
    """What the line gives: names, types and rows, or an error."""
    try:
        found = _evaluated(text, frame, spark)
        schema = found.schema
        table = found.toArrow()
    except Exception as error:  # noqa: BLE001 - an error is an answer
        condition = getattr(error, "getCondition", lambda: None)()
        return {"error": condition or type(error).__name__, "text": str(error)[:300]}
    columns = [[encoded(value) for value in column.to_pylist()] for column in table.columns]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return {"names": schema.names, "types": json.loads(schema.json())["fields"], "rows": rows}


def _evaluated(text: str, frame: Any, spark: Any) -> Any:
    from pyspark.sql import Row
    from pyspark.sql import types as T
    from pyspark.sql.connect import functions as F
    from pyspark.sql.connect.column import Column
    from pyspark.sql.connect.window import Window

    seen = {
        "e": frame, "c": frame, "spark": spark, "F": F, "T": T, "W": Window, "Row": Row, "np": np, "pd": pd,
        "pa": pa, "Decimal": Decimal, "date": dt.date, "datetime": dt.datetime, "time": dt.time,
        "timedelta": dt.timedelta, "timezone": dt.timezone,
    }  # fmt: skip
    found = eval(text, seen)
    if not isinstance(found, Column):
        return found
    yields = text.startswith(_YIELDS_COLUMNS)
    return frame.select("id", found) if yields else frame.select("id", found.alias("r"))
