"""Consumers without a gateway: a profile file and registered tables follow the active region."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner, Result

from proa.cli.main import app
from proa.cli.project import load_regions
from proa.errors import ConflictError, SettingsError, UnavailableError
from proa.recovery.consumer_targets import Consumers
from proa.steps import Step, probing
from proa.testing import FakeClock
from two_region_project import PROJECT_SETTINGS, Project, new_project

RECOVERY = (
    PROJECT_SETTINGS
    + """\
recovery:
  group: shop
  control: {path: third}
  driver: command
  commands: {drain: "true"}
  consumers:
"""
)
PROFILE = """\
    - profile: shared/ada.share
      regions: {east: keys/east.share, west: keys/west.share}
"""
_TABLES = "/api/2.1/unity-catalog/tables"


class Catalog(BaseHTTPRequestHandler):
    """A server that keeps tables as Unity Catalog's API says."""

    tables: dict[str, dict]

    def do_GET(self) -> None:
        table = self.tables.get(self._name())
        self._say(200, table) if table else self._say(404, {"error_code": "TABLE_NOT_FOUND"})

    def do_DELETE(self) -> None:
        gone = self.tables.pop(self._name(), None)
        self._say(200 if gone else 404, {})

    def do_POST(self) -> None:
        table = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name = ".".join(table[part] for part in ("catalog_name", "schema_name", "name"))
        if name in self.tables:
            self._say(409, {"error_code": "TABLE_ALREADY_EXISTS", "message": "it is there"})
            return
        self.tables[name] = table
        self._say(200, table)

    def parse_request(self) -> bool:
        whole = super().parse_request()
        if whole and self.path.startswith("/broken/"):
            self._say(500, {"error_code": "INTERNAL_ERROR", "message": "the catalog is broken"})
            return False
        return whole

    def _name(self) -> str:
        return unquote(self.path.removeprefix(f"{_TABLES}/").partition("?")[0])

    def _say(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def catalog() -> Iterator[tuple[str, dict[str, dict]]]:
    """The address of an empty catalog, and its tables."""
    tables: dict[str, dict] = {}
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("OneCatalog", (Catalog,), {"tables": tables})
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", tables
    server.shutdown()
    thread.join()
    server.server_close()


def shop(tmp_path: Path, clock: FakeClock, consumers: str) -> Project:
    """Both regions have processed what was shipped, and each has a sharing server's profile."""
    (tmp_path / "source").mkdir()
    (tmp_path / "keys").mkdir()
    (tmp_path / "proa.yml").write_text(RECOVERY + consumers)
    for region in ("east", "west"):
        profile = {
            "shareCredentialsVersion": 1,
            "endpoint": f"https://{region}/",
            "bearerToken": "t",
        }
        (tmp_path / "keys" / f"{region}.share").write_text(json.dumps(profile))
    project = new_project(str(tmp_path), {}, clock)
    project.arrive(1, 2)
    project.ship()
    for region in ("east", "west"):
        project.process(region, 1, 2)
    return project


def proa(project: Project, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--project", project.base])


def endpoint(project: Project) -> str:
    return json.loads(Path(project.base, "shared/ada.share").read_text())["endpoint"]


def consumers_of(project: Project) -> Consumers:
    return Consumers.of(load_regions(Path(project.base)))


@pytest.mark.slow
def test_a_profile_follows_the_active_region_there_and_back(tmp_path: Path, clock: FakeClock):
    project = shop(tmp_path, clock, PROFILE)
    first = proa(project, "status")
    assert "leads to no region, and east is active; `proa resume` points it there" in first.output
    assert proa(project, "resume").exit_code == 0
    assert endpoint(project) == "https://east/"
    explained = proa(project, "switchover", "--to", "west", "--explain").output
    assert "becomes that of west" in explained.replace("\n", " ")
    assert proa(project, "switchover", "--to", "west", "--yes").exit_code == 0
    assert endpoint(project) == "https://west/"
    assert "leads to west" in proa(project, "status").output
    assert proa(project, "failback", "--yes").exit_code == 0
    assert endpoint(project) == "https://east/"


def test_a_lost_region_needs_no_answer_and_drift_is_told_and_mended(
    tmp_path: Path, clock: FakeClock
):
    project = shop(tmp_path, clock, PROFILE)
    Path(project.base, "east").rename(tmp_path / "lost")
    assert proa(project, "failover", "--to", "west", "--yes").exit_code == 0
    assert endpoint(project) == "https://west/"
    # An old deployment puts the old file back.
    profile = Path(project.base, "shared/ada.share")
    profile.write_bytes((tmp_path / "keys/east.share").read_bytes())
    facts = json.loads(proa(project, "status", "--json").stdout)["control"]["consumers"]
    assert facts[0]["regions"] == ["east"]
    assert "west is active" in facts[0]["drift"]
    told = proa(project, "resume")
    assert "consumers were sent elsewhere, and are sent to west again" in told.output
    assert endpoint(project) == "https://west/"


def test_a_region_without_a_profile_is_a_mistake_that_validate_finds(
    tmp_path: Path, clock: FakeClock
):
    project = shop(tmp_path, clock, PROFILE)
    (tmp_path / "keys/west.share").unlink()
    checks = json.loads(proa(project, "validate", "--json").stdout)["checks"]
    (check,) = [one for one in checks if one["check"] == "consumers"]
    assert check["level"] == "failure"
    assert "there is no profile of west" in check["sentence"]
    (tmp_path / "keys/west.share").write_text("{}")
    with pytest.raises(SettingsError, match="is not a Delta Sharing profile"):
        consumers_of(project).repoint("west")


def test_a_target_names_every_region(tmp_path: Path, clock: FakeClock):
    project = shop(tmp_path, clock, PROFILE.replace(", west: keys/west.share", ""))
    with pytest.raises(SettingsError, match="names no file for 'west'"):
        consumers_of(project)


def unity(address: str) -> str:
    return f"    - {{unity: {{host: '{address}', token: t}}, into: main.shop}}\n"


def places(tables: dict[str, dict]) -> dict[str, str]:
    return {name: table["storage_location"] for name, table in tables.items()}


def test_registered_tables_follow_the_active_region(tmp_path: Path, clock: FakeClock, catalog):
    address, tables = catalog
    project = shop(tmp_path, clock, unity(address))
    assert proa(project, "failover", "--to", "west", "--yes").exit_code == 0
    west = f"file://{tmp_path}/west/storage/tables"
    assert places(tables) == {
        "main.shop.bronze": f"{west}/bronze",
        "main.shop.gold": f"{west}/gold",
    }
    columns = {one["name"]: one["type_name"] for one in tables["main.shop.gold"]["columns"]}
    assert columns == {"id": "STRING", "at": "TIMESTAMP"}
    assert proa(project, "failback", "--yes").exit_code == 0
    assert {place.split("/storage/")[0] for place in places(tables).values()} == {
        f"file://{tmp_path}/east"
    }


def test_a_table_of_somebody_else_is_left_alone(tmp_path: Path, clock: FakeClock, catalog):
    address, tables = catalog
    project = shop(tmp_path, clock, unity(address))
    tables["main.shop.gold"] = {"name": "gold", "storage_location": "s3://others/gold"}
    with pytest.raises(ConflictError, match="none of this project's regions"):
        consumers_of(project).repoint("west")
    assert places(tables)["main.shop.gold"] == "s3://others/gold"


class _Dies(BaseException):
    """A process ends."""


class _DyingRepoint:
    """Dies before or after consumers are sent to a region."""

    def __init__(self, when: str) -> None:
        self._when = when

    def before(self, step: Step) -> None:
        if step is Step.REGION_REPOINT and self._when == "before":
            raise _Dies

    def after(self, step: Step) -> None:
        if step is Step.REGION_REPOINT and self._when == "after":
            raise _Dies


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_controller_that_dies_while_it_repoints_is_finished_by_resume(
    tmp_path: Path, clock: FakeClock, catalog, when: str
):
    address, tables = catalog
    project = shop(tmp_path, clock, PROFILE + unity(address))
    with probing(_DyingRepoint(when)), pytest.raises(_Dies):
        proa(project, "failover", "--to", "west", "--yes")
    assert proa(project, "resume").exit_code == 0
    assert endpoint(project) == "https://west/"
    assert all(f"{tmp_path}/west/" in place for place in places(tables).values())


def test_a_broken_catalog_stops_no_profile_and_resume_goes_on(
    tmp_path: Path, clock: FakeClock, catalog
):
    address, tables = catalog
    project = shop(tmp_path, clock, unity(f"{address}/broken") + PROFILE)
    stopped = proa(project, "failover", "--to", "west", "--yes")
    assert isinstance(stopped.exception, UnavailableError)
    assert endpoint(project) == "https://west/"
    assert json.loads(proa(project, "status", "--json").stdout)["control"]["phase"] == "repointing"
    (tmp_path / "proa.yml").write_text(RECOVERY + unity(address) + PROFILE)
    assert proa(project, "resume").exit_code == 0
    assert sorted(tables) == ["main.shop.bronze", "main.shop.gold"]


def test_column_types_are_spelled_as_unity_spells_them():
    from proa.recovery.consumer_targets import _column

    kinds = {
        "long": ("bigint", "LONG"),
        "integer": ("int", "INT"),
        "decimal(10,2)": ("decimal(10,2)", "DECIMAL"),
        "timestamp_ntz": ("timestamp_ntz", "TIMESTAMP_NTZ"),
    }
    for kind, (text, name) in kinds.items():
        column = _column({"name": "x", "type": kind}, 3)
        assert (column["type_text"], column["type_name"], column["position"]) == (text, name, 3)
    nested = {
        "type": "array",
        "elementType": {"type": "map", "keyType": "string", "valueType": "long"},
    }
    column = _column({"name": "x", "type": nested}, 0)
    assert (column["type_text"], column["type_name"]) == ("array<map<string,bigint>>", "ARRAY")
