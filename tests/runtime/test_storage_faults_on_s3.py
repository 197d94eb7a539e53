"""Requests to a bucket that fail, delta-rs's included: COMPLETED means that everything was read."""

from __future__ import annotations

import contextlib
import http.client
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from small_projects import ok

from proa.errors import UnavailableError
from proa.runtime import UpdateRequest, UpdateState

PIPELINE = """
@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id long").load(spark.conf.get("landing_zone"))
    )

@dp.materialized_view
def gold():
    return spark.read.table("bronze").agg(F.count("*").alias("n"))
"""
pytestmark = pytest.mark.slow
STRUCK = (1, 7, 19, 33, 47, 61)
"""Which request fails, one per update: a smoke test. On disk each call is struck, by its step."""


class Middle:
    """Stands between the product and an S3 endpoint, and fails requests by their number."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = urllib.parse.urlsplit(endpoint).netloc
        self._lock = threading.Lock()
        self.count = 0
        self.fail_at: range = range(0)
        self.forward_first = False
        """The request has its effect, and its answer is lost."""

    def strikes(self) -> bool:
        with self._lock:
            self.count += 1
            return self.count in self.fail_at

    def expect(self, fail_at: range, *, forward_first: bool) -> None:
        with self._lock:
            self.count, self.fail_at, self.forward_first = 0, fail_at, forward_first


@pytest.fixture
def middle(s3_server: str) -> Iterator[tuple[Middle, str]]:
    middle = Middle(s3_server)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            struck = middle.strikes()
            if struck and not middle.forward_first:
                self.answer(403, b"refused on purpose", {})
                return
            connection = http.client.HTTPConnection(middle.endpoint, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            content = response.read()
            headers = dict(response.getheaders())
            connection.close()
            if struck:
                self.answer(403, b"lost on purpose", {})
            else:
                self.answer(response.status, content, headers)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on  # noqa: N815 - the library's names

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else len(body)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield middle, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("forward_first", [False, True], ids=["refused", "answer lost"])
def test_completed_has_read_everything_whatever_request_fails(
    make, s3_location, middle, *, forward_first: bool
) -> None:
    url, options = s3_location
    between, endpoint = middle
    project = make((url, {**options, "aws_endpoint_url": endpoint}))
    project.write(PIPELINE)
    project.land("0.json", [{"id": 0}])
    ok(project.run())
    for number, at in enumerate(STRUCK, 1):
        project.land(f"{number}.json", [{"id": number}])
        between.expect(range(at, at + 1), forward_first=forward_first)
        state = None
        with contextlib.suppress(UnavailableError), project.runner() as runner:
            state = runner.update(UpdateRequest()).state
        assert between.count >= at
        between.expect(range(0), forward_first=False)
        if state is not UpdateState.COMPLETED:
            ok(project.run())
        assert project.rows("bronze", "id") == sorted(range(number + 1), key=str)
        assert project.rows("gold", "n") == [number + 1]
