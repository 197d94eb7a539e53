"""Large files: in parts or in one piece, never held whole; gone or there, never half."""

from __future__ import annotations

import hashlib
import http.client
import io
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import AlreadyExists, NotFound

from proa.http.api_errors import InvalidParameterError, MissingError
from proa.http.gate import MAX_BYTES

MIB = 1024 * 1024
PATH = "/Volumes/main/shop/files"


@pytest.fixture
def w(server):
    """A client that sends in parts from 1 MiB on, and reads in parallel."""
    config = Config(
        host=server.address, token=server.token, auth_type="pat", retry_timeout_seconds=5
    )
    config.files_ext_multipart_upload_min_stream_size = MIB
    config.files_ext_multipart_upload_part_size_options = [MIB]
    config.files_ext_parallel_download_min_file_size = MIB
    config.files_ext_parallel_download_default_part_size = MIB
    return WorkspaceClient(config=config)


@pytest.fixture(scope="module")
def content() -> bytes:
    return hashlib.shake_128(b"any bytes").digest(5 * MIB + 17)


@contextmanager
def connected(server) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection(server.address.removeprefix("http://"))) as connection:
        yield connection


def got(server, path: str, **headers: str) -> tuple[int, bytes, str | None]:
    """(status, body, content-range) of a file that is asked for."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with connected(server) as connection:
        connection.request(
            "GET",
            f"/api/2.0/fs/files{path}",
            headers={"authorization": f"Bearer {server.token}", **named},
        )
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers["content-range"]


def leftovers(server) -> list[str]:
    return [info.path for info in server.region.uploads._store.walk()]


@pytest.mark.parametrize("parallel", [True, False])
def test_a_file_comes_in_parts_and_goes_in_ranges(server, w, content, tmp_path, parallel):
    path = f"{PATH}/parts-{parallel}"
    w.files.upload(path, io.BytesIO(content), use_parallel=parallel)
    assert w.files.get_metadata(path).content_length == len(content)
    w.files.download_to(path, str(tmp_path / "back"), use_parallel=parallel)
    assert (tmp_path / "back").read_bytes() == content
    assert w.files.download(path).contents.read() == content
    assert leftovers(server) == []


@pytest.mark.slow
def test_an_upload_in_parts_overwrites_only_when_asked(w, content):
    w.files.upload(f"{PATH}/once", io.BytesIO(content))
    with pytest.raises(AlreadyExists):
        w.files.upload(f"{PATH}/once", io.BytesIO(b"x" * 2 * MIB), overwrite=False)
    assert w.files.download(f"{PATH}/once").contents.read() == content
    w.files.upload(f"{PATH}/once", io.BytesIO(b"x" * 2 * MIB), overwrite=True)
    assert w.files.get_metadata(f"{PATH}/once").content_length == 2 * MIB


@pytest.mark.slow
def test_one_request_may_carry_more_than_other_bodies(server):
    size = MAX_BYTES + 1
    headers = {"authorization": f"Bearer {server.token}", "content-length": str(size)}
    body = (b"x" * min(MIB, size - at) for at in range(0, size, MIB))
    with connected(server) as connection:
        connection.request("PUT", f"/api/2.0/fs/files{PATH}/big", body, headers)
        assert connection.getresponse().status == 204
    assert server.region.files.stat(f"{PATH}/big").size == size
    server.region.files.delete_file(f"{PATH}/big")


def test_a_body_that_ends_early_leaves_nothing(server, w, until):
    with connected(server) as connection:
        connection.putrequest("PUT", f"/api/2.0/fs/files{PATH}/cut/short")
        connection.putheader("authorization", f"Bearer {server.token}")
        connection.putheader("content-length", str(9 * MIB))
        connection.endheaders(b"x" * 5 * MIB)

    def answered() -> bool:
        text = w.api_client.do("GET", "/metrics", raw=True)["contents"].read()
        return b'status="499"' in text

    until(answered)
    with pytest.raises(MissingError):
        server.region.files.stat(f"{PATH}/cut/short")


@pytest.mark.parametrize(
    ("asked", "status", "found"),
    [
        ("bytes=0-2", 206, b"012"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-100", 206, b"89"),
        ("lines=1-2", 200, b"0123456789"),
        ("bytes=10-", 416, None),
    ],
)
def test_a_range_of_a_file(server, w, asked, status, found):
    w.files.upload(f"{PATH}/digits", io.BytesIO(b"0123456789"), overwrite=True)
    got_status, body, content_range = got(server, f"{PATH}/digits", range=asked)
    assert got_status == status
    if found is not None:
        assert body == found
    assert (content_range or "").endswith("/10") == (status == 206)


def test_a_file_that_changed_is_not_pieced_together(server, w):
    w.files.upload(f"{PATH}/digits", io.BytesIO(b"0123456789"), overwrite=True)
    before = "Wed, 01 Jan 2020 00:00:00 GMT"
    assert got(server, f"{PATH}/digits", if_unmodified_since=before)[0] == 412


@pytest.mark.slow
def test_blocks_over_dbfs_are_joined_in_order(server, w):
    blocks = [bytes([n]) * MIB for n in range(20)]
    with w.dbfs.open("/blocks", write=True, overwrite=True) as file:
        for block in blocks:
            file.write(block)
    assert w.dbfs.download("/blocks").read() == b"".join(blocks)
    assert leftovers(server) == []


class TestOneUpload:
    def test_parts_come_in_any_order_and_again(self, still):
        uploads = still.region.uploads
        made = uploads.begin("/f", overwrite=False)
        for number, data in ((2, b"two"), (1, b"first try"), (1, b"one")):
            uploads.put(made, "/f", number, [data])
        uploads.complete(made, "/f", [1, 2])
        assert b"".join(still.region.files.read("/f")) == b"onetwo"

    def test_it_outlives_the_server(self, still):
        made = still.region.uploads.begin("/f", overwrite=False)
        still.region.uploads.put(made, "/f", 1, [b"one"])
        after = still.restarted().region
        after.uploads.put(made, "/f", 2, [b"two"])
        after.uploads.complete(made, "/f", [1, 2])
        assert b"".join(after.files.read("/f")) == b"onetwo"

    def test_a_part_that_never_came_is_named(self, still):
        uploads = still.region.uploads
        made = uploads.begin("/f", overwrite=False)
        uploads.put(made, "/f", 1, [b"one"])
        with pytest.raises(InvalidParameterError, match="part 2"):
            uploads.complete(made, "/f", [1, 2])

    def test_nobody_elses_token_will_do(self, still):
        uploads = still.region.uploads
        made = uploads.begin("/f", overwrite=False)
        for token, path in ((made, "/g"), ("../x", "/f"), ("nobody", "/f")):
            with pytest.raises(MissingError):
                uploads.put(token, path, 1, [b""])

    def test_given_up_it_leaves_nothing(self, still):
        uploads = still.region.uploads
        made = uploads.begin("/f", overwrite=False)
        uploads.put(made, "/f", 1, [b"one"])
        uploads.abort(made, "/f")
        assert list(uploads._store.walk()) == []

    def test_forgotten_it_is_swept_away(self, still):
        uploads = still.region.uploads
        made = uploads.begin("/f", overwrite=False)
        uploads.put(made, "/f", 1, [b"one"])
        still.clock.advance(10 * 365 * 86400)
        other = uploads.begin("/g", overwrite=False)
        assert [info.path for info in uploads._store.walk()] == [f"{other}.json"]


def test_an_unknown_upload_is_not_found(w):
    with pytest.raises(NotFound):
        w.api_client.do(
            "POST",
            f"/api/2.0/fs/files{PATH}/x",
            query={"action": "complete-upload", "session_token": "nobody"},
            body={"parts": [{"part_number": 1, "etag": "x"}]},
        )
