"""One region, put together: its state, its parts and the loop that looks after them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proa.clock import Clock, Ids
from proa.region.demotion import Demotion
from proa.region.identity import Identity
from proa.region.jobs.arrivals import Arrivals, Aside, do_aside
from proa.region.jobs.jobs import Jobs
from proa.region.jobs.run_loop import RunLoop
from proa.region.jobs.runs import Runs
from proa.region.jobs.schedule import Scheduler
from proa.region.loop import ControlLoop
from proa.region.payloads import Payloads
from proa.region.pipelines.pipeline_events import Events
from proa.region.pipelines.pipelines import Pipelines
from proa.region.pipelines.update_loop import UpdateLoop
from proa.region.pipelines.updates import Updates
from proa.region.retention import Retention
from proa.region.state import Database
from proa.region.statements.statements import Statements
from proa.region.tokens import Tokens
from proa.region.workers.port import Workers
from proa.region.workspace.files import Files
from proa.region.workspace.permissions import Permissions
from proa.region.workspace.secrets import Secrets
from proa.region.workspace.uploads import Uploads
from proa.region.workspace.workspace import Workspace
from proa.settings import ProjectSettings, RegionSettings
from proa.storage import Store


@dataclass(frozen=True)
class RegionServices:
    """One region's server without its HTTP edge."""

    name: str
    settings: RegionSettings
    clock: Clock
    database: Database
    identity: Identity
    tokens: Tokens
    workspace: Workspace
    secrets: Secrets
    files: Files
    uploads: Uploads
    permissions: Permissions
    events: Events
    pipelines: Pipelines
    updates: Updates
    jobs: Jobs
    runs: Runs
    update_loop: UpdateLoop
    run_loop: RunLoop
    statements: Statements
    payloads: Payloads
    control: ControlLoop
    demotion: Demotion
    workers: Workers
    project: ProjectSettings | None = None

    @classmethod
    def open(  # noqa: PLR0913, PLR0917 - its parts
        cls,
        name: str,
        settings: RegionSettings,
        database: Database,
        workers: Workers,
        clock: Clock,
        ids: Ids,
        project: ProjectSettings | None = None,
        aside: Aside = do_aside,
    ) -> RegionServices:
        """Put a region together over its state. Nothing runs before `start`.

        `aside` does what would keep the control loop waiting.
        """
        control = ControlLoop(clock)
        events = Events(database, clock, ids, name)
        updates = Updates(database, clock, ids, events)
        workspace = Workspace(database, clock)
        pipelines = Pipelines(database, clock, ids, events)
        secrets = Secrets(database, clock)
        storage = Store.open(settings.storage, settings.options)
        files = Files(storage, clock)
        payloads = Payloads(name, settings, workspace, pipelines, secrets, files, project)
        runs = Runs(database, clock)
        wake, grace = control.wake, settings.server.grace_seconds
        update_loop = UpdateLoop(
            database, clock, ids, events, updates, workers, payloads.update, wake, grace
        )
        work_of, source_of = payloads.task_work, payloads.source
        run_loop = RunLoop(
            database, clock, runs, pipelines, updates, workers, work_of, source_of, wake
        )
        statements = Statements(clock, ids, workers, payloads.session, payloads.tables)
        scheduler = Scheduler(database, clock, ids, runs)
        arrivals = Arrivals(database, clock, runs, payloads.files_at, control.wake, aside)
        retention = Retention(clock, events, updates, runs)
        jobs = Jobs(database, clock)
        demotion = Demotion(name, project, pipelines, jobs, clock)
        control.look_after(
            [demotion, scheduler, arrivals, update_loop, run_loop, statements, retention]
        )
        return cls(
            name=name,
            settings=settings,
            clock=clock,
            database=database,
            identity=Identity.load(database, name, settings.storage, settings.server.workspace_id),
            tokens=Tokens(database, clock, ids),
            workspace=workspace,
            secrets=secrets,
            files=files,
            uploads=Uploads(storage, files, clock, ids),
            permissions=Permissions(database),
            events=events,
            pipelines=pipelines,
            updates=updates,
            jobs=jobs,
            runs=runs,
            update_loop=update_loop,
            run_loop=run_loop,
            statements=statements,
            payloads=payloads,
            control=control,
            demotion=demotion,
            workers=workers,
            project=project,
        )

    def recover(self) -> None:
        """Make the state true after the last server's end, however it ended."""
        self.workspace.prepare()
        self.demotion.start()
        self.update_loop.recover()
        self.run_loop.recover()

    def start(
        self,
        owned: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """Make the state true and begin to look after it; see `ControlLoop.start`."""
        self.recover()
        self.control.start(owned, on_lost)

    def wake(self) -> None:
        """Say that a client changed something."""
        self.control.wake()

    def stop(self) -> None:
        """Stop everything; what is unfinished after the grace is left for the next server.

        When the state is lost, or does not answer, all work ends at once: the next server sees in
        the state what was left.
        """
        self.control.stop()
        end = self.clock.monotonic() + self.settings.server.grace_seconds
        try:
            if self.control.lost is None:
                self.update_loop.hand_back(end - self.clock.monotonic())
                self.run_loop.hand_back(end - self.clock.monotonic())
        finally:
            self.statements.close()
            self.workers.close()
