"""How far a capture is can be told from the source alone, and by Prometheus."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proa.capture.heartbeat import HEARTBEAT_FACTS, Heartbeat, read_heartbeat, write_heartbeat
from proa.capture.postgres import SlotStatus
from proa.cli.main import run
from proa.errors import DataError
from proa.storage import Store

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
FILE = "_proa_capture/one.heartbeat.json"


@pytest.fixture
def project(tmp_path, database) -> str:
    """A project with a source that captures a table of one row."""
    database.execute("CREATE TABLE customer (id int PRIMARY KEY)")
    database.execute("INSERT INTO customer VALUES (1)")
    for folder in ("source", "store", "zone"):
        (tmp_path / folder).mkdir()
    url = f"postgresql://proa@127.0.0.1:{database.info.port}/{database.info.dbname}"
    slot = f"slot_{database.info.dbname}"
    (tmp_path / "proa.yml").write_text(
        "regions: {east: {landing_zone: zone, storage: store}}\n"
        "sources:\n"
        "  bare: {path: source}\n"
        f"  shop: {{path: source, capture: {{connection: '{url}', slot: {slot}, tables: [customer]}}}}\n"
    )
    return str(tmp_path)


@pytest.mark.parametrize("slot", [None, SlotStatus(99, 5, 7, "reserved", None)])
def test_a_heartbeat_is_read_as_it_was_written(tmp_path, slot) -> None:
    store = Store.open(str(tmp_path))
    assert read_heartbeat(store, "one") is None
    write_heartbeat(store, "one", Heartbeat(AT, slot))
    assert read_heartbeat(store, "one") == Heartbeat(AT, slot)


def test_a_heartbeat_of_an_older_version_knows_no_slot_and_that_of_a_later_one_is_refused(
    tmp_path,
) -> None:
    store = Store.open(str(tmp_path))
    store.put(FILE, b'{"format": 1, "at": "2026-03-01T12:00:00+00:00"}')
    found = read_heartbeat(store, "one")
    assert found == Heartbeat(AT, None)
    facts = found.facts(AT + timedelta(seconds=3))
    assert [*facts] == [*HEARTBEAT_FACTS]
    assert (facts["age_s"], facts["kept_bytes"]) == (3.0, None)
    store.put(FILE, b'{"format": 9, "at": "soon"}')
    with pytest.raises(DataError, match="heartbeat"):
        read_heartbeat(store, "one")


def test_a_status_tells_of_captures_when_the_database_is_not_asked(project, capsys) -> None:
    def captures() -> dict:
        capsys.readouterr()
        assert run(["status", "--json", "--project", project]) == 0
        (told,) = json.loads(capsys.readouterr().out)["captures"]
        return told

    told = captures()
    assert (told["source"], told["last_look"], told["error"]) == ("shop", None, None)
    keys = [*told]
    assert run(["capture", "--once", "--project", project]) == 0
    settings = Path(project) / "proa.yml"
    settings.write_text(settings.read_text().replace("127.0.0.1", "192.0.2.1"))
    told = captures()
    assert (told["source"], told["error"], [*told]) == ("shop", None, keys)
    assert told["kept_bytes"] >= told["lag_bytes"] >= 0
    assert told["age_s"] >= 0
    assert run(["status", "--project", project]) == 0
    assert "capture of shop: all that had happened" in capsys.readouterr().out


def test_a_capture_that_ends_at_once_answers_no_prometheus(project, capsys) -> None:
    assert run(["capture", "--once", "--metrics-port", "9187", "--project", project]) == 2
    assert "leave it out" in capsys.readouterr().err


@pytest.mark.slow
def test_a_capture_that_goes_on_answers_prometheus(project) -> None:
    command = [sys.executable, "-m", "proa", "capture", "--interval", "0.1", "--project", project]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command += ["--metrics-port", str(port)]
        taken = subprocess.run(command, capture_output=True, text=True, check=False)
    assert taken.returncode == 2
    assert "choose another one" in taken.stderr
    with subprocess.Popen(command) as capture:
        try:
            numbers = _scraped(port, until='proa_capture_files_total{source="shop"}')
        finally:
            capture.terminate()
    assert capture.returncode == 0
    assert numbers['proa_capture_files_total{source="shop"}'] == 1
    assert numbers['proa_capture_last_look_timestamp_seconds{source="shop"}'] > 1.7e9
    kept = numbers['proa_capture_slot_kept_bytes{source="shop"}']
    assert kept >= numbers['proa_capture_slot_lag_bytes{source="shop"}'] >= 0


def _scraped(port: int, until: str) -> dict[str, float]:
    """The metrics of a process that is starting, once one of them is not 0."""
    deadline, numbers = time.monotonic() + 60, {}
    while not numbers.get(until):
        assert time.monotonic() < deadline
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer,
        ):
            lines = answer.read().decode().splitlines()
            found = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
            numbers = {key: float(value) for key, value in found}
    return numbers
