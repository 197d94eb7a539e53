"""What `proa query` prints of any value."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from proa.cli.query import print_objects, print_rows

FAR = pa.array([2**63 - 1, 0, None], pa.timestamp("us", "UTC"))
DAYS = pa.array([2**31 - 1, 0, None], pa.date32())


@pytest.mark.parametrize(
    ("column", "text"),
    [(FAR, "+294247-01-10T04:00:54.775807Z"), (DAYS, "+5881580-07-11")],
    ids=["timestamp", "date"],
)
def test_times_beyond_pythons_years_are_written_as_java_writes_them(capsys, column, text):
    batch = pa.RecordBatch.from_arrays([column, pa.array([1, 2, 3])], ["t", "n"])
    print_objects(batch.schema.names, [batch])
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["t"] == text
    assert rows[1]["t"].startswith("1970-01-01")
    assert rows[2] == {"t": None, "n": 3}


def test_many_rows_are_printed_as_they_come(capsys):
    batch = pa.RecordBatch.from_pydict({"name": ["x" * (n % 7) for n in range(2500)]})
    print_rows(["name"], [batch, batch])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 5000 + 1
    assert lines[-1] == "5,000 rows"


def test_no_rows_are_an_empty_array(capsys):
    print_objects(["a"], [])
    assert capsys.readouterr().out == "[]\n"
