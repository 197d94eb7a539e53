"""Real processes: killed, frozen, two at a time, on a full disk and on one that is read-only."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_projects import Project, ok

pytestmark = pytest.mark.slow

PROA = str(Path(sys.executable).parent / "proa")
PIPELINE = """
@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.maxFilesPerTrigger", 1)
        .option("cloudFiles.schemaHints", "id long, text string")
        .load(spark.conf.get("landing_zone"))
    )

@dp.table
def silver():
    return spark.readStream.table("bronze").select("id", F.length("text").alias("n"))

@dp.materialized_view
def gold():
    return spark.read.table("silver").agg(F.count("*").alias("rows"), F.sum("id").alias("total"))
"""
SPEC = """
name: test
storage: data/storage
configuration:
  landing_zone: data/landing
  pipelines.trigger.interval: 20 ms
  pipelines.maxFlowRetryAttempts: "0"
libraries:
  - glob: {include: pipeline.py}
"""


@pytest.fixture
def shop(project: Project) -> Project:
    """A project folder that the command line can run, with its data inside."""
    project.write(PIPELINE)
    (project.folder / "spark-pipeline.yml").write_text(SPEC)
    project.base = str(project.folder / "data")
    return project


def land(project: Project, *numbers: int) -> None:
    for number in numbers:
        project.land(
            f"{number}.json", [{"id": number * 100 + i, "text": "x" * i} for i in range(50)]
        )


def exact(project: Project, files: int) -> None:
    ids = sorted((n * 100 + i for n in range(files) for i in range(50)), key=str)
    assert project.rows("bronze", "id") == ids
    assert project.rows("silver", "id") == ids
    assert project.rows("gold", "rows", "total") == [(len(ids), sum(ids))]


@contextmanager
def process(project: Project, *arguments: str, **options) -> Iterator[subprocess.Popen[str]]:
    """`proa run` in a process of its own, which is gone when the block ends."""
    with subprocess.Popen(
        [PROA, "run", *arguments],
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def until(running: subprocess.Popen[str], text: str) -> None:
    """Read what the process says until it says this."""
    said = []
    for line in running.stderr:
        said.append(line)
        if text in line:
            return
    pytest.fail("".join(said))


def run(project: Project, **options) -> tuple[int, dict, str]:
    """`proa run --json` to its end: exit code, answer, and what it said."""
    with process(project, "--json", **options) as running:
        out, err = running.communicate(timeout=120)
    return running.returncode, json.loads(out) if out else {}, err


def test_a_continuous_run_that_is_killed_again_and_again_loses_and_doubles_nothing(
    shop: Project,
) -> None:
    for round_, moment in enumerate(["'bronze' has new", "'silver' has new", "'gold' has new"]):
        land(shop, 2 * round_, 2 * round_ + 1)
        with process(shop, "--continuous") as running:
            until(running, moment)
            os.kill(running.pid, signal.SIGKILL)
    ok(shop.run())
    exact(shop, 6)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_says_so(shop: Project, number: int) -> None:
    land(shop, 1)
    with process(shop, "--continuous") as running:
        until(running, "'gold' has new")
        os.kill(running.pid, number)
        running.communicate(timeout=120)
    assert running.returncode == 128 + number
    exact_now = shop.rows("gold", "rows")
    assert exact_now == [50]


def test_a_run_that_was_frozen_wakes_up_and_does_no_harm(shop: Project) -> None:
    land(shop, *range(6))
    with process(shop) as frozen:
        until(frozen, "'bronze' is running")
        os.kill(frozen.pid, signal.SIGSTOP)
        try:
            ok(shop.run())
            land(shop, 6)
            ok(shop.run())
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        frozen.communicate(timeout=120)
    ok(shop.run())
    exact(shop, 7)


def test_two_runs_on_one_storage_count_every_file_once(shop: Project) -> None:
    land(shop, *range(8))
    with process(shop) as one, process(shop) as other:
        one.communicate(timeout=120)
        other.communicate(timeout=120)
    ok(shop.run())
    exact(shop, 8)


@pytest.mark.parametrize("room", [0, 4096, 16384, 65536])
def test_a_full_disk_stops_the_run_and_harms_nothing(shop: Project, room: int) -> None:
    """`room` bytes are left: enough for a log entry, for a data file, for a batch or two."""
    land(shop, *range(4))
    with little_room(Path(shop.storage), room) as limits:
        code, _, said = run(shop, **limits)
        assert code == 3, said
        assert "storage" in said
    ok(shop.run())
    exact(shop, 4)


def test_a_read_only_storage_is_named_and_harmed_in_no_way(shop: Project, read_only) -> None:
    land(shop, 0)
    ok(shop.run())
    land(shop, 1)
    with read_only(Path(shop.storage)):
        code, _, said = run(shop)
    assert code == 3, said
    assert "storage" in said
    ok(shop.run())
    exact(shop, 2)


@contextmanager
def little_room(folder: Path, room: int) -> Iterator[dict]:
    """Options of a process that finds little room below the folder.

    Root gets a small file system there; what was written in it stays when it goes. Others get a limit
    on the size of each file.
    """
    folder.mkdir(parents=True)
    if os.geteuid() != 0:

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

        yield {"preexec_fn": limited}
        return
    small = folder.with_name("small")
    small.mkdir()
    size = max(room, 1) + (8 << 10)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield {}
        shutil.copytree(folder, small, dirs_exist_ok=True)
    finally:
        subprocess.run(["umount", folder], check=True)
    shutil.copytree(small, folder, dirs_exist_ok=True)
