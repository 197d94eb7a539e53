"""The manifest tells the span of events where it is certain, and nothing otherwise."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proa.landing.event_span import event_span

FIRST, LAST = datetime(2023, 2, 28, 13, tzinfo=UTC), datetime(2023, 3, 1, 0, 0, 0, 500_000, UTC)


def parquet(kind: pa.DataType) -> bytes:
    sink = io.BytesIO()
    moments = [moment.replace(tzinfo=kind.tz and UTC) for moment in (LAST, FIRST)]
    pq.write_table(pa.table({"at": pa.array([*moments, None], kind)}), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        (
            "a.json",
            b'{"at": "2023-02-28T13:00:00Z", "n": {}}\n{"at": "2023-03-01T00:00:00.5Z"}\n{}',
            "at",
        ),
        ("a.JSONL", b'{"at": "2023-03-01 00:00:00.5"}\n{"at": "2023-02-28 13:00:00"}', "at"),
        (
            "a.json",
            b'{"m": {"at": "2023-03-01T01:00:00.5+01:00"}}\n{"m": {"at": "2023-02-28T13:00:00Z"}}',
            "m.at",
        ),
        ("a.csv", b"n,at\n1,2023-02-28 13:00:00\n2,2023-03-01 00:00:00.5\n", "at"),
        ("a.parquet", parquet(pa.timestamp("us", "UTC")), "at"),
        ("a.parquet", parquet(pa.timestamp("us")), "at"),
    ],
)
def test_the_earliest_and_latest_event_are_found(name: str, content: bytes, field: str):
    assert event_span(name, content, field) == (FIRST, LAST)


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        ("a.json", b'{"at": "2023-02-28T13:00:00Z"}', None),
        ("a.json", b'{"at": "yesterday"}', "at"),
        ("a.json", b'{"at": null}', "at"),
        ("a.json", b'{"at": {"x": 1}}', "at"),
        ("a.json", b'{"other": 1}', "at"),
        ("a.json", b"{broken", "at"),
        ("a.json", b"", "at"),
        ("a.csv", b"n\n1\n", "at"),
        ("a.parquet", b"PAR1", "at"),
        ("a.bin", b"123", "at"),
    ],
)
def test_what_is_not_certain_is_not_told(name: str, content: bytes, field: str | None):
    assert event_span(name, content, field) is None


@pytest.mark.parametrize("first", [b"null", b"null\r", b"[]", b"1", b'{"at":' + b"[" * 300_000])
def test_a_line_that_is_no_object_leaves_the_file_without_a_span(first: bytes):
    rest = b'\n{"at": "2026-01-01T00:00:00"}\n'
    assert event_span("x.json", first + rest, "at") is None
