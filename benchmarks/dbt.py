"""The same three tables by dbt on DuckDB, cold, end to end: `proa run` against `dbt run`.

Bronze is incremental by file name, as dbt's users write it; silver and gold are computed anew. There
is no rescued data, no second region and no exactly-once: it is what a user of one machine compares.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.data import orders
from benchmarks.measure import Result, alternate
from benchmarks.peers import compare_idle, install, run_in, run_ours, speed_result
from benchmarks.projects import AUTO_LOADER, write_project

GOAL = 1
_PROFILE = (
    "DuckDB reads JSON and keeps its tables in one file of its own; ours looks at each line so that"
    " nothing is dropped silently, and writes and commits three Delta tables"
)
_IDLE_PROFILE = "of our time nine tenths are imports"
VERSION = "1.9.*"
"""Later releases of dbt-core fetch a binary while they are installed, past the registry."""
_COMMAND = ["dbt", "run", "--quiet", "--profiles-dir", "."]

_PROJECT = """\
name: orders
version: "1.0"
profile: orders
model-paths: [models]
models: {orders: {+materialized: table}}
"""
_PROFILES = """\
orders:
  target: dev
  outputs: {dev: {type: duckdb, path: orders.duckdb}}
"""
_COLUMNS = (
    "{id: 'BIGINT', event_timestamp: 'TIMESTAMP',"
    " customer: 'STRUCT(name VARCHAR, address STRUCT(city VARCHAR, zip BIGINT))', amount: 'DOUBLE',"
    " items: 'STRUCT(sku VARCHAR, quantity BIGINT)[]', paid: 'BOOLEAN', tags: 'VARCHAR[]'}"
)
_MODELS = {
    "bronze": """\
{{{{ config(materialized='incremental') }}}}
SELECT * FROM read_json('{landing}/*.json', format='newline_delimited', filename=true, columns={columns})
{{% if is_incremental() %}}
WHERE filename NOT IN (SELECT DISTINCT filename FROM {{{{ this }}}})
{{% endif %}}
""",
    "silver": """\
SELECT id, event_timestamp, customer.name AS customer, amount, paid
FROM {{{{ ref('bronze') }}}} WHERE amount > 5
""",
    "gold": """\
SELECT customer, count(*) AS orders, max(event_timestamp) AS latest
FROM {{{{ ref('silver') }}}} GROUP BY customer
""",
}


def measure(folder: Path, *, megabytes: int, runs: int) -> list[Result]:
    """dbt is installed into an environment of its own."""
    environment = install(
        folder / "dbt-env", "dbt", [f"dbt-duckdb=={VERSION}", f"dbt-core=={VERSION}"]
    )
    environment["DBT_SEND_ANONYMOUS_USAGE_STATS"] = "False"  # it waits for an answer
    landing = folder / f"orders-{megabytes}"
    files = orders(landing, megabytes=megabytes)
    ours, theirs = folder / "dbt-ours", folder / "dbt-theirs"

    def clear(_run: int) -> None:
        write_project(ours, landing, AUTO_LOADER)
        _write_dbt(theirs, landing)

    times = alternate(
        lambda _run: run_ours(ours),
        lambda _run: run_in(theirs, _COMMAND, environment),
        runs=runs,
        prepare=clear,
    )
    idle = compare_idle(ours, theirs, _COMMAND, environment, runs=runs)
    size = sum(path.stat().st_size for path in files)
    return [
        speed_result(
            f"{size / 1e6:,.0f} MB cold, speed against dbt on DuckDB", times, GOAL, _PROFILE
        ),
        speed_result(
            f"nothing new after {size / 1e6:,.0f} MB, speed against dbt on DuckDB",
            idle,
            GOAL,
            _IDLE_PROFILE,
        ),
    ]


def _write_dbt(folder: Path, landing: Path) -> None:
    """A dbt project; its database is a file in it."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "models").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text(_PROJECT)
    (folder / "profiles.yml").write_text(_PROFILES)
    for name, text in _MODELS.items():
        model = text.format(landing=landing, columns=_COLUMNS)
        (folder / "models" / f"{name}.sql").write_text(model)
