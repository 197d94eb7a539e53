import pytest

from proa.errors import UnavailableError
from proa.lake import Table
from proa.runtime.event import Origin
from proa.runtime.event_log import EventLog
from proa.runtime.event_rows import EventFilter, read_events
from proa.steps import Step, probing
from proa.testing import Fail, FaultProbe, FixedIds, LoseAnswer


def log(location, clock) -> EventLog:
    url, storage = location
    origin = Origin("id", "name")
    return EventLog(f"{url}/events", storage, origin=origin, clock=clock, ids=FixedIds())


def messages(location) -> list[str]:
    url, options = location
    return [event["message"] for event in read_events(f"{url}/events", options)]


@pytest.mark.slow
def test_events_come_back_in_order_with_all_they_said(location, clock) -> None:
    events = log(location, clock)
    events.begin("u")
    error = UnavailableError("away")
    error.__cause__ = OSError("cable")
    events.add("flow_progress", "one", level="WARN", details={"status": "FAILED"}, error=error)
    events.add("flow_progress", "two", origin=events.origin_of("f", "d"))
    events.flush()
    url, options = location
    first, second = read_events(f"{url}/events", options)
    assert first["details"] == {"flow_progress": {"status": "FAILED"}}
    assert [e["class_name"] for e in first["error"]["exceptions"]] == [
        "UnavailableError",
        "OSError",
    ]
    assert (first["level"], first["maturity_level"], first["timestamp"]) == (
        "WARN",
        "STABLE",
        "2026-01-01T00:00:00.000Z",
    )
    assert second["origin"] == {
        "pipeline_id": "id",
        "pipeline_name": "name",
        "update_id": "u",
        "flow_name": "f",
        "dataset_name": "d",
    }


@pytest.mark.parametrize("text", ["", "a\nb\r\n", "\x00\x1f", '"\\', "\u2028 é 𝄞", "x" * 3_000_000])
def test_messages_of_any_characters_come_back(tmp_path, clock, text) -> None:
    location = str(tmp_path), {}
    events = log(location, clock)
    events.add("flow_progress", text, details={text: [text]})
    events.add("flow_progress", "last")
    events.flush()
    assert messages(location) == [text, "last"]


def test_half_a_character_of_a_files_name_stops_no_log(tmp_path, clock) -> None:
    location = str(tmp_path), {}
    events = log(location, clock)
    events.add("flow_progress", "a\udce9.json")
    events.flush()
    assert messages(location) == ["a?.json"]


def test_no_log_is_no_events(location) -> None:
    assert messages(location) == []


def test_a_flush_that_failed_goes_with_the_next(location, clock) -> None:
    events = log(location, clock)
    events.add("x", "one")
    with probing(FaultProbe(Fail(Step.EVENTS_FLUSH))), pytest.raises(UnavailableError):
        events.flush()
    assert events.pending == 1
    events.add("x", "two")
    events.flush()
    assert (messages(location), events.pending) == (["one", "two"], 0)


@pytest.mark.parametrize("step", [Step.EVENTS_FLUSH, Step.COMMIT])
def test_a_flush_whose_answer_was_lost_doubles_nothing(location, clock, step: Step) -> None:
    events = log(location, clock)
    events.add("x", "one")
    with probing(FaultProbe(LoseAnswer(step))):
        try:
            events.flush()
        except UnavailableError:
            events.add("x", "two")
    events.add("x", "three")
    events.flush()
    found = messages(location)
    assert found in (["one", "two", "three"], ["one", "three"])


@pytest.mark.slow
def test_many_small_files_become_one_and_no_event_is_lost(tmp_path, clock) -> None:
    location = (str(tmp_path), {})
    events = log(location, clock)
    for number in range(66):
        clock.advance(1)
        events.add("x", str(number))
        events.flush()
    table = Table.at(f"{tmp_path}/events")
    table.refresh()
    assert table.size()[0] < 10
    assert messages(location) == [str(number) for number in range(66)]


def test_some_of_the_events_can_be_asked_for(location, clock) -> None:
    events = log(location, clock)
    for update in ("a1", "a2", "b1"):
        events.begin(update)
        for number in range(3):
            clock.advance(number % 2)
            events.add("x" if number else "y", f"{update}.{number}")
        events.flush()
    url, options = location

    def asked(*, last: int | None = None, **some) -> list[str]:
        found = read_events(f"{url}/events", options, chosen=EventFilter(**some), last=last)
        return [event["message"] for event in found]

    assert asked(update="a") == ["a1.0", "a1.1", "a1.2", "a2.0", "a2.1", "a2.2"]
    assert asked(event_type="y") == ["a1.0", "a2.0", "b1.0"]
    assert asked(last=2) == ["b1.1", "b1.2"]
    assert asked(update="a", event_type="x", last=3) == ["a1.2", "a2.1", "a2.2"]
    assert asked(last=100) == messages(location)
