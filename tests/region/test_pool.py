"""Worker processes: what user code does to them stays with them."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from killing import alive, pause_until
from proa.clock import SystemClock
from proa.region.workers.pool import Pool
from proa.region.workers.port import Report, Work
from proa.region.workers.scratch import end_leftovers

pytestmark = pytest.mark.slow


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
    assert end["error"] == "/Shared/nb:7: ZeroDivisionError: division by zero"
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


SPEAKS = """
import os, sys
frame = sys._getframe()
while "replies" not in frame.f_locals:
    frame = frame.f_back
replies = frame.f_locals["replies"].fileno()
"""
"""A notebook that can write to the server past the protocol."""


def test_a_worker_that_dies_in_the_middle_of_a_report_is_reported(pool):
    dies = SPEAKS + 'os.write(replies, b\'{"type": "event", "ev\'); os.kill(os.getpid(), 9)'
    end = run(pool, notebook(dies))[-1].data
    assert (end["outcome"], "killed by signal 9" in end["error"]) == ("CRASHED", True)


def test_a_process_that_the_code_leaves_behind_keeps_no_place(pool):
    # It holds all pipes of its parent open, as what multiprocessing forks does.
    forks = SPEAKS + (
        "child = os.fork()\n"
        "if not child:\n"
        "    import threading; threading.Event().wait()\n"
        "print(child, flush=True)\n"
    )
    for end in ("", "os.kill(os.getpid(), 9)"):
        reports = run(pool, notebook(forks + end))
        text = "".join(report.data["text"] for report in reports if report.kind == "output")
        assert reports[-1].data["outcome"] == ("CRASHED" if end else "COMPLETED")
        pause_until(lambda text=text: not alive(int(text)), "the child lives on")
    pause_until(lambda: pool.free() == 3, "its place is kept")


def test_a_message_that_no_database_stores_is_stored(pool):
    end = run(pool, notebook("raise ValueError('a\\udc80b\\0c')"))[-1].data
    assert end["error"] == "/Shared/nb:1: ValueError: a?b\ufffdc"


def test_work_for_a_frozen_worker_makes_nobody_wait():
    frozen = Pool(SystemClock(), limit=1, warm=1, memory=1 << 30)
    frozen.open()
    try:
        os.kill(frozen.pids[0], signal.SIGSTOP)
        reports = Reports()
        handle = frozen.start(notebook("#" * (1 << 20)), reports.put)
        handle.stop()
        handle.kill()
        assert reports.until_end()[-1].data["outcome"] == "CRASHED"
    finally:
        frozen.close()


def test_a_frozen_worker_of_a_dead_server_is_ended_by_the_next(tmp_path):
    code = (
        "from proa.clock import SystemClock; from proa.region.workers.pool import Pool\n"
        "import sys, threading\n"
        "pool = Pool(SystemClock(), limit=1, warm=1, memory=1 << 30); pool.open()\n"
        "print(pool._scratch.path, *pool.pids, flush=True)\n"
        "threading.Event().wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as server:
        folder, pid = server.stdout.readline().split()
        os.kill(int(pid), signal.SIGSTOP)
        server.kill()
    assert alive(int(pid))
    end_leftovers()
    pause_until(lambda: not alive(int(pid)), "the frozen worker lives on")
    assert not Path(folder).exists()
