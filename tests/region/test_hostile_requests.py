"""What no client means, and what clients send otherwise than documented: 4xx or right, never 5xx."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request

import pytest
from databricks.sdk.errors import InvalidParameterValue, NotFound
from databricks.sdk.service import iam, workspace

DEEP = b"[" * 5000 + b"]" * 5000
LONG = "x" * 70_000


def send(server, method: str, path: str, data: bytes | None = None, kind: str | None = None):
    """(status, text) of the answer; without `kind` as curl -d sends it."""
    request = urllib.request.Request(
        server.address + path,
        data=data,
        method=method,
        headers={"Authorization": f"Bearer {server.token}"},
    )
    if kind is not None:
        request.add_header("Content-Type", kind)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def operations(server):
    """(method, path) of every call that takes JSON, with something for each part of the path."""
    found = []
    for path, methods in server.region_app.openapi()["paths"].items():
        for method, operation in methods.items():
            if "application/json" in operation.get("requestBody", {}).get("content", {}):
                filled = path
                for name in ("pipeline_id", "object_id", "update_id", "statement_id"):
                    filled = filled.replace(f"{{{name}}}", "1")
                found.append(
                    (method.upper(), filled.replace("{kind}", "jobs").replace("{path}", "a"))
                )
    assert len(found) > 30
    return found


BODIES = {
    "deep list": b'{"name": ' + DEEP + b"}",
    "900 levels": b'{"name":"d","libraries":[],"clusters":[{"x":'
    + b"[" * 900
    + b"]" * 900
    + b"}]}",
    "deep object": b'{"a":' * 900 + b"1" + b"}" * 900,
    "not a number": b'{"name": "n", "clusters": [NaN], "tags": {"a": Infinity}}',
    "a long number": b'{"name": "n", "job_id": 1' + b"0" * 5000 + b"}",
    "a large number": b'{"job_id": 1e400, "run_id": 1e400, "handle": 1e400, "extra": 1e400}',
    "no object": b"[1]",
    "null": b"null",
    "nothing": b"",
    "half": b'{"name": "a',
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "half a surrogate pair": b'{"name": "\\ud800", "path": "/\\ud800", "scope": "\\ud800", "key": "k"}',
    "a NUL": b'{"name": "a\\u0000b", "path": "/a\\u0000b", "scope": "a\\u0000b", "key": "a\\u0000"}',
    "long texts": json.dumps(
        dict.fromkeys(
            ("name", "path", "scope", "key", "principal", "statement", "warehouse_id", "comment"),
            LONG,
        )
    ).encode(),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_no_body_makes_a_call_stumble(server, operations, tmp_path_factory, body):
    places = str(tmp_path_factory.getbasetemp())
    for method, path in operations:
        status, text = send(server, method, path, body, "application/json")
        assert status < 500 or status == 501, (method, path, text)
        assert places not in text, (method, path, text)


@pytest.mark.parametrize(
    "path",
    [
        "/api/2.0/dbfs/{}?path=%s&source_path=%s",
        "/api/2.0/fs/files%s",
        "/api/2.0/fs/directories%s",
        "/api/2.0/workspace-files/import-file%s",
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        "/file.txt/below",
        "/file.txt/below/deeper",
        f"/{'n' * 254}",
        "/" + "/".join("abcdefghij" * 9),
    ],
)
def test_a_path_that_cannot_be_is_refused_without_naming_the_servers_own(
    server, tmp_path_factory, path, name
):
    places = str(tmp_path_factory.getbasetemp())
    for root in ("/file.txt", "/Shared/file.txt"):
        send(server, "PUT", f"/api/2.0/fs/files{root}?overwrite=true", b"1", "text/plain")
        send(server, "POST", f"/api/2.0/workspace-files/import-file{root}", b"1", "text/plain")
    calls = []
    if "{}" in path:
        calls += [
            ("GET", f"/api/2.0/dbfs/{call}?path={name}", None)
            for call in ("get-status", "list", "read")
        ]
        for call, more in (
            ("put", {"contents": "MQ=="}),
            ("mkdirs", {}),
            ("create", {"overwrite": True}),
            ("delete", {"recursive": True}),
            ("move", {"source_path": "/file.txt", "destination_path": name}),
            ("move", {"source_path": name, "destination_path": "/elsewhere"}),
        ):
            body = json.dumps({"path": name, **more}).encode()
            calls.append(("POST", f"/api/2.0/dbfs/{call}", body))
    else:
        url = path % name
        calls += [(method, url, b"1") for method in ("PUT", "POST", "GET", "DELETE")]
        calls += [("POST", f"{url}?action=initiate-upload", b"{}")]
    for call in calls:
        status, text = send(server, *call)
        assert status < 500 or status == 501, (call, text)
        assert places not in text, (call, text)


def test_json_without_a_content_type_is_json(server):
    body = b'{"path":"/Shared/ct"}'
    for kind in (None, "text/plain", "application/x-www-form-urlencoded", "application/json"):
        assert send(server, "POST", "/api/2.0/workspace/mkdirs", body, kind)[0] == 200
    assert send(server, "GET", "/api/2.0/workspace/get-status?path=/Shared/ct")[0] == 200


def test_an_empty_value_was_not_given(server, w):
    content = base64.b64encode(b"1").decode()
    body = {"path": "/Shared/ev", "language": "PYTHON", "content": content, "format": ""}
    assert send(server, "POST", "/api/2.0/workspace/import", json.dumps(body).encode())[0] == 200
    for query in ("format=&path=/Shared/ev", "path=/Shared/ev&direct_download="):
        assert send(server, "GET", f"/api/2.0/workspace/export?{query}")[0] == 200
    for path in (
        "/api/2.0/pipelines?max_results=&filter=&page_token=&order_by=",
        "/api/2.2/jobs/list?limit=&name=&offset=&page_token=&expand_tasks=",
        "/api/2.2/jobs/runs/list?job_id=&active_only=&limit=&start_time_from=",
    ):
        status, text = send(server, "GET", path)
        assert status == 200, text
    job = {"name": "", "max_concurrent_runs": "", "tasks": []}
    assert send(server, "POST", "/api/2.2/jobs/create", json.dumps(job).encode())[0] == 200


def test_notebooks_of_one_new_folder_are_imported_at_once(w):
    for number in range(3):
        w.workspace.import_(
            f"/Race/new/deep/n{number}",
            content=base64.b64encode(b"select 1").decode(),
            language=workspace.Language.SQL,
            format=workspace.ImportFormat.SOURCE,
        )
    assert len(list(w.workspace.list("/Race/new/deep"))) == 3


PROVIDERS_TABLE = {
    "pipelines": "pipelines",
    "jobs": "job",
    "notebooks": "notebook",
    "directories": "directory",
    "files": "file",
    "sql/warehouses": "warehouses",
    "authorization": "tokens",
}
"""What the Terraform provider asks for, and the object type that it expects in the answer."""


@pytest.mark.parametrize(("kind", "object_type"), PROVIDERS_TABLE.items())
def test_permissions_of_each_kind_are_those_that_the_provider_reads_back(
    server, w, kind, object_type
):
    folder = w.workspace.mkdirs("/Shared/perm") or "/Shared/perm"
    w.workspace.upload(
        "/Shared/perm/f.txt", b"1", overwrite=True, format=workspace.ImportFormat.RAW
    )
    w.workspace.upload(
        "/Shared/perm/n.py",
        b"1",
        overwrite=True,
        format=workspace.ImportFormat.SOURCE,
        language=workspace.Language.PYTHON,
    )
    object_id = {
        "pipelines": lambda: w.pipelines.create(name=f"perm {kind}", libraries=[]).pipeline_id,
        "jobs": lambda: w.jobs.create(name="perm").job_id,
        "notebooks": lambda: w.workspace.get_status("/Shared/perm/n.py").object_id,
        "directories": lambda: w.workspace.get_status(folder).object_id,
        "files": lambda: w.workspace.get_status("/Shared/perm/f.txt").object_id,
        "sql/warehouses": lambda: next(iter(w.warehouses.list())).id,
        "authorization": lambda: "tokens",
    }[kind]()
    levels = w.permissions.get_permission_levels(kind, str(object_id)).permission_levels
    level = levels[0].permission_level.value
    entry = iam.AccessControlRequest(
        group_name="users", permission_level=iam.PermissionLevel(level)
    )
    w.permissions.set(kind, str(object_id), access_control_list=[entry])
    found = w.permissions.get(kind, str(object_id))
    assert found.object_type == object_type
    assert found.object_id == f"/{kind}/{object_id}"
    direct = {
        item.group_name: item.all_permissions[0].permission_level.value
        for item in found.access_control_list
        if item.group_name and not item.all_permissions[0].inherited
    }
    assert direct == {"users": level}


def test_kinds_that_a_region_has_nothing_of_are_missing_and_nonsense_is_refused(w):
    with pytest.raises(NotFound):
        w.permissions.get("clusters", "1")
    with pytest.raises(NotFound):
        w.permissions.get("notebooks", str(w.workspace.get_status("/Shared").object_id))
    with pytest.raises(InvalidParameterValue):
        w.permissions.get("nonsense", "1")
