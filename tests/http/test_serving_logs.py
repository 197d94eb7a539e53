"""Logs are for people; that nobody can read them any more stops no server."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import structlog

from proa.http.serving import log_to


class FullDisk(io.StringIO):
    """A stream that cannot be written to."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device", text[:1])

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


def test_what_is_logged_is_written() -> None:
    stream = io.StringIO()
    log_to(stream, json=True)
    structlog.get_logger().info("the region answers", region="east")
    assert '"region": "east"' in stream.getvalue()


@pytest.mark.parametrize("stream", [FullDisk(), closed()], ids=["full disk", "closed"])
def test_a_stream_that_cannot_be_written_to_is_no_matter(stream: io.StringIO) -> None:
    log_to(stream, json=True)
    structlog.get_logger().info("the region answers")
