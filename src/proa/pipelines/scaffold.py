"""What `proa init` writes: a small project that runs at once, in one region or in two."""

from __future__ import annotations

import re
from pathlib import Path

from proa.errors import SettingsError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

_SPEC = """\
# What runs: every file below transformations/, in this region's storage.
name: {name}
storage: data/storage
configuration:
  landing_zone: data/landing      # `proa run --region R` puts the region's own here
libraries:
  - glob:
      include: transformations/**
"""

_REGIONS = """\
# Where it runs: the same pipeline in two regions, fed by the same files.
# A location may also be an object store: s3://bucket/folder, gs://... or abfss://...
regions:
  east:
    landing_zone: data/east/landing
    storage: data/east/storage
  west:
    landing_zone: data/west/landing
    storage: data/west/storage

# What is shipped to every landing zone, one folder a source.
sources:
  orders: {path: data/source/orders}

# "How far is this region?" is answered by the events' own time, the same in both regions.
event_time:
  table: daily_sales
  column: latest_event_timestamp
"""

_BRONZE = '''\
"""Bronze: the orders as they arrived. Every file counts once, whatever happens in between."""

from pyspark import pipelines as dp

LANDING_ZONE = spark.conf.get("landing_zone")

# Types are pinned: two regions must not disagree because they saw the files in another order.
TYPES = "order_id string, event_timestamp timestamp, customer string, amount decimal(12,2)"


@dp.table(comment="What did not fit the types is in _rescued_data.")
@dp.expect("complete", "_rescued_data IS NULL")
def orders_bronze():
    return (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", TYPES)
        .load(f"{LANDING_ZONE}/orders")
    )
'''

_SALES = """\
-- Silver: orders that can be counted.
CREATE OR REFRESH STREAMING TABLE orders_clean (
  CONSTRAINT has_id      EXPECT (order_id IS NOT NULL) ON VIOLATION DROP ROW,
  CONSTRAINT has_amount  EXPECT (amount > 0)           ON VIOLATION DROP ROW,
  CONSTRAINT has_customer EXPECT (customer IS NOT NULL)
)
COMMENT "Every rule's violations are in the event log."
AS SELECT order_id, event_timestamp, customer, amount
FROM STREAM(orders_bronze);

-- Gold: sales per day, with the time of the newest order that went into them.
CREATE OR REFRESH MATERIALIZED VIEW daily_sales
COMMENT "Orders and revenue of each day."
AS SELECT
  CAST(event_timestamp AS DATE) AS day,
  count(*)                      AS orders,
  sum(amount)                   AS revenue,
  max(event_timestamp)          AS latest_event_timestamp
FROM orders_clean
GROUP BY CAST(event_timestamp AS DATE);
"""

_FIRST_ORDERS = """\
{"order_id": "o-1", "event_timestamp": "2026-01-05T09:00:00Z", "customer": "ada", "amount": 12.50}
{"order_id": "o-2", "event_timestamp": "2026-01-05T17:30:00Z", "customer": "bob", "amount": 8.00}
{"order_id": "o-3", "event_timestamp": "2026-01-06T08:15:00Z", "customer": null, "amount": 99.90}
"""

_LATER_ORDERS = """\
{"order_id": "o-4", "event_timestamp": "2026-01-06T11:45:00Z", "customer": "ada", "amount": 3.20}
{"order_id": "o-5", "event_timestamp": "2026-01-07T10:05:00Z", "customer": "cy", "amount": "free"}
"""

_IGNORED = """\
# What Proa writes. The sample source files stay.
/data/*
!/data/source/
__pycache__/
.venv/
"""

_README = """\
# {name}

A pipeline of three tables over order files, ready for two regions.

    proa ship --once            # copy new source files to both landing zones
    proa run --region east      # compute the tables in one region ...
    proa run --region west      # ... and in the other
    proa verify                 # do both hold the same rows?
    proa query --region east "SELECT * FROM daily_sales ORDER BY day"

| file | what it says |
|---|---|
| `spark-pipeline.yml` | which files make the pipeline |
| `proa.yml` | regions, sources, and the column that carries the events' time |
| `transformations/` | the tables, in Python and SQL |
| `data/source/` | sample files; new ones are picked up by name |
"""

_FILES = {
    "spark-pipeline.yml": _SPEC,
    "proa.yml": _REGIONS,
    "transformations/bronze.py": _BRONZE,
    "transformations/sales.sql": _SALES,
    "data/source/orders/2026-01-06.json": _FIRST_ORDERS,
    "data/source/orders/2026-01-07.json": _LATER_ORDERS,
    ".gitignore": _IGNORED,
    "README.md": _README,
}


def create_project(name: str, parent: Path) -> tuple[Path, ...]:
    """Write the project `parent/name`; returns its files, spark-pipeline.yml first.

    Raises SettingsError when the name cannot name a project, or when something is there already.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"the name {name!r} cannot name a project; use letters, digits, '-' and '_'"
        )
    folder = parent.absolute() / name
    try:
        folder.mkdir(parents=True)
        for path, text in _FILES.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("{name}", name), encoding="utf-8")
    except FileExistsError as error:
        raise SettingsError(
            f"{str(folder)!r} is there already; choose another name, or remove it"
        ) from error
    except OSError as error:
        raise SettingsError(f"cannot write {str(folder)!r}: {error.strerror}") from error
    return tuple(folder / path for path in _FILES)
