"""Every promise of the REST API, asked for by Databricks' own client."""

from __future__ import annotations

import base64
import io
import json
import urllib.error
import urllib.request
from typing import ClassVar

import pytest
from databricks.sdk.errors import (
    BadRequest,
    DatabricksError,
    InvalidParameterValue,
    NotFound,
    PermissionDenied,
    ResourceAlreadyExists,
    ResourceConflict,
    ResourceDoesNotExist,
    Unauthenticated,
)
from databricks.sdk.service import iam, jobs, pipelines, workspace

NOTEBOOK = b"# Databricks notebook source\nimport dlt\n\n# COMMAND ----------\n\n# MAGIC %sql\n# MAGIC SELECT 1\n"


def raw(server, method: str, path: str, data: bytes | None = None, **headers: str):
    request = urllib.request.Request(
        server.address + path,
        data=data,
        method=method,
        headers={"Authorization": f"Bearer {server.token}", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


class TestIdentity:
    def test_the_well_known_document_is_open_and_typed_as_go_wants_it(self, server):
        with urllib.request.urlopen(f"{server.address}/.well-known/databricks-config") as answer:
            found = json.load(answer)
        assert found["workspace_id"].isdigit()
        assert found["host_type"] == "workspace"
        assert found["oidc_endpoint"] == f"{server.address}/oidc"

    def test_every_answer_names_the_workspace(self, server):
        expected = server.region.identity.workspace_id
        for path in ("/health", "/api/2.0/preview/scim/v2/Me", "/api/2.0/nothing"):
            assert raw(server, "GET", path)[1]["x-databricks-org-id"] == expected

    def test_me_is_the_owner_of_the_token(self, w):
        assert w.current_user.me().user_name == "admin@proa"
        assert w.get_workspace_id() > 0

    @pytest.mark.parametrize("token", ["proa", "x", "proa0123456789abcdef", "é"])
    def test_a_wrong_token_is_refused(self, server, token):
        status, _, body = raw(server, "GET", "/api/2.0/pipelines", Authorization=f"Bearer {token}")
        assert (status, json.loads(body)["error_code"]) == (401, "UNAUTHENTICATED")

    def test_nothing_is_open_but_health_and_the_well_known_document(self, server):
        for path in ("/openapi.json", "/metrics", "/api/2.0/pipelines", "/", "/api/nothing"):
            request = urllib.request.Request(server.address + path)
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=10)
            refused.value.close()
            assert refused.value.code == 401

    def test_a_revoked_token_is_worth_nothing(self, server):
        token, text = server.region.tokens.create()
        server.region.tokens.revoke(token.token_id)
        with pytest.raises(Unauthenticated):
            server.client(text).current_user.me()

    def test_a_request_for_another_workspace_is_refused(self, server):
        status, _, body = raw(
            server, "GET", "/api/2.0/pipelines", **{"X-Databricks-Workspace-Id": "42"}
        )
        assert (status, json.loads(body)["error_code"]) == (403, "PERMISSION_DENIED")

    def test_what_is_not_served_says_so(self, w):
        with pytest.raises(DatabricksError, match="not part of what a Proa region serves"):
            list(w.serving_endpoints.list())


class TestWorkspace:
    def test_a_notebook_goes_the_way_terraform_sends_it(self, w):
        encoded = base64.b64encode(NOTEBOOK).decode()
        send = {
            "content": encoded,
            "language": workspace.Language.PYTHON,
            "format": workspace.ImportFormat.SOURCE,
            "overwrite": True,
        }
        w.workspace.import_("/Pipelines/Pipeline1/notebook1.py", **send)
        first = w.workspace.get_status("/Pipelines/Pipeline1/notebook1.py")
        assert first.path == "/Pipelines/Pipeline1/notebook1.py"
        assert first.object_type is workspace.ObjectType.NOTEBOOK
        assert first.language is workspace.Language.PYTHON
        w.workspace.import_("/Pipelines/Pipeline1/notebook1.py", **send)
        again = w.workspace.get_status("/Workspace/Pipelines/Pipeline1/notebook1.py")
        assert again.object_id == first.object_id
        assert again.path == "/Workspace/Pipelines/Pipeline1/notebook1.py"

    def test_an_upload_with_a_notebook_header_becomes_a_notebook(self, w):
        w.workspace.upload(
            "/Shared/auto.py", io.BytesIO(NOTEBOOK), format=workspace.ImportFormat.AUTO
        )
        assert w.workspace.get_status("/Shared/auto").object_type is workspace.ObjectType.NOTEBOOK
        w.workspace.upload(
            "/Shared/raw.py", io.BytesIO(NOTEBOOK), format=workspace.ImportFormat.RAW
        )
        assert w.workspace.get_status("/Shared/raw.py").object_type is workspace.ObjectType.FILE
        assert w.workspace.download("/Shared/raw.py").read() == NOTEBOOK
        assert w.workspace.download("/Shared/auto").read() == NOTEBOOK

    def test_jupyter_and_source_say_the_same(self, w):
        w.workspace.upload("/Shared/both", io.BytesIO(NOTEBOOK), language=workspace.Language.PYTHON)
        exported = w.workspace.export("/Shared/both", format=workspace.ExportFormat.JUPYTER)
        document = json.loads(base64.b64decode(exported.content))
        assert [cell["source"] for cell in document["cells"]] == ["import dlt\n", "%sql\nSELECT 1"]
        w.workspace.import_(
            "/Shared/jupyter", content=exported.content, format=workspace.ImportFormat.JUPYTER
        )
        again = w.workspace.export("/Shared/jupyter", format=workspace.ExportFormat.JUPYTER)
        assert json.loads(base64.b64decode(again.content))["cells"][1] == document["cells"][1]

    def test_what_exists_is_not_overwritten_unasked(self, w):
        w.workspace.upload("/Shared/once.txt", io.BytesIO(b"1"), format=workspace.ImportFormat.RAW)
        with pytest.raises(ResourceAlreadyExists):
            w.workspace.upload(
                "/Shared/once.txt", io.BytesIO(b"2"), format=workspace.ImportFormat.RAW
            )

    def test_a_folder_with_something_in_it_needs_recursive(self, w):
        w.workspace.mkdirs("/Shared/full/deep")
        with pytest.raises(BadRequest, match="not empty"):
            w.workspace.delete("/Shared/full")
        w.workspace.delete("/Shared/full", recursive=True)
        with pytest.raises(ResourceDoesNotExist):
            w.workspace.get_status("/Shared/full/deep")

    def test_capitals_are_another_folder(self, w):
        for name in ("Case", "case"):
            w.workspace.mkdirs(f"/Shared/{name}/x")
        w.workspace.delete("/Shared/case", recursive=True)
        assert (
            w.workspace.get_status("/Shared/Case/x").object_type is workspace.ObjectType.DIRECTORY
        )

    def test_listing_goes_down(self, w):
        w.workspace.mkdirs("/Shared/list/a")
        w.workspace.upload(
            "/Shared/list/a/x.txt", io.BytesIO(b""), format=workspace.ImportFormat.RAW
        )
        found = [item.path for item in w.workspace.list("/Shared/list", recursive=True)]
        assert found == ["/Shared/list/a/x.txt"]
        w.workspace.mkdirs("/Shared/list/empty")
        assert list(w.workspace.list("/Shared/list/empty")) == []

    @pytest.mark.parametrize(
        "path",
        [
            "/Shared/../x",
            "/Shared/./x",
            "/..",
            "/Shared/a\\..\\b",
            "relative",
            "",
            "/Shared/a\x00b",
        ],
    )
    def test_no_spelling_leads_out_of_the_tree(self, w, path):
        with pytest.raises(InvalidParameterValue):
            w.workspace.mkdirs(path)

    def test_import_file_creates_or_says_that_it_is_there(self, server, w):
        w.workspace.mkdirs("/Users/a")
        path = "/api/2.0/workspace-files/import-file/%2FWorkspace%2FUsers%2Fa%2Fdeploy.lock"
        missing = "/api/2.0/workspace-files/import-file/Users/nobody/x"
        assert raw(server, "POST", f"{missing}?overwrite=false", b"{}")[0] == 404
        assert raw(server, "POST", f"{path}?overwrite=false", b"{}")[0] == 200
        assert raw(server, "POST", f"{path}?overwrite=false", b"{}")[0] == 409
        assert raw(server, "POST", f"{path}?overwrite=true", b"{1}")[0] == 200
        assert w.workspace.download("/Users/a/deploy.lock").read() == b"{1}"


class TestSecrets:
    def test_a_secret_is_kept_listed_by_key_and_given_back(self, w):
        w.secrets.create_scope("db")
        w.secrets.put_secret("db", "password", string_value="geheim")
        assert [item.key for item in w.secrets.list_secrets("db")] == ["password"]
        assert base64.b64decode(w.secrets.get_secret("db", "password").value) == b"geheim"
        w.secrets.delete_secret("db", "password")
        assert list(w.secrets.list_secrets("db")) == []
        w.secrets.delete_scope("db")
        with pytest.raises(ResourceDoesNotExist):
            list(w.secrets.list_secrets("db"))


class TestFiles:
    def test_files_and_folders_by_the_files_api(self, w):
        w.files.create_directory("/Volumes/c/s/v/in")
        w.files.upload("/Volumes/c/s/v/in/a.bin", io.BytesIO(b"\x00\x01"))
        with pytest.raises(ResourceConflict):
            w.files.upload("/Volumes/c/s/v/in/a.bin", io.BytesIO(b"2"), overwrite=False)
        w.files.upload("/Volumes/c/s/v/in/a.bin", io.BytesIO(b"123"), overwrite=True)
        assert w.files.download("/Volumes/c/s/v/in/a.bin").contents.read() == b"123"
        assert w.files.get_metadata("/Volumes/c/s/v/in/a.bin").content_length == 3
        found = list(w.files.list_directory_contents("/Volumes/c/s/v"))
        assert [(item.name, item.is_directory) for item in found] == [("in", True)]
        w.files.delete("/Volumes/c/s/v/in/a.bin")
        w.files.get_directory_metadata("/Volumes/c/s/v/in")
        w.files.delete_directory("/Volumes/c/s/v/in")
        with pytest.raises(NotFound):
            w.files.get_directory_metadata("/Volumes/c/s/v/in")

    def test_dbfs_shows_the_same_tree(self, w):
        w.dbfs.upload("/FileStore/x.txt", io.BytesIO(b"hello"), overwrite=True)
        assert w.files.download("/FileStore/x.txt").contents.read() == b"hello"
        with w.dbfs.open("/FileStore/y.txt", write=True, overwrite=True) as file:
            file.write(b"blocks")
        assert w.dbfs.download("/FileStore/y.txt").read() == b"blocks"
        assert [item.path for item in w.dbfs.list("/FileStore")] == [
            "/FileStore/x.txt",
            "/FileStore/y.txt",
        ]
        w.dbfs.move_("/FileStore/y.txt", "/FileStore/z.txt")
        w.dbfs.delete("/FileStore", recursive=True)
        with pytest.raises(NotFound):
            w.dbfs.get_status("/FileStore/z.txt")


class TestPipelines:
    SPEC: ClassVar = {
        "name": "seed",
        "storage": "s3://bucket/dlt/",
        "target": "shop",
        "channel": "CURRENT",
        "edition": "ADVANCED",
        "libraries": [{"notebook": {"path": "/Pipelines/Pipeline1/notebook1.py"}}],
        "configuration": {"k": "v"},
        "clusters": [{"label": "default", "num_workers": 1, "custom_tags": {"a": "b"}}],
    }

    def test_a_spec_is_echoed_exactly(self, server, w):
        status, _, body = raw(
            server,
            "POST",
            "/api/2.0/pipelines",
            json.dumps(self.SPEC).encode(),
            **{"Content-Type": "application/json"},
        )
        assert status == 200
        pipeline_id = json.loads(body)["pipeline_id"]
        found = json.loads(raw(server, "GET", f"/api/2.0/pipelines/{pipeline_id}")[2])
        assert found["spec"] == {"id": pipeline_id, **self.SPEC}
        assert isinstance(found["last_modified"], int)
        assert found["state"] == "IDLE"
        assert "latest_updates" not in found
        w.pipelines.delete(pipeline_id)
        with pytest.raises(ResourceDoesNotExist):
            w.pipelines.get(pipeline_id)

    def test_storage_unset_is_databricks_default(self, w):
        made = w.pipelines.create(name="bare").pipeline_id
        found = w.pipelines.get(made)
        assert found.spec.storage == f"dbfs:/pipelines/{made}"
        w.pipelines.update(made, name="bare", storage=f"dbfs:/pipelines/{made}")
        with pytest.raises(InvalidParameterValue, match="cannot change"):
            w.pipelines.update(made, name="bare", storage="/elsewhere")

    def test_continuous_reaches_running_and_put_stops_it(self, w, until):
        made = w.pipelines.create(name="always", continuous=True).pipeline_id
        until(lambda: w.pipelines.get(made).state is pipelines.PipelineState.RUNNING)
        w.pipelines.update(made, name="always")
        until(lambda: w.pipelines.get(made).state is pipelines.PipelineState.IDLE)
        w.pipelines.update(made, name="always", continuous=True)
        until(lambda: w.pipelines.get(made).state is pipelines.PipelineState.RUNNING)
        assert w.pipelines.stop(made).result().state is pipelines.PipelineState.IDLE
        w.pipelines.delete(made)

    @pytest.mark.slow
    def test_one_update_at_a_time(self, w, until):
        made = w.pipelines.create(name="single").pipeline_id
        update = w.pipelines.start_update(made, full_refresh=True).update_id
        with pytest.raises(ResourceConflict, match=update):
            w.pipelines.start_update(made)
        until(
            lambda: (
                w.pipelines.get_update(made, update).update.state
                is pipelines.UpdateInfoState.RUNNING
            )
        )
        found = w.pipelines.get_update(made, update).update
        assert found.full_refresh is True
        assert isinstance(found.creation_time, int)
        w.pipelines.stop_and_wait(made)
        states = [event.message for event in w.pipelines.list_pipeline_events(made)]
        assert states[0].endswith("is CANCELED.")

    def test_names_are_taken_once(self, w):
        w.pipelines.create(name="twin")
        with pytest.raises(ResourceConflict, match="allow_duplicate_names"):
            w.pipelines.create(name="twin")
        w.pipelines.create(name="twin", allow_duplicate_names=True)

    def test_list_pages_and_filters(self, w):
        for number in range(5):
            w.pipelines.create(name=f"page-{number}")
        found = w.pipelines.list_pipelines(filter="name LIKE 'page-%'", max_results=2)
        assert {f"page-{number}" for number in range(5)} == {item.name for item in found}

    def test_an_old_view_loses(self, w):
        made = w.pipelines.create(name="lock").pipeline_id
        seen = w.pipelines.get(made).last_modified
        w.pipelines.update(made, name="lock", configuration={"a": "1"}, expected_last_modified=seen)
        with pytest.raises(ResourceConflict):
            w.pipelines.update(made, name="lock", expected_last_modified=seen)

    @pytest.mark.slow
    def test_events_page_and_filter(self, w, until):
        made = w.pipelines.create(name="events").pipeline_id
        update = w.pipelines.start_update(made).update_id
        w.pipelines.stop_and_wait(made)
        every = list(w.pipelines.list_pipeline_events(made))
        paged = list(w.pipelines.list_pipeline_events(made, max_results=2))
        assert [event.id for event in paged] == [event.id for event in every]
        only = w.pipelines.list_pipeline_events(
            made,
            filter=f"update_id = '{update}' AND timestamp > '2020-01-01T00:00:00Z'"
            " AND level in ('INFO')",
            max_results=2,
            order_by=["timestamp asc"],
        )
        found = list(only)
        assert found[0].event_type == "create_update"
        assert all(event.origin.update_id == update for event in found)
        assert {event.origin.region for event in every} == {"us-east"}
        with pytest.raises(InvalidParameterValue, match="cannot read the filter"):
            list(w.pipelines.list_pipeline_events(made, filter="level ~ 1"))

    def test_dry_run_keeps_nothing(self, w):
        before = len(list(w.pipelines.list_pipelines()))
        assert w.pipelines.create(name="dry", dry_run=True).effective_settings is not None
        assert len(list(w.pipelines.list_pipelines())) == before

    @pytest.mark.parametrize(
        "spec",
        [
            {"storage": "/a", "catalog": "c"},
            {"target": "a", "schema": "b"},
            {"channel": "NEXT"},
            {"libraries": [pipelines.PipelineLibrary(jar="dbfs:/x.jar")]},
        ],
    )
    def test_what_no_region_could_run_is_refused(self, w, spec):
        with pytest.raises(InvalidParameterValue):
            w.pipelines.create(name="wrong", **spec)


class TestJobs:
    TASKS = (
        jobs.Task(task_key="DLT", pipeline_task=jobs.PipelineTask(pipeline_id="p")),
        jobs.Task(
            task_key="after",
            depends_on=[jobs.TaskDependency("DLT")],
            notebook_task=jobs.NotebookTask("/Shared/x"),
        ),
    )
    SCHEDULE = jobs.CronSchedule("0 0 1 * * ?", "America/New_York", jobs.PauseStatus.PAUSED)

    def test_settings_are_echoed(self, w):
        made = w.jobs.create(
            name="Job for seed",
            tasks=list(self.TASKS),
            schedule=self.SCHEDULE,
            max_concurrent_runs=1,
        ).job_id
        found = w.jobs.get(made)
        assert [task.as_dict() for task in found.settings.tasks] == [
            task.as_dict() for task in self.TASKS
        ]
        assert found.settings.schedule == self.SCHEDULE
        assert found.settings.max_concurrent_runs == 1
        new = found.settings
        new.schedule.pause_status = jobs.PauseStatus.UNPAUSED
        w.jobs.reset(made, new)
        assert w.jobs.get(made).settings.schedule.pause_status is jobs.PauseStatus.UNPAUSED
        w.jobs.delete(made)
        with pytest.raises(NotFound):
            w.jobs.get(made)

    def test_update_changes_what_it_names(self, w):
        made = w.jobs.create(name="change", tasks=list(self.TASKS), schedule=self.SCHEDULE).job_id
        w.jobs.update(
            made,
            new_settings=jobs.JobSettings(
                name="changed",
                tasks=[jobs.Task(task_key="DLT", pipeline_task=jobs.PipelineTask("other"))],
            ),
            fields_to_remove=["schedule", "tasks/after"],
        )
        found = w.jobs.get(made).settings
        assert (found.name, found.schedule) == ("changed", None)
        assert [task.pipeline_task.pipeline_id for task in found.tasks] == ["other"]

    def test_list_pages_by_name(self, w):
        for _ in range(3):
            w.jobs.create(name="same", tasks=[])
        assert len(list(w.jobs.list(name="SAME", limit=2))) == 3
        assert list(w.jobs.list(name="nobody")) == []

    def test_the_old_form_stays_the_old_form(self, server):
        made = json.loads(
            raw(
                server,
                "POST",
                "/api/2.0/jobs/create",
                json.dumps({"name": "old", "pipeline_task": {"pipeline_id": "p"}}).encode(),
                **{"Content-Type": "application/json"},
            )[2]
        )["job_id"]
        found = json.loads(raw(server, "GET", f"/api/2.0/jobs/get?job_id={made}")[2])
        assert found["settings"]["format"] == "SINGLE_TASK"
        assert found["settings"]["pipeline_task"] == {"pipeline_id": "p"}
        assert "tasks" not in found["settings"]

    @pytest.mark.parametrize(
        "settings",
        [
            {"tasks": [jobs.Task(task_key="a"), jobs.Task(task_key="a")]},
            {"tasks": [jobs.Task(task_key="a")]},
            {"tasks": [jobs.Task(task_key="a", spark_jar_task=jobs.SparkJarTask("x"))]},
            {
                "tasks": [
                    jobs.Task(
                        task_key=key,
                        pipeline_task=jobs.PipelineTask("p"),
                        depends_on=[jobs.TaskDependency(other)],
                    )
                    for key, other in (("a", "b"), ("b", "a"))
                ]
            },
            {"schedule": jobs.CronSchedule("* * * * *", "UTC")},
            {"schedule": jobs.CronSchedule("0 0 1 * * ?", "Mars/Olympus")},
        ],
    )
    def test_what_no_region_could_run_is_refused(self, w, settings):
        with pytest.raises(InvalidParameterValue):
            w.jobs.create(name="wrong", **settings)

    def test_a_missing_job_is_not_found_for_every_verb(self, w):
        for call in (
            lambda: w.jobs.get(987654),
            lambda: w.jobs.delete(987654),
            lambda: w.jobs.reset(987654, jobs.JobSettings(name="x")),
        ):
            with pytest.raises(NotFound, match="Job 987654 does not exist"):
                call()


class TestPermissions:
    def test_they_are_stored_and_echoed(self, w):
        made = w.pipelines.create(name="allowed").pipeline_id
        entry = iam.AccessControlRequest(
            group_name="readers", permission_level=iam.PermissionLevel.CAN_VIEW
        )
        w.permissions.set("pipelines", made, access_control_list=[entry])
        found = w.permissions.get("pipelines", made)
        assert found.object_id == f"/pipelines/{made}"
        assert "readers" in {item.group_name for item in found.access_control_list}
        assert w.permissions.get_permission_levels("pipelines", made).permission_levels
        with pytest.raises(NotFound):
            w.permissions.get("pipelines", "nothing")

    def test_an_unknown_level_is_refused(self, w):
        made = w.jobs.create(name="x", tasks=[]).job_id
        with pytest.raises(DatabricksError):
            w.permissions.set(
                "jobs",
                str(made),
                access_control_list=[
                    iam.AccessControlRequest(
                        user_name="a", permission_level=iam.PermissionLevel.CAN_READ
                    )
                ],
            )


def test_a_missing_token_is_permission_for_nothing(server):
    with pytest.raises((Unauthenticated, PermissionDenied)):
        server.client("proa-wrong").pipelines.get("x")
