"""A state that an older version wrote is read, and what it promised is kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import inspect
from stills import still_region

from proa.region.state.state_tables import metadata
from proa.states import UpdateState
from proa.testing import FakeClock

WRITTEN = Path(__file__).parent / "state_0001.sql"
"""By version 0.1.0: a continuous pipeline that runs, jobs of every kind, a secret, a token."""


@pytest.fixture
def still(tmp_path):
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.executescript(WRITTEN.read_text())
    connection.close()
    made = still_region(tmp_path, FakeClock(), url=f"sqlite:///{tmp_path / 'old.db'}")
    yield made
    made.close()


def test_everything_is_there(still):
    region = still.region
    assert {item.name for item in region.pipelines.every()} == {"daily", "stream"}
    jobs, _ = region.jobs.list()
    kept = {job.name: job.keeps_running for job in jobs}
    assert kept == {"nightly": False, "always": True, "resting": False, "manual": False}
    assert region.secrets.get("s", "k") == b"v"
    assert region.workspace.get("/Shared/nb").language == "PYTHON"
    assert [token.comment for token in region.tokens.list()] == ["old"]


def test_what_ran_goes_on_and_what_was_due_comes(still):
    region = still.region
    stream = next(item for item in region.pipelines.every() if item.name == "stream")
    job = next(job for job in region.jobs.list()[0] if job.name == "always")
    runs = len(region.runs.list(job_id=job.job_id)[0])
    still.turn(4)
    active = region.updates.active(stream.pipeline_id)
    assert active is not None
    assert active.state is UpdateState.INITIALIZING
    assert [work.work.work_id for work in still.workers.running] == [active.update_id]
    assert len(region.runs.list(job_id=job.job_id)[0]) > runs


def test_the_migrated_tables_are_those_that_the_code_expects(still):
    tables = inspect(still.region.database.engine)
    for table in metadata.tables.values():
        columns = {column["name"]: column["nullable"] for column in tables.get_columns(table.name)}
        assert columns == {column.name: column.nullable for column in table.columns}, table.name
