"""A gateway that runs: SQL by Databricks' client, TLS, and a consumer that reads through a failover."""

from __future__ import annotations

import json
import ssl
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import delta_sharing
import httpx
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import NotFound
from databricks.sdk.service.sql import Disposition, Format, StatementState
from gateway_world import GatewayWorld, new_world, numbers
from running_gateway import served_gateway
from typer.testing import CliRunner

from proa.cli.main import app
from proa.http.serving import Listen
from proa.runtime.declared import DeclaredPipeline, write_declared
from proa.settings import load
from proa.testing import FakeClock, FixedIds
from tls_certificate import write_certificate
from two_region_project import PROJECT_SETTINGS, new_project

pytestmark = pytest.mark.slow

SETTINGS = (
    PROJECT_SETTINGS
    + """\
recovery:
  group: shop
  control: {path: third}
  driver: command
  commands: {drain: "true"}
"""
)


@pytest.fixture(autouse=True)
def _quiet_client():
    """The client's own libraries warn about one another."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def databricks(profile: str, token: str | None = None) -> WorkspaceClient:
    known = json.loads(Path(profile).read_text())
    host = known["endpoint"].removesuffix("/delta-sharing/")
    return WorkspaceClient(
        config=Config(
            host=host,
            token=token or known["bearerToken"],
            auth_type="pat",
            retry_timeout_seconds=5,
            http_timeout_seconds=60,
        )
    )


def test_sql_reads_the_shared_tables_of_the_active_region_and_no_others(tmp_path):
    world = new_world(tmp_path, FakeClock())
    world.declare("orders", "secret", private=("secret",))
    world.write("east", "orders", numbers(1, 20))
    world.write("east", "secret", numbers(1, 1))
    world.write("west", "orders", numbers(1, 5))
    with served_gateway(world) as profile:
        w = databricks(profile)
        warehouse = next(iter(w.warehouses.list())).id

        def ask(text: str, client: WorkspaceClient = w, **how):
            how = {"wait_timeout": "50s", **how}
            return client.statement_execution.execute_statement(text, warehouse, **how)

        for name in ("orders", "default.orders", "shop.default.orders"):
            assert ask(f"select count(*), max(id) from {name}").result.data_array == [["20", "20"]]
        linked = ask(
            "select id from orders",
            disposition=Disposition.EXTERNAL_LINKS,
            format=Format.ARROW_STREAM,
        )
        link = linked.result.external_links[0].external_link
        assert httpx.get(link).status_code == 200
        for text in ("drop table orders", "select * from secret", "insert into orders values (1)"):
            assert ask(text).status.state is StatementState.FAILED
        _, other = world_recipients(world).add("bob", ["other"])
        stranger = databricks(profile, other)
        assert ask("select * from orders", stranger).status.state is StatementState.FAILED
        with pytest.raises(NotFound):
            stranger.statement_execution.get_statement(linked.statement_id)
        world.promote("west")
        until_region(profile, "west")
        assert ask("select count(*) from orders").result.data_array == [["5"]]
        with pytest.raises(NotFound, match="another region"):
            w.statement_execution.get_statement(linked.statement_id)


def world_recipients(world: GatewayWorld):
    from proa.clock import SystemClock
    from proa.gateway.recipients import Recipients
    from proa.storage import Store

    return Recipients(Store.open(str(world.base / "served-state")), SystemClock(), FixedIds())


def until_region(profile: str, region: str) -> None:
    """Ask until a region is served: a change is seen within a second."""
    address = json.loads(Path(profile).read_text())["endpoint"].removesuffix("/delta-sharing/")
    pause = threading.Event()
    for _ in range(200):
        if httpx.get(f"{address}/ready").json().get("region") == region:
            return
        pause.wait(0.05)
    pytest.fail(f"{region} was never served")


def test_tls_by_certificate(tmp_path):
    certificate, key = write_certificate(tmp_path)
    world = new_world(tmp_path, FakeClock())
    world.declare("orders")
    world.write("east", "orders", numbers(1, 3))
    with served_gateway(world, Listen("localhost", 0, certificate, key)) as profile:
        known = json.loads(Path(profile).read_text())
        trusting = ssl.create_default_context(cafile=str(certificate))
        answer = httpx.get(
            f"{known['endpoint']}shares",
            headers={"Authorization": f"Bearer {known['bearerToken']}"},
            verify=trusting,
        )
        assert answer.json()["items"][0]["name"] == "shop"
        assert known["endpoint"].startswith("https://")


@dataclass
class Consumer:
    """Loads a table again and again, with a client that knows nothing of regions."""

    profile: str
    loads: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    """The version before each load, and the ids that it brought."""
    failures: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        table = f"{self.profile}#shop.default.gold"
        while not self.stopping.is_set():
            try:
                version = delta_sharing.get_table_version(table)
                ids = tuple(sorted(delta_sharing.load_as_pandas(table)["id"]))
            except Exception:  # noqa: BLE001 - a region is lost; the next load counts
                self.failures += 1
                continue
            with self.changed:
                self.loads.append((version, ids))
                self.changed.notify_all()

    def wait_for(self, ids: tuple[str, ...]) -> None:
        """Wait until the newest load brought these ids."""
        with self.changed:
            seen = self.changed.wait_for(
                lambda: bool(self.loads) and self.loads[-1][1] == ids, timeout=90
            )
        assert seen, self.loads[-3:]


def test_a_consumer_reads_through_failover_and_failback_and_sees_no_wrong_answer(tmp_path, clock):
    (tmp_path / "source").mkdir()
    (tmp_path / "proa.yml").write_text(SETTINGS)
    project = new_project(str(tmp_path), {}, clock)
    settings = load(tmp_path / "proa.yml")
    project.arrive(1, 2)
    project.ship()
    for region in ("east", "west"):
        project.process(region, 1, 2)
        tables = project.region(region).lineage.declared_pipeline().tables
        declared = DeclaredPipeline(tables, ("shop", None, None))
        write_declared(settings.region(region).storage, {}, declared)
    world = GatewayWorld(tmp_path, clock, settings, FixedIds())
    with served_gateway(world) as profile:
        consumer = Consumer(profile)
        thread = threading.Thread(target=consumer.run, daemon=True)
        thread.start()
        try:
            consumer.wait_for(("1", "2"))
            (tmp_path / "east").rename(tmp_path / "lost")
            (tmp_path / "east").touch()
            project.arrive(3)
            project.ship()
            project.process("west", 3)
            proa(tmp_path, "failover", "--to", "west", "--force")
            consumer.wait_for(("1", "2", "3"))
            (tmp_path / "east").unlink()
            (tmp_path / "lost").rename(tmp_path / "east")
            project.ship()
            project.process("east", 3)
            proa(tmp_path, "failback")
            until_region(profile, "east")
            project.arrive(4)
            project.ship()
            for region in ("west", "east"):
                project.process(region, 4)
            consumer.wait_for(("1", "2", "3", "4"))
        finally:
            consumer.stopping.set()
            thread.join(120)
    versions = [version for version, _ in consumer.loads]
    rows = [ids for _, ids in consumer.loads]
    assert versions == sorted(versions)
    assert rows == sorted(rows, key=len)
    assert set(rows) <= {("1", "2"), ("1", "2", "3"), ("1", "2", "3", "4")}


def proa(folder: Path, *arguments: str) -> None:
    done = CliRunner().invoke(app, [*arguments, "--yes", "--project", str(folder)])
    assert done.exit_code == 0, done.output
