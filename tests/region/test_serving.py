"""How a server answers: by TLS, to many at once, and never with yesterday's answer."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request

import pytest

from proa.errors import SettingsError, UnavailableError
from proa.http.serving import Listen
from proa.region.server import Server
from tls_certificate import write_certificate


def ask(server, path, context=None, address=None):
    request = urllib.request.Request(
        (address or server.address) + path, headers={"Authorization": f"Bearer {server.token}"}
    )
    with urllib.request.urlopen(request, timeout=20, context=context) as answer:
        return answer.read()


def test_tls_by_certificate(serve, fake_workers, tmp_path):
    cert, key = write_certificate(tmp_path)
    with serve(tmp_path, fake_workers, listen=Listen("localhost", 0, cert, key)) as server:
        assert server.address.startswith("https://")
        trusting = ssl.create_default_context(cafile=cert)
        found = json.loads(ask(server, "/.well-known/databricks-config", trusting))
        assert found["oidc_endpoint"].startswith("https://")


def test_a_port_that_is_taken_is_named_before_anything_begins(settings_of, fake_workers, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = Listen("127.0.0.1", taken.getsockname()[1])
        state = f"sqlite:///{tmp_path / 'state.db'}"
        server = Server("us-east", settings_of(tmp_path), state, listen, workers=fake_workers)
        server.region.pipelines.create({"name": "p", "continuous": True}, "me")
        with pytest.raises(UnavailableError, match=f"{listen.port}: Address already in use"):
            server.run(pytest.fail)
    assert fake_workers.begun == []


def test_a_certificate_without_its_key_is_refused(settings_of, tmp_path):
    with pytest.raises(SettingsError, match="key"):
        Server("us-east", settings_of(tmp_path), "sqlite:///x", Listen("localhost", 0, tmp_path))


def test_every_answer_is_of_the_last_write(server, w):
    made = w.pipelines.create(name="cached").pipeline_id
    for number in range(5):
        w.pipelines.update(made, name=f"cached-{number}")
        for _ in range(3):
            assert w.pipelines.get(made).name == f"cached-{number}"
    job = w.jobs.create(name="j", tasks=[]).job_id
    w.jobs.update(job, fields_to_remove=["name"])
    assert w.jobs.get(job).settings.name == "Untitled"


@pytest.mark.slow
def test_many_clients_at_once_are_all_answered(server, w):
    made = w.pipelines.create(name="watched").pipeline_id
    answers = []

    def poll():
        paths = (f"/api/2.0/pipelines/{made}", f"/api/2.0/pipelines/{made}/events")
        answers.extend(ask(server, path) for path in paths)

    threads = [threading.Thread(target=poll) for _ in range(40)]
    for thread in threads:
        thread.start()
    w.pipelines.update(made, name="watched, changed")
    for thread in threads:
        thread.join()
    assert len(answers) == 80


def test_metrics_count_by_route_and_state(server, w):
    made = w.pipelines.create(name="counted").pipeline_id
    w.pipelines.get(made)
    text = ask(server, "/metrics").decode()
    assert 'route="/api/2.0/pipelines/{pipeline_id}"' in text
    assert made not in text
    assert "proa_request_seconds_bucket" in text
    job = w.jobs.create(name="never run", tasks=[]).job_id
    w.jobs.run_now(job)
    assert 'proa_runs{region="us-east"' in ask(server, "/metrics").decode()


def test_health_and_readiness_need_no_token(server):
    for path, status in (("/health", "ok"), ("/ready", "ready")):
        with urllib.request.urlopen(server.address + path, timeout=10) as answer:
            assert json.load(answer)["status"] == status


def test_a_server_loads_no_engine():
    """Engines are for workers: a region that waits costs little memory."""
    code = (
        "import sys, proa.region.server;"
        "print(*{'pyspark', 'pandas', 'numpy', 'pyarrow', 'pysail'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
