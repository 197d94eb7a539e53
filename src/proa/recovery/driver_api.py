"""Flips regions over the Databricks REST API: Proa's servers and Databricks workspaces alike."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from proa.clock import Clock, SystemClock
from proa.errors import SettingsError, UnavailableError, UserError
from proa.extras import needs
from proa.recovery.driver import Role
from proa.settings import THROUGH, ApiSettings, ProjectSettings, RecoverySettings, file_numbers_text

_ENDED = frozenset({"COMPLETED", "FAILED", "CANCELED"})
_ANSWER_S, _RETRY_S = 15, 3
"""For one answer, and for trying again: a black hole must not hold a failover."""
_LOOK_S = 0.5


class ApiDriver:
    """Pipelines are `continuous` or not; the jobs that run them are paused or not."""

    def __init__(self, settings: ProjectSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._recovery = settings.recovery or RecoverySettings()
        self._clock = clock or SystemClock()
        self._clients: dict[str, Any] = {}

    def role(self, region: str) -> Role:
        roles = set()
        for pipeline in self._pipelines(region):
            jobs = self._jobs(region, pipeline.pipeline_id)
            paused = [_is_paused(job) for job in jobs]
            if pipeline.spec.continuous:
                roles.add(Role.ACTIVE)
            else:
                roles.add(Role.FENCED if paused and all(paused) else Role.STANDBY)
        return roles.pop() if len(roles) == 1 else Role.UNKNOWN

    def fence(self, region: str) -> None:
        self._set(region, continuous=False, paused=True)
        for pipeline in self._pipelines(region):
            self._stop(region, pipeline.pipeline_id)

    def drain(self, region: str, through: Mapping[str, int] | None = None) -> None:
        body = {"parameters": {THROUGH: file_numbers_text(through)}} if through else {}
        with answers(region):
            begun = {}
            for pipeline in self._pipelines(region):
                if pipeline.spec.continuous:
                    continue  # it is at work already
                self._stop(region, pipeline.pipeline_id)
                client = self._client(region)
                path = f"/api/2.0/pipelines/{pipeline.pipeline_id}/updates"
                started = client.api_client.do("POST", path, body=body)
                begun[pipeline.pipeline_id] = (pipeline.name, started["update_id"])
            for pipeline_id, (name, update_id) in begun.items():
                self._wait_for(region, pipeline_id, name, update_id)

    def activate(self, region: str) -> None:
        self._set(region, continuous=True, paused=True)
        with answers(region):
            for pipeline in self._pipelines(region):
                if str(getattr(pipeline.state, "value", pipeline.state)) == "IDLE":
                    self._begin(region, pipeline.pipeline_id)

    def demote(self, region: str) -> None:
        self._set(region, continuous=False, paused=False)

    # -- what the verbs are made of -----------------------------------------------------------------

    def _set(self, region: str, *, continuous: bool, paused: bool) -> None:
        client = self._client(region)
        with answers(region):
            for pipeline in self._pipelines(region):
                if bool(pipeline.spec.continuous) != continuous:
                    body = {**pipeline.spec.as_dict(), "continuous": continuous}
                    path = f"/api/2.0/pipelines/{pipeline.pipeline_id}"
                    client.api_client.do("PUT", path, body=body)
                    if not continuous:
                        self._stop(region, pipeline.pipeline_id)
                for job in self._jobs(region, pipeline.pipeline_id):
                    self._pause(client, job, paused=paused)

    def _pause(self, client: Any, job: Any, *, paused: bool) -> None:
        from databricks.sdk.service.jobs import JobSettings, PauseStatus

        wanted = PauseStatus.PAUSED if paused else PauseStatus.UNPAUSED
        settings = job.settings
        new = JobSettings()
        for name in ("schedule", "trigger", "continuous"):
            part = getattr(settings, name)
            if part is not None and part.pause_status is not wanted:
                part.pause_status = wanted
                setattr(new, name, part)
        if new.as_dict():
            client.jobs.update(job.job_id, new_settings=new)

    def _begin(self, region: str, pipeline_id: str) -> None:
        from databricks.sdk.errors.base import DatabricksError

        try:
            self._client(region).pipelines.start_update(pipeline_id)
        except DatabricksError as error:
            if "active update" not in str(error).lower():
                raise  # the region has begun one by itself: as it should

    def _stop(self, region: str, pipeline_id: str) -> None:
        client = self._client(region)
        with answers(region):
            client.api_client.do("POST", f"/api/2.0/pipelines/{pipeline_id}/stop", body={})
            self._until(
                lambda: (
                    str(client.pipelines.get(pipeline_id).state).rsplit(".", 1)[-1]
                    in {"IDLE", "FAILED", "DELETED"}
                ),
                f"pipeline {pipeline_id} of {region} to stop",
            )

    def _wait_for(self, region: str, pipeline_id: str, name: str, update_id: str) -> None:
        client = self._client(region)

        def state() -> str:
            update = client.pipelines.get_update(pipeline_id, update_id).update
            return str(getattr(update.state, "value", update.state))

        self._until(lambda: state() in _ENDED, f"the update of {name} in {region}", 86_400.0)
        ended = state()
        if ended != "COMPLETED":
            raise UnavailableError(
                f"the update {update_id} of pipeline {name!r} in {region} is {ended}; look at its"
                " event log, mend it, and run `proa resume`"
            )

    def _until(self, happened: Callable[[], bool], what: str, patience: float = 120.0) -> None:
        end = self._clock.monotonic() + patience
        while not happened():
            if self._clock.monotonic() > end:
                raise UnavailableError(f"waited {patience:.0f} s for {what}")
            self._clock.wait(_LOOK_S)

    def _pipelines(self, region: str) -> list[Any]:
        """The group's pipelines in a region. Raises UserError when one of them is missing."""
        client = self._client(region)
        with answers(region):
            found = {one.name: one.pipeline_id for one in client.pipelines.list_pipelines()}
            names = self._recovery.pipelines or tuple(found)
            missing = [name for name in names if name not in found]
            if missing:
                raise UserError(
                    f"{region} has no pipeline {missing[0]!r}; it has {', '.join(found) or 'none'}",
                    condition="PIPELINE_NOT_FOUND",
                )
            return [client.pipelines.get(found[name]) for name in names]

    def _jobs(self, region: str, pipeline_id: str) -> list[Any]:
        """The jobs of a region that run a pipeline."""
        client = self._client(region)
        jobs = []
        with answers(region):
            for listed in client.jobs.list(expand_tasks=True):
                tasks = listed.settings.tasks or []
                ids = [task.pipeline_task.pipeline_id for task in tasks if task.pipeline_task]
                if pipeline_id in ids:
                    jobs.append(client.jobs.get(listed.job_id))
        return jobs

    def _client(self, region: str) -> Any:
        if region not in self._clients:
            self._clients[region] = open_client(self._settings, region)
        return self._clients[region]


def open_client(settings: ProjectSettings, region: str) -> Any:
    """A `databricks.sdk.WorkspaceClient` of a region. Raises SettingsError when it has no address."""
    api = settings.region(region).api
    if api is None:
        raise SettingsError(
            f"regions.{region}.api is missing in proa.yml; it says where the region's API answers"
        )
    return client_at(api)


def client_at(api: ApiSettings) -> Any:
    """A `databricks.sdk.WorkspaceClient` that gives up a silent server after 15 seconds."""
    with needs("control"):
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.core import Config
    # What the client would print of a silent server is told by the error that comes of it.
    logging.getLogger("databricks.sdk").addHandler(logging.NullHandler())
    config = Config(
        host=api.host,
        token=api.token,
        auth_type="pat" if api.token else None,
        http_timeout_seconds=_ANSWER_S,
        retry_timeout_seconds=_RETRY_S,
    )
    return WorkspaceClient(config=config)


def _is_paused(job: Any) -> bool:
    parts = (job.settings.schedule, job.settings.trigger, job.settings.continuous)
    return all(
        str(getattr(part.pause_status, "value", part.pause_status)) == "PAUSED"
        for part in parts
        if part is not None
    )


@contextmanager
def answers(server: str, setting: str | None = None) -> Iterator[None]:
    """Say the client's errors in Proa's kinds. `setting` names where the token stands, if `server` is no region."""
    from databricks.sdk.errors import PermissionDenied, Unauthenticated
    from databricks.sdk.errors.base import DatabricksError

    try:
        yield
    except (Unauthenticated, PermissionDenied) as error:
        raise UserError(
            f"{server} refuses the token of {setting or f'regions.{server}.api'}: {error}",
            condition="PERMISSION_DENIED",
        ) from error
    except (DatabricksError, OSError, TimeoutError, ValueError) as error:
        raise UnavailableError(f"{server} does not answer: {error}") from error
