"""The three resources of the seed, each with the calls that the Databricks provider makes."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path, PurePosixPath

from tf.blocks import SetNestedBlock
from tf.iface import Resource
from tf.schema import Attribute, Block, Schema
from tf.types import Bool, Map, Number, String
from workspace import CallError

LANGUAGES = {".py": "PYTHON", ".sql": "SQL", ".scala": "SCALA", ".r": "R"}


class Blocks(SetNestedBlock):
    """A repeated block that is equal to another when everything inside is equal."""

    def semantically_equal(self, a_decoded, b_decoded):
        return sorted(map(repr, a_decoded)) == sorted(map(repr, b_decoded))


def required(name, kind, **more):
    return Attribute(name, kind, required=True, **more)


def optional(name, kind, **more):
    return Attribute(name, kind, optional=True, **more)


def computed(name, kind, **more):
    return Attribute(name, kind, computed=True, **more)


def defaulted(name, kind, default):
    return Attribute(name, kind, optional=True, computed=True, default=default)


class WorkspaceResource(Resource):
    """Turns refused calls into Terraform's diagnostics and 404 into "gone"."""

    def __init__(self, workspace):
        self.workspace = workspace

    def create(self, ctx, planned):
        return self._report(ctx, lambda: self.do_create(dict(planned)), planned=None)

    def read(self, ctx, current):
        try:
            return self.do_read(dict(current))
        except CallError as error:
            if error.missing or f"Job {current.get('id')} does not exist" in str(error):
                return None
            ctx.diagnostics.add_error(f"cannot read {ctx.type_name}", str(error))
            return current

    def update(self, ctx, current, planned):
        return self._report(ctx, lambda: self.do_update(current, dict(planned)), planned=current)

    def delete(self, ctx, current):
        try:
            self.do_delete(current)
        except CallError as error:
            if not error.missing:
                ctx.diagnostics.add_error(f"cannot delete {ctx.type_name}", str(error))
                return current
        return None

    def _report(self, ctx, work, planned):
        try:
            return work()
        except CallError as error:
            ctx.diagnostics.add_error(f"cannot apply {ctx.type_name}", str(error))
            return planned


class Directory(WorkspaceResource):
    @classmethod
    def get_name(cls):
        return "directory"

    @classmethod
    def get_schema(cls):
        return Schema(
            [
                required("path", String(), requires_replace=True),
                defaulted("delete_recursive", Bool(), False),
                computed("id", String()),
                computed("object_id", Number()),
            ]
        )

    def do_create(self, state):
        self.workspace.post("/api/2.0/workspace/mkdirs", {"path": state["path"]})
        return self.do_read(state | {"id": state["path"]})

    def do_read(self, state):
        found = self.workspace.get("/api/2.0/workspace/get-status", path=state["id"])
        if found["object_type"] != "DIRECTORY":
            raise CallError(200, "MALFORMED", f"{state['id']} is no directory")
        return state | {"path": found["path"], "object_id": found["object_id"]}

    def do_update(self, current, planned):
        return current | planned

    def do_delete(self, current):
        self.workspace.post(
            "/api/2.0/workspace/delete",
            {"path": current["id"], "recursive": current["delete_recursive"]},
        )


class Notebook(WorkspaceResource):
    @classmethod
    def get_name(cls):
        return "notebook"

    @classmethod
    def get_schema(cls):
        return Schema(
            [
                required("path", String(), requires_replace=True),
                required("source", String()),
                computed("id", String()),
                computed("md5", String()),
                computed("object_id", Number()),
                computed("object_type", String()),
                optional("language", String(), computed=True),
                defaulted("format", String(), "SOURCE"),
            ]
        )

    def plan(self, ctx, current, planned):
        planned["md5"] = hashlib.md5(Path(planned["source"]).read_bytes()).hexdigest()
        return planned

    def do_create(self, state):
        try:
            return self._import(state)
        except CallError:
            parent = str(PurePosixPath(state["path"]).parent)
            # The provider looks only now whether the folder is there: another notebook of the same
            # apply may have made it meanwhile, and then the first refusal is what the user sees.
            self.workspace.let_others_go_first()
            try:
                self.workspace.get("/api/2.0/workspace/get-status", path=parent)
            except CallError as error:
                if not error.missing:
                    raise
                self.workspace.post("/api/2.0/workspace/mkdirs", {"path": parent})
                return self._import(state)
            raise

    def do_read(self, state):
        found = self.workspace.get("/api/2.0/workspace/get-status", path=state["id"])
        return state | {name: found[name] for name in ("path", "object_type", "language")}

    def do_update(self, current, planned):
        return self._import(current | planned)

    def do_delete(self, current):
        self.workspace.post("/api/2.0/workspace/delete", {"path": current["id"]})

    def _import(self, state):
        content = Path(state["source"]).read_bytes()
        language = LANGUAGES[PurePosixPath(state["source"]).suffix]
        answer = self.workspace.post(
            "/api/2.0/workspace/import",
            {
                "content": base64.b64encode(content).decode(),
                "path": state["path"],
                "language": language,
                "format": "SOURCE",
                "overwrite": True,
            },
        )
        return state | {
            "id": state["path"],
            "md5": hashlib.md5(content).hexdigest(),
            "object_id": answer["object_id"],
            "object_type": "NOTEBOOK",
            "language": language,
            "format": "SOURCE",
        }


PIPELINE_TEXTS = ("name", "storage", "catalog", "target", "edition", "channel")
PIPELINE_FLAGS = ("continuous", "development", "photon", "serverless")


class Pipeline(WorkspaceResource):
    @classmethod
    def get_name(cls):
        return "pipeline"

    @classmethod
    def get_schema(cls):
        notebook = Blocks("notebook", Block([required("path", String())]))
        return Schema(
            [
                computed("id", String()),
                optional("name", String()),
                optional("storage", String(), computed=True, requires_replace=True),
                optional("catalog", String()),
                optional("target", String()),
                defaulted("edition", String(), "ADVANCED"),
                defaulted("channel", String(), "CURRENT"),
                optional("configuration", Map(String())),
                *(optional(name, Bool()) for name in PIPELINE_FLAGS),
            ],
            block_types=[Blocks("library", Block(block_types=[notebook]))],
        )

    def do_create(self, state):
        created = self.workspace.post("/api/2.0/pipelines", self._spec(state))
        state["id"] = created["pipeline_id"]
        try:
            self._wait(state)
        except CallError:
            self.do_delete(state)
            raise
        return self.do_read(state)

    def do_read(self, state):
        spec = self.workspace.get(f"/api/2.0/pipelines/{state['id']}")["spec"]
        paths = [library["notebook"]["path"] for library in spec.get("libraries", [])]
        flags = {
            name: spec.get(name) or (False if state.get(name) is False else None)
            for name in PIPELINE_FLAGS
        }
        return (
            state
            | {name: spec.get(name) for name in PIPELINE_TEXTS}
            | flags
            | {
                "configuration": spec.get("configuration") or None,
                "library": [{"notebook": [{"path": path}]} for path in paths],
            }
        )

    def do_update(self, current, planned):
        state = current | planned
        body = self._spec(state) | {"pipeline_id": state["id"]}
        self.workspace.put(f"/api/2.0/pipelines/{state['id']}", body)
        self._wait(state)
        return self.do_read(state)

    def do_delete(self, current):
        address = f"/api/2.0/pipelines/{current['id']}"
        self.workspace.delete(address)

        def gone():
            try:
                self.workspace.get(address)
            except CallError as error:
                if error.missing:
                    return True
                raise
            return None

        self.workspace.poll(gone)

    def _wait(self, state):
        """A continuous pipeline must get to RUNNING; for another any state but FAILED will do."""

        def settled():
            found = self.workspace.get(f"/api/2.0/pipelines/{state['id']}")
            if found["state"] == "FAILED":
                raise CallError(200, "FAILED", f"pipeline {state['id']} has failed")
            return found["state"] == "RUNNING" or not state["continuous"] or None

        self.workspace.poll(settled)

    @staticmethod
    def _spec(state):
        """What is sent: false switches are left out, as Go's encoder does."""
        names = (*PIPELINE_TEXTS, *PIPELINE_FLAGS, "configuration")
        spec = {name: state[name] for name in names if state.get(name)}
        spec["libraries"] = [
            {"notebook": {"path": library["notebook"][0]["path"]}} for library in state["library"]
        ]
        return spec


class Job(WorkspaceResource):
    @classmethod
    def get_name(cls):
        return "job"

    @classmethod
    def get_schema(cls):
        pipeline_task = Blocks("pipeline_task", Block([required("pipeline_id", String())]))
        schedule = [
            required("quartz_cron_expression", String()),
            required("timezone_id", String()),
            optional("pause_status", String()),
        ]
        return Schema(
            [
                computed("id", String()),
                optional("name", String()),
                defaulted("max_concurrent_runs", Number(), 1),
            ],
            block_types=[
                Blocks("task", Block([required("task_key", String())], [pipeline_task])),
                Blocks("schedule", Block(schedule)),
            ],
        )

    def do_create(self, state):
        created = self.workspace.post("/api/2.2/jobs/create", self._settings(state))
        if not isinstance(created["job_id"], int):
            raise CallError(200, "MALFORMED", "job_id must be a number")
        return self.do_read(state | {"id": str(created["job_id"])})

    def do_read(self, state):
        settings = self.workspace.get("/api/2.2/jobs/get", job_id=state["id"])["settings"]
        tasks = settings.get("tasks", [])
        schedules = [settings["schedule"]] if "schedule" in settings else []
        return state | {
            "name": settings.get("name"),
            "max_concurrent_runs": settings["max_concurrent_runs"],
            "task": [
                {
                    "task_key": task["task_key"],
                    "pipeline_task": [{"pipeline_id": task["pipeline_task"]["pipeline_id"]}],
                }
                for task in tasks
            ],
            "schedule": [
                {
                    name: schedule.get(name)
                    for name in ("quartz_cron_expression", "timezone_id", "pause_status")
                }
                for schedule in schedules
            ],
        }

    def do_update(self, current, planned):
        state = current | planned
        self.workspace.post(
            "/api/2.2/jobs/reset",
            {"job_id": int(state["id"]), "new_settings": self._settings(state)},
        )
        return self.do_read(state)

    def do_delete(self, current):
        self.workspace.post("/api/2.2/jobs/delete", {"job_id": int(current["id"])})

    @staticmethod
    def _settings(state):
        settings = {
            "name": state["name"],
            "max_concurrent_runs": state["max_concurrent_runs"],
            "queue": {"enabled": False},
            "tasks": [
                {"task_key": task["task_key"], "pipeline_task": dict(task["pipeline_task"][0])}
                for task in state["task"]
            ],
        }
        for schedule in state["schedule"]:
            settings["schedule"] = dict(schedule)
        return settings
