"""One region, put together: its state, its parts and the loop that looks after them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proa.clock import Clock, Ids
from proa.region.control import Control
from proa.region.identity import Identity
from proa.region.jobs.jobs import Jobs
from proa.region.jobs.run_engine import RunEngine
from proa.region.jobs.runs import Runs
from proa.region.jobs.scheduler import Scheduler
from proa.region.pipelines.events import Events
from proa.region.pipelines.pipelines import Pipelines
from proa.region.pipelines.planning import Planner
from proa.region.pipelines.supervisor import Supervisor
from proa.region.pipelines.updates import Updates
from proa.region.retention import Retention
from proa.region.sql.statements import Statements
from proa.region.store import Database
from proa.region.tokens import Tokens
from proa.region.work.workers import Workers
from proa.region.workspace.files import Files
from proa.region.workspace.permissions import Permissions
from proa.region.workspace.secrets import Secrets
from proa.region.workspace.uploads import Uploads
from proa.region.workspace.workspace import Workspace
from proa.settings import ProjectSettings, RegionSettings
from proa.storage import Store


@dataclass(frozen=True)
class Region:
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
    supervisor: Supervisor
    run_engine: RunEngine
    statements: Statements
    control: Control
    workers: Workers

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
    ) -> Region:
        """Put a region together over its state. Nothing runs before `start`."""
        control = Control(clock)
        events = Events(database, clock, ids, name)
        updates = Updates(database, clock, ids, events)
        workspace = Workspace(database, clock)
        pipelines = Pipelines(database, clock, ids, events)
        secrets = Secrets(database, clock)
        planner = Planner(name, settings, workspace, pipelines, secrets, project)
        runs = Runs(database, clock)
        supervisor = Supervisor(
            database,
            clock,
            ids,
            events,
            updates,
            workers,
            planner.update,
            control.wake,
            settings.server.grace_seconds,
        )
        run_engine = RunEngine(
            database,
            clock,
            runs,
            pipelines,
            updates,
            workers,
            planner.notebook,
            planner.source,
            control.wake,
        )
        statements = Statements(clock, ids, workers, planner.session, planner.tables)
        scheduler = Scheduler(database, clock, ids, runs)
        storage = Store.open(settings.storage, settings.options)
        files = Files(storage, clock)
        retention = Retention(clock, events, updates, runs)
        control.look_after([scheduler, supervisor, run_engine, statements, retention])
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
            jobs=Jobs(database, clock),
            runs=runs,
            supervisor=supervisor,
            run_engine=run_engine,
            statements=statements,
            control=control,
            workers=workers,
        )

    def recover(self) -> None:
        """Make the state true after the last server's end, however it ended."""
        self.workspace.prepare()
        self.supervisor.recover()
        self.run_engine.recover()

    def start(
        self,
        owned: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """Make the state true and begin to look after it; see `Control.start`."""
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
                self.supervisor.hand_back(end - self.clock.monotonic())
                self.run_engine.hand_back(end - self.clock.monotonic())
        finally:
            self.statements.close()
            self.workers.close()
