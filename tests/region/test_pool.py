"""Worker processes: what user code does to them stays with them."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Iterator

import pytest

from proa.clock import SystemClock
from proa.region.pool import Pool
from proa.region.workers import Report, Work


class Reports(queue.SimpleQueue):
    def until_end(self) -> list[Report]:
        found = []
        while True:
            found.append(self.get(timeout=60))
            if found[-1].kind == "end":
                return found


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    made = Pool(SystemClock(), limit=3, warm=2, memory=1 << 30)
    made.open()
    yield made
    made.close()
    assert made.pids == []


def notebook(source: str, **more: object) -> Work:
    return Work(
        "w", "notebook", {"path": "/Shared/nb", "language": "PYTHON", "source": source, **more}
    )


def run(pool: Pool, work: Work) -> list[Report]:
    reports = Reports()
    pool.start(work, reports.put)
    return reports.until_end()


def test_output_comes_before_the_end(pool):
    reports = run(pool, notebook("print('hello')\nimport sys; print('err', file=sys.stderr)"))
    text = "".join(report.data["text"] + "\n" for report in reports if report.kind == "output")
    assert {"hello", "err"} == set(text.split())
    assert reports[-1].data == {"outcome": "COMPLETED"}


def test_the_users_line_comes_first(pool):
    source = "# Databricks notebook source\nx = 1\n\n# COMMAND ----------\n\ndef f():\n    return 1 / 0\nf()"
    end = run(pool, notebook(source))[-1].data
    assert end["outcome"] == "FAILED"
    assert end["condition"] == "ZeroDivisionError"
    assert end["error"] == "/Shared/nb:7: division by zero"
    assert [(frame["line_number"], frame["method_name"]) for frame in end["stack"][:2]] == [
        (7, "f"),
        (8, "<module>"),
    ]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import sys; sys.exit(3)", "called exit(3)"),
        ("import os; os._exit(3)", "ended by itself with code 3"),
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9"),
        ("x = bytearray(2 << 30)\nimport threading; threading.Event().wait()", "MB of memory"),
    ],
)
def test_a_worker_that_dies_says_how(pool, source, said):
    end = run(pool, notebook(source))[-1].data
    assert end["outcome"] in {"FAILED", "CRASHED"}
    assert said in end["error"]


def test_stop_is_heard_between_cells(pool):
    source = "import threading; threading.Event().wait(0.5)\n# COMMAND ----------\nraise KeyError"
    reports = Reports()
    handle = pool.start(notebook(source), reports.put)
    handle.stop()
    assert reports.until_end()[-1].data == {"outcome": "CANCELED"}


def test_sql_cells_and_exit(pool):
    source = (
        "-- Databricks notebook source\nselect 1 as one; select ';' as two\n"
        "-- COMMAND ----------\n-- MAGIC %python\n-- MAGIC n = spark.sql('select 41 + 1 as n')\n"
        "-- MAGIC dbutils.notebook.exit(n.collect()[0].n)"
    )
    reports = run(pool, Work("w", "notebook", {"path": "/x", "language": "SQL", "source": source}))
    assert reports[-1].data == {"outcome": "COMPLETED", "output": "42"}


def test_a_killed_worker_is_reported_once(pool):
    reports = Reports()
    handle = pool.start(notebook("import threading; threading.Event().wait()"), reports.put)
    os.kill(handle.pid, signal.SIGKILL)
    handle.kill()
    assert reports.until_end()[-1].data["outcome"] == "CRASHED"
    assert reports.empty()
