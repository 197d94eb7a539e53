"""What a region's API answers, and does not, in Proa's kinds of errors."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from proa.errors import SettingsError, UnavailableError, UserError
from proa.recovery.driver_api import ApiDriver
from proa.recovery.region_api import RegionApi, open_api
from proa.settings import ApiSettings, ProjectSettings, RegionSettings
from proa.testing import FakeClock


class Api(BaseHTTPRequestHandler):
    """Answers one prepared answer after the other, the last one for ever."""

    protocol_version = "HTTP/1.1"
    answers: ClassVar[list[tuple[int, bytes]]] = []
    asked: ClassVar[list[tuple[str, str, str | None, Any]]] = []

    def answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        type(self).asked.append((self.command, self.path, self.headers["authorization"], body))
        status, data = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status == 0:  # the connection ends without a word
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = answer  # noqa: N815

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[type[Api]]:
    kind = type("OneApi", (Api,), {"answers": [], "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    kind.address = f"http://127.0.0.1:{server.server_port}"
    yield kind
    server.shutdown()
    thread.join()
    server.server_close()


def client(api: type[Api]) -> RegionApi:
    return RegionApi("west", ApiSettings(host=api.address + "/", token="t"), FakeClock())


def test_an_answer_is_an_object_and_the_token_is_sent(api):
    api.answers = [(200, b'{"a": 1}'), (200, b"{}")]
    asked = client(api)
    assert asked.ask("POST", "/x", query={"q": "1"}, body={"b": 2}) == {"a": 1}
    assert asked.ask("GET", "/y") == {}
    assert api.asked == [("POST", "/x?q=1", "Bearer t", {"b": 2}), ("GET", "/y", "Bearer t", None)]


def test_a_list_is_read_page_after_page(api):
    api.answers = [
        (200, b'{"jobs": [1], "next_page_token": "two"}'),
        (200, b'{"jobs": [2]}'),
    ]
    assert [page["jobs"] for page in client(api).pages("/x", {"all": "true"})] == [[1], [2]]
    assert [path for _, path, _, _ in api.asked] == ["/x?all=true", "/x?all=true&page_token=two"]


@pytest.mark.parametrize("trouble", [(429, b"{}"), (503, b"{}"), (0, b"")])
def test_a_busy_server_and_a_lost_connection_are_asked_again(api, trouble):
    api.answers = [trouble, trouble, (200, b'{"a": 1}')]
    assert client(api).ask("GET", "/x") == {"a": 1}
    assert len(api.asked) == 3


def test_a_server_that_stays_busy_is_unavailable_in_its_own_words(api):
    api.answers = [(503, b'{"error_code": "X", "message": "come back later"}')]
    with pytest.raises(UnavailableError, match="west does not answer as it should: come back"):
        client(api).ask("GET", "/x")
    assert len(api.asked) > 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_a_mistake_in_the_settings(api, status):
    api.answers = [(status, b'{"error_code": "X", "message": "the token has expired"}')]
    with pytest.raises(
        UserError, match=r"west refuses the token of regions\.west\.api: the token has expired"
    ) as found:
        client(api).ask("GET", "/x")
    assert (found.value.condition, len(api.asked)) == ("PERMISSION_DENIED", 1)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((404, b'{"error_code": "NOT_THERE", "message": "no such thing"}'), "no such thing"),
        ((500, b'{"error_code": "BROKEN"}'), "BROKEN"),
        ((200, b"<html>log in</html>"), r"an answer that is not JSON \(HTTP status 200\)"),
        ((302, b""), r"an answer that is not JSON \(HTTP status 302\)"),
        ((502, b"[1]"), r"an answer that is not JSON \(HTTP status 502\)"),
    ],
)
def test_any_other_answer_is_unavailable_and_is_not_asked_for_again(api, answer, says):
    api.answers = [answer]
    with pytest.raises(UnavailableError, match=says):
        client(api).ask("GET", "/x")
    assert len(api.asked) == 1


def test_a_silent_server_is_told_by_its_address_and_one_cause():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        host = f"http://127.0.0.1:{taken.getsockname()[1]}"
        asked = RegionApi("west", ApiSettings(host=host, token="t"), FakeClock())
        with pytest.raises(UnavailableError) as found:
            asked.ask("GET", "/x")
    assert str(found.value) == f"west does not answer at {host}: Connection refused"


def test_a_host_without_a_scheme_is_asked_by_https():
    asked = RegionApi("west", ApiSettings(host="west.invalid", token="t"), FakeClock())
    with pytest.raises(UnavailableError, match=r"^west does not answer at https://west\.invalid: "):
        asked.ask("GET", "/x")


def test_a_region_without_an_address_is_a_mistake_in_the_settings():
    region = RegionSettings(landing_zone="zone", storage="storage")
    with pytest.raises(SettingsError, match=r"regions\.west\.api is missing"):
        open_api(ProjectSettings(regions={"west": region}), "west", FakeClock())


def test_a_region_without_a_token_is_asked_with_the_login_that_the_sdk_finds(api, monkeypatch):
    monkeypatch.setenv("DATABRICKS_TOKEN", "of the environment")
    api.answers = [(200, b"{}")]
    RegionApi("west", ApiSettings(host=api.address), FakeClock()).ask("GET", "/x")
    assert api.asked[-1][2] == "Bearer of the environment"


def test_a_job_whose_list_is_cut_is_read_to_its_end(api):
    settings = {"tasks": [{"task_key": "first"}], "schedule": {"pause_status": "PAUSED"}}
    task = {"task_key": "last", "pipeline_task": {"pipeline_id": "p"}}
    pages = [
        {"statuses": [{"name": "shop", "pipeline_id": "p"}]},
        {"pipeline_id": "p", "name": "shop", "spec": {}},
        {"jobs": [{"job_id": 1, "settings": settings, "has_more": True}]},
        {"settings": settings, "next_page_token": "two"},
        {"settings": {"tasks": [task]}},
    ]
    api.answers = [(200, json.dumps(page).encode()) for page in pages]
    region = RegionSettings(
        landing_zone="zone", storage="storage", api=ApiSettings(host=api.address, token="t")
    )
    driver = ApiDriver(ProjectSettings(regions={"west": region}), FakeClock())
    assert driver.role("west") == "fenced"
    assert api.asked[-1][1] == "/api/2.2/jobs/get?job_id=1&page_token=two"
