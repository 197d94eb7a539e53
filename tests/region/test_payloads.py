"""What a worker is told: files by every kind of library, storage by every spelling, secrets."""

from __future__ import annotations

import pytest

from proa.http.api_errors import ApiError, InvalidParameterError
from proa.region.payloads import Payloads
from proa.region.pipelines.updates import UpdateCause
from proa.region.workspace.workspace import ObjectKind


@pytest.fixture
def payloads(still):
    region = still.region
    parts = (region.workspace, region.pipelines, region.secrets, region.files)
    return Payloads("us-east", region.settings, *parts)


@pytest.fixture
def workspace(still):
    found = still.region.workspace
    found.mkdirs("/Shared/etl/deep")
    found.put("/Shared/etl/a", b"# Databricks notebook source\n1", ObjectKind.NOTEBOOK, "PYTHON")
    found.put("/Shared/etl/b.sql", b"select 1", ObjectKind.FILE)
    found.put("/Shared/etl/deep/c.py", b"1", ObjectKind.FILE)
    found.put("/Shared/etl/readme.md", b"#", ObjectKind.FILE)
    found.put("/Shared/etl/scala", b"1", ObjectKind.NOTEBOOK, "SCALA")
    return found


def paths(payloads, *libraries):
    return [source.path for source in payloads.libraries({"libraries": list(libraries)})]


def test_libraries_become_files_with_the_suffix_of_their_language(payloads, workspace):
    assert paths(
        payloads,
        {"notebook": {"path": "/Workspace/Shared/etl/a"}},
        {"file": {"path": "/Shared/etl/b.sql"}},
        {"notebook": {"path": "/Shared/etl/a"}},
    ) == ["/Shared/etl/a.py", "/Shared/etl/b.sql"]


@pytest.mark.slow
def test_a_glob_takes_every_source_below_a_folder(payloads, workspace):
    assert paths(payloads, {"glob": {"include": "/Shared/etl/**"}}) == [
        "/Shared/etl/a.py",
        "/Shared/etl/b.sql",
        "/Shared/etl/deep/c.py",
    ]


@pytest.mark.parametrize(
    "library",
    [
        {"notebook": {"path": "/Shared/etl"}},
        {"notebook": {"path": "/Shared/gone"}},
        {"notebook": {"path": "/Shared/etl/scala"}},
        {"file": {"path": "/Shared/etl/readme.md"}},
        {"glob": {"include": "/Users/**"}},
    ],
)
def test_what_is_no_source_is_refused_by_name(payloads, workspace, library):
    with pytest.raises(ApiError, match="/"):
        paths(payloads, library)


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        (None, "{root}/dbfs/pipelines/x"),
        ("dbfs:/pipelines/x", "{root}/dbfs/pipelines/x"),
        ("s3://bucket/dlt/", "s3://bucket/dlt"),
        ("/data/dlt", "/data/dlt"),
    ],
)
def test_storage_by_every_spelling(payloads, still, storage, expected):
    root = still.region.settings.storage
    assert payloads.storage({"storage": storage}, "x") == expected.format(root=root)


@pytest.mark.parametrize("storage", ["relative/path", "dbfs:/../../etc"])
def test_storage_that_leads_nowhere_is_refused(payloads, storage):
    with pytest.raises(InvalidParameterError):
        payloads.storage({"storage": storage}, "x")


def test_configuration_has_the_landing_zone_and_secrets_but_shows_none(payloads, still):
    still.region.secrets.create_scope("db")
    still.region.secrets.put("db", "password", b"geheim")
    pipeline = still.region.pipelines.create(
        {"name": "p", "configuration": {"url": "x://me:{{secrets/db/password}}@y"}}, "me"
    )
    still.region.updates.start(still.region.pipelines.get(pipeline), {}, UpdateCause.API_CALL)
    still.turn()
    told = still.workers.begun[0].work.payload["configuration"]
    assert told["landing_zone"] == still.region.settings.landing_zone
    assert told["url"] == "x://me:geheim@y"
    shown = str(still.region.updates.active(pipeline)) + str(
        still.region.events.list(pipeline, size=100)
    )
    assert "geheim" not in shown


def test_parameters_of_an_update_are_configuration_for_it_alone(payloads, still):
    region = still.region
    made = region.pipelines.create({"name": "p", "configuration": {"a": "own", "b": "own"}}, "ada")
    given = {"b": "given", "c": "{{secrets/s/k}}", "proa.through": "orders=3"}
    started = region.updates.start(
        region.pipelines.get(made), {"parameters": given}, UpdateCause.API_CALL
    )
    order = payloads.update(region.updates.get(started))
    assert {key: order["configuration"].get(key) for key in ("a", "b", "c", "proa.through")} == {
        "a": "own",
        "b": "given",
        "c": "{{secrets/s/k}}",
        "proa.through": None,
    }
    assert order["request"]["parameters"]["proa.through"] == "orders=3"
    assert "b" in region.pipelines.get(made).spec["configuration"]


def test_old_history_is_forgotten_and_new_is_kept(still):
    pipeline = still.region.pipelines.create({"name": "p"}, "me")
    still.region.updates.start(still.region.pipelines.get(pipeline), {}, UpdateCause.API_CALL)
    still.turn()
    still.workers.begun[0].end()
    still.turn()
    still.pass_time(59 * 86400)
    assert len(still.region.updates.list(pipeline, size=10)[0]) == 1
    still.pass_time(2 * 86400)
    assert still.region.updates.list(pipeline, size=10)[0] == []
    assert still.region.events.list(pipeline, size=10)[0] == []
