"""What a region's server costs as it grows: each figure at two sizes, and the bound that it keeps.

No worker computes anything here: the server's own work is measured, over a state of its own.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from sqlalchemy import insert

from benchmarks.measure import Result
from proa.clock import RandomIds, SystemClock
from proa.http.answer_cache import MOST_BYTES, AnswerCache
from proa.region.jobs.jobs import with_defaults
from proa.region.pipelines.updates import UpdateCause
from proa.region.region import RegionServices
from proa.region.state import Database
from proa.region.state.state_tables import jobs
from proa.region.workers.fake_workers import FakeWorkers
from proa.region.workers.pool import Pool
from proa.region.workers.port import Report, Work
from proa.settings import RegionSettings
from proa.states import UpdateState

CONDITION = {"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}
UPDATES = 20


def measure(folder: Path, *, jobs: int, pipelines: int, answers: int, burst: int) -> list[Result]:
    """The four figures."""
    small = _turn(folder / "few", jobs // 100)
    large = _turn(folder / "many", jobs)
    few, many = _listed(folder / "one", 1), _listed(folder / "all", pipelines)
    size = asyncio.run(_cache(answers))
    alone, together = _burst(1, warm=0), _burst(burst, warm=1)
    bound_s = 1.5 * alone
    return [
        Result(
            name=f"a turn of the control loop with nothing to do, {jobs} jobs",
            figure=1000 * large,
            unit="ms, median",
            goal="under 10 ms, and under 3 times that of a hundredth of the jobs",
            met=large < 0.01 and large < 3 * small,
            detail={f"{jobs // 100} jobs, ms": 1000 * small},
        ),
        Result(
            name=f"a page of {pipelines} pipelines with {UPDATES} updates each",
            figure=1000 * many,
            unit="ms, median",
            goal="less than proportional to the pipelines, under 100 ms",
            met=many < 0.1 and many < pipelines * few,
            detail={"one pipeline, ms": 1000 * few},
        ),
        Result(
            name=f"memory of remembered answers, {answers} questions of 230 kB each",
            figure=size / 2**20,
            unit="MiB",
            goal=f"at most {MOST_BYTES >> 20} MiB",
            met=size <= MOST_BYTES,
        ),
        Result(
            name=f"{burst} pieces of work that come at once, each",
            figure=together / burst,
            unit="s",
            goal="no more than 1.5 times one alone that finds no warm process",
            met=together / burst < bound_s,
            detail={"one alone, no warm process, s": alone},
        ),
    ]


def _region(folder: Path) -> RegionServices:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    settings = RegionSettings(landing_zone=str(folder / "zone"), storage=str(folder / "storage"))
    database = Database.open(f"sqlite:///{folder / 'state.db'}")
    region = RegionServices.open(
        "bench", settings, database, FakeWorkers(), SystemClock(), RandomIds()
    )
    region.recover()
    return region


def _timed(work: Callable[[], object], runs: int = 9) -> float:
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times)


def _turn(folder: Path, count: int) -> float:
    region = _region(folder)
    settings = with_defaults({"name": "job", "tasks": [CONDITION] * 10})
    row = {
        "name": "job",
        "settings": settings,
        "creator": "me",
        "created_at": 0,
        "modified_at": 0,
        "last_number": 0,
        "failures": 0,
        "keeps_running": False,
        "watches_files": False,
    }
    with region.database.write() as connection:
        connection.execute(insert(jobs), [row] * count)
    region.control.turn()
    seconds = _timed(region.control.turn)
    region.database.close()
    return seconds


def _listed(folder: Path, count: int) -> float:
    region = _region(folder)
    for number in range(count):
        spec = {"name": f"p{number}", "libraries": [], "configuration": {"a": "b" * 500}}
        pipeline = region.pipelines.get(region.pipelines.create(spec, "me"))
        for _ in range(UPDATES):
            update_id = region.updates.start(pipeline, {}, UpdateCause.API_CALL)
            with region.database.write() as connection:
                update = region.updates.get(update_id)
                region.updates.enter(connection, pipeline.key, update, UpdateState.COMPLETED)

    def page() -> None:
        found, _ = region.pipelines.list(size=100)
        region.updates.latest([item.pipeline_id for item in found], 5)

    seconds = _timed(page)
    region.database.close()
    return seconds


async def _cache(answers: int) -> int:
    """Bytes that the cache holds after so many different questions."""
    cache = AnswerCache(lambda: 0, ("/",))
    for number in range(answers):
        scope = {"method": "GET", "path": "/", "query_string": b"q=%d" % number}
        key = cache.key(scope, "host")
        assert key is not None
        answer = cache.begin()
        answer.add({"type": "http.response.start", "status": 200})
        answer.add({"type": "http.response.body", "body": bytes(230_000)})
        cache.keep(key, scope, answer)
    kept = cache._answers.values()  # noqa: SLF001
    return sum(
        sys.getsizeof(message.get("body", b"")) for answer in kept for message in answer.messages
    )


def _burst(count: int, *, warm: int) -> float:
    """Seconds until so many notebooks that come at once have ended."""
    pool = Pool(SystemClock(), limit=count, warm=warm, memory=8 << 30)
    pool.open()
    threading.Event().wait(8)
    ended = threading.Semaphore(0)

    def hear(report: Report) -> None:
        if report.kind == "end":
            ended.release()

    payload = {"region": "b", "path": "/n", "language": "PYTHON", "source": "1", "parameters": {}}
    began = time.perf_counter()
    for number in range(count):
        pool.start(Work(str(number), "notebook", payload), hear)
    for _ in range(count):
        ended.acquire()
    seconds = time.perf_counter() - began
    pool.close()
    return seconds
