"""What people see while an update runs."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from proa.cli.live_view import LiveView, print_event
from proa.runtime.event import Event, Origin

ORIGIN = Origin(
    "id", "shop", flow_name="a_flow_with_a_long_name_that_nobody_may_cut", dataset_name="t"
)


def flow_event(status: str, rows: int, read: int, left: int, level: str = "METRICS") -> Event:
    metrics = {"num_output_rows": rows, "num_input_files": read, "backlog_files": left}
    return Event(
        id="1",
        sequence=1,
        origin=ORIGIN,
        timestamp=datetime(2026, 1, 5, tzinfo=UTC),
        level=level,
        event_type="flow_progress",
        message="Flow is running.",
        details={"flow_progress": {"status": status, "metrics": metrics}},
    )


def shown(view: LiveView, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, emoji=False)
    console.print(view)
    return console.file.getvalue()


def test_rows_and_files_are_shown_with_totals_while_they_are_known():
    view = LiveView()
    view.hear(flow_event("RUNNING", 1200, 3, 37))
    assert "1,200" in shown(view)
    assert "3 of 40" in shown(view)
    view.hear(flow_event("COMPLETED", 9000, 40, 0))
    view.end()
    last = shown(view)
    assert "COMPLETED" in last
    assert last.split()[-1] == "40"
    assert "starting" not in last


def test_a_narrow_terminal_folds_names_and_cuts_nothing():
    view = LiveView()
    view.hear(flow_event("RUNNING", 5, 1, 0))
    view.end()
    text = "".join(line[:60].split("  ")[0].strip() for line in shown(view, 60).splitlines()[1:])
    assert text == ORIGIN.flow_name


@pytest.mark.parametrize(("level", "lines"), [("METRICS", 0), ("INFO", 1)])
def test_without_a_terminal_measurements_are_no_lines(capsys, level, lines):
    print_event(flow_event("RUNNING", 5, 1, 0, level))
    assert len(capsys.readouterr().err.splitlines()) == lines
