"""Whatever call of a store fails in an update, COMPLETED means that everything was read."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from small_projects import Project, ok

from proa.errors import UnavailableError
from proa.runtime import Runner, UpdateRequest, UpdateState
from proa.steps import Step, probing
from proa.testing import Fail, FailFrom, FaultProbe, LoseAnswer

PIPELINE = """
@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id long").load(spark.conf.get("landing_zone"))
    )

@dp.table
def silver():
    return spark.readStream.table("bronze").select("id")

@dp.materialized_view
def gold():
    return spark.read.table("silver").agg(F.count("*").alias("n"))
"""
pytestmark = pytest.mark.slow
MOST = 400
"""Calls of a store in one update."""

Runners = Callable[[], AbstractContextManager[Runner]]


@pytest.fixture(params=["fresh", "warm"])
def runners(request: pytest.FixtureRequest, project: Project) -> Iterator[Runners]:
    """What gives the runner of each update: a new one, as after a restart, or always one."""
    project.write(PIPELINE)
    if request.param == "fresh":
        yield project.runner
        return
    with project.runner() as runner:

        @contextmanager
        def same() -> Iterator[Runner]:
            yield runner

        yield same


@pytest.mark.parametrize("step", [Step.STORE_READ, Step.STORE_WRITE], ids=str)
@pytest.mark.parametrize("fault", [Fail, FailFrom, LoseAnswer])
def test_completed_has_read_everything_whatever_call_of_a_store_fails(
    project: Project, runners: Runners, fault: type, step: Step
) -> None:
    project.land("0.json", [{"id": 0}])
    with runners() as runner:
        ok(runner.update(UpdateRequest()))
    for at in range(1, MOST):
        project.land(f"{at}.json", [{"id": at}])
        probe = FaultProbe(fault(step, at))
        state = None
        with runners() as runner, contextlib.suppress(UnavailableError), probing(probe):
            state = runner.update(UpdateRequest()).state
        if state is not UpdateState.COMPLETED:
            with runners() as runner:
                ok(runner.update(UpdateRequest()))
        exact(project, at)
        if not probe.struck:
            break
    assert (state, at > 2) == (UpdateState.COMPLETED, True)


def exact(project: Project, last: int) -> None:
    """Every file landed up to the number `last` is in all tables, once."""
    ids = sorted(range(last + 1), key=str)
    assert project.rows("bronze", "id") == ids
    assert project.rows("silver", "id") == ids
    assert project.rows("gold", "n") == [last + 1]
