"""Flips regions over the Databricks REST API: Proa's servers and Databricks workspaces alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proa.clock import Clock, SystemClock
from proa.errors import UnavailableError, UserError
from proa.recovery.driver import Role
from proa.recovery.region_api import RegionApi, open_api
from proa.settings import THROUGH, ProjectSettings, RecoverySettings, file_numbers_text

_ENDED = frozenset({"COMPLETED", "FAILED", "CANCELED"})
_STOPPED = frozenset({"IDLE", "FAILED", "DELETED"})
_LOOK_S, _FIRST_LOOK_S, _SHARE = 0.5, 0.02, 0.05
"""Between two looks at what lasts: a share of how long it has lasted, within these bounds."""
_PIPELINES, _JOBS = "/api/2.0/pipelines", "/api/2.2/jobs"


class ApiDriver:
    """Pipelines are `continuous` or not; the jobs that run them are paused or not."""

    def __init__(self, settings: ProjectSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._recovery = settings.recovery or RecoverySettings()
        self._clock = clock or SystemClock()
        self._clients: dict[str, RegionApi] = {}

    def role(self, region: str) -> Role:
        roles = set()
        for pipeline in self._pipelines(region):
            paused = [_is_paused(job) for job in self._jobs(region, pipeline["pipeline_id"])]
            if pipeline["spec"].get("continuous"):
                roles.add(Role.ACTIVE)
            else:
                roles.add(Role.FENCED if paused and all(paused) else Role.STANDBY)
        return roles.pop() if len(roles) == 1 else Role.UNKNOWN

    def fence(self, region: str) -> None:
        for pipeline in self._set(region, continuous=False, paused=True):
            self._stop(region, pipeline["pipeline_id"])

    def drain(self, region: str, through: Mapping[str, int] | None = None) -> None:
        body = {"parameters": {THROUGH: file_numbers_text(through)}} if through else {}
        begun = {}
        for pipeline in self._pipelines(region):
            if pipeline["spec"].get("continuous"):
                continue  # it is at work already
            pipeline_id = pipeline["pipeline_id"]
            self._stop(region, pipeline_id)
            path = f"{_PIPELINES}/{pipeline_id}/updates"
            started = self._client(region).ask("POST", path, body=body)
            begun[pipeline_id] = (pipeline["name"], started["update_id"])
        for pipeline_id, (name, update_id) in begun.items():
            self._wait_for(region, pipeline_id, name, update_id)

    def activate(self, region: str) -> None:
        self._set(region, continuous=True, paused=True)
        for pipeline in self._pipelines(region):
            if pipeline.get("state") == "IDLE":
                self._begin(region, pipeline["pipeline_id"])

    def demote(self, region: str) -> None:
        self._set(region, continuous=False, paused=False)

    # -- what the verbs are made of -----------------------------------------------------------------

    def _set(self, region: str, *, continuous: bool, paused: bool) -> list[dict[str, Any]]:
        """Set how the group's pipelines run; returns them as they were."""
        client, pipelines = self._client(region), self._pipelines(region)
        for pipeline in pipelines:
            pipeline_id, spec = pipeline["pipeline_id"], pipeline["spec"]
            if bool(spec.get("continuous")) != continuous:
                body = {**spec, "continuous": continuous}
                client.ask("PUT", f"{_PIPELINES}/{pipeline_id}", body=body)
                if not continuous:
                    self._stop(region, pipeline_id)
            for job in self._jobs(region, pipeline_id):
                self._pause(client, job, paused=paused)
        return pipelines

    @staticmethod
    def _pause(client: RegionApi, job: Mapping[str, Any], *, paused: bool) -> None:
        wanted = "PAUSED" if paused else "UNPAUSED"
        changed = {
            name: {**part, "pause_status": wanted}
            for name, part in _triggers(job).items()
            if part.get("pause_status") != wanted
        }
        if changed:
            body = {"job_id": job["job_id"], "new_settings": changed}
            client.ask("POST", f"{_JOBS}/update", body=body)

    def _begin(self, region: str, pipeline_id: str) -> None:
        try:
            self._client(region).ask("POST", f"{_PIPELINES}/{pipeline_id}/updates", body={})
        except UnavailableError as error:
            if "active update" not in str(error).lower():
                raise  # the region has begun one by itself: as it should

    def _stop(self, region: str, pipeline_id: str) -> None:
        client, path = self._client(region), f"{_PIPELINES}/{pipeline_id}"
        client.ask("POST", f"{path}/stop", body={})
        self._until(
            lambda: client.ask("GET", path).get("state") in _STOPPED,
            f"pipeline {pipeline_id} of {region} to stop",
        )

    def _wait_for(self, region: str, pipeline_id: str, name: str, update_id: str) -> None:
        path = f"{_PIPELINES}/{pipeline_id}/updates/{update_id}"
        state = ""

        def has_ended() -> bool:
            nonlocal state
            state = str(self._client(region).ask("GET", path)["update"]["state"])
            return state in _ENDED

        self._until(has_ended, f"the update of {name} in {region}", 86_400.0)
        if state != "COMPLETED":
            raise UnavailableError(
                f"the update {update_id} of pipeline {name!r} in {region} is {state}; look at its"
                " event log, mend it, and run `proa resume`"
            )

    def _until(self, happened: Callable[[], bool], what: str, patience: float = 120.0) -> None:
        began = self._clock.monotonic()
        while not happened():
            lasted = self._clock.monotonic() - began
            if lasted > patience:
                raise UnavailableError(f"waited {patience:.0f} s for {what}")
            self._clock.wait(min(_LOOK_S, max(_FIRST_LOOK_S, _SHARE * lasted)))

    def _pipelines(self, region: str) -> list[dict[str, Any]]:
        """The group's pipelines in a region. Raises UserError when one of them is missing."""
        client = self._client(region)
        ids = {
            one["name"]: one["pipeline_id"]
            for page in client.pages(_PIPELINES)
            for one in page.get("statuses") or ()
        }
        names = self._recovery.pipelines or tuple(ids)
        missing = [name for name in names if name not in ids]
        if missing:
            raise UserError(
                f"{region} has no pipeline {missing[0]!r}; it has {', '.join(ids) or 'none'}",
                condition="PIPELINE_NOT_FOUND",
            )
        return [client.ask("GET", f"{_PIPELINES}/{ids[name]}") for name in names]

    def _jobs(self, region: str, pipeline_id: str) -> list[dict[str, Any]]:
        """The jobs of a region that run a pipeline."""
        client = self._client(region)
        return [
            job
            for page in client.pages(f"{_JOBS}/list", {"expand_tasks": "true"})
            for job in page.get("jobs") or ()
            if pipeline_id in _pipelines_of(client, job)
        ]

    def _client(self, region: str) -> RegionApi:
        if region not in self._clients:
            self._clients[region] = open_api(self._settings, region, self._clock)
        return self._clients[region]


def _pipelines_of(client: RegionApi, job: Mapping[str, Any]) -> set[str]:
    """The ids of the pipelines that a listed job runs."""
    tasks = job["settings"].get("tasks") or []
    if job.get("has_more"):  # a list shows the first hundred tasks
        pages = client.pages(f"{_JOBS}/get", {"job_id": job["job_id"]})
        tasks = [task for page in pages for task in page["settings"].get("tasks") or []]
    return {task["pipeline_task"]["pipeline_id"] for task in tasks if task.get("pipeline_task")}


def _triggers(job: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What starts a job by itself, by its name in the job's settings."""
    settings = job["settings"]
    return {
        name: settings[name] for name in ("schedule", "trigger", "continuous") if settings.get(name)
    }


def _is_paused(job: Mapping[str, Any]) -> bool:
    return all(part.get("pause_status") == "PAUSED" for part in _triggers(job).values())
