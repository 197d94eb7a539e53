"""The witness's pages: every view, signing in, and forms that only its own pages can send."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.control.access import AccessRole
from proa.control.page_parts import lay_out, tag
from proa.control.region_details import DatasetDetails, RegionDetails
from proa.control.witness import RegionLook
from proa.recovery.driver import Role

VIEWS = ["/ui/", "/ui/regions/east", "/ui/history", "/ui/validate"]


class Page(HTMLParser):
    """A page as a reader sees it: its tags balanced, its forms with their fields."""

    VOID = frozenset({"meta", "input", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.forms: list[dict] = []
        self.text = text
        self.feed(text)
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, name, attributes):
        given = dict(attributes)
        if name not in self.VOID:
            self.open.append(name)
        if name == "form":
            self.forms.append({"action": given["action"], "method": given["method"], "fields": {}})
        if name == "input" and self.forms:
            self.forms[-1]["fields"][given["name"]] = given.get("value", "")
        for source in ("src", "href", "action"):
            assert given.get(source, "/").startswith(("/", "#")), "nothing from elsewhere is needed"

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def form(self, action: str) -> dict:
        return next(form for form in self.forms if form["action"] == action)


def sign_in(control, role=AccessRole.OPERATOR):
    _, token = control.access.create("ada", role)
    signed_in = send(control, "/ui/sign-in", token=token)
    assert signed_in.status_code == 303
    return signed_in


def send(control, path, headers=None, **fields):
    """A form as a browser sends it: `multipart/form-data`."""
    files = {name: (None, value) for name, value in fields.items()}
    return control.client.post(path, files=files, headers=headers)


def open_page(control, path) -> Page:
    answer = control.client.get(path)
    assert answer.status_code == 200, answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    return Page(answer.text)


@pytest.mark.parametrize("path", VIEWS)
@pytest.mark.parametrize("role", AccessRole)
def test_every_view_is_a_whole_page_with_a_heading_and_a_language(control, path, role):
    sign_in(control, role)
    page = open_page(control, path)
    assert '<html lang="en">' in page.text
    assert page.text.count("<h1>") == 1
    assert 'name="viewport"' in page.text


@pytest.mark.parametrize("path", VIEWS)
def test_strangers_see_the_form_that_asks_for_a_token(control, path):
    answer = control.client.get(path)
    assert answer.status_code == 401
    assert Page(answer.text).form("/ui/sign-in")["fields"] == {"token": ""}
    assert "east" not in answer.text


def test_the_session_is_kept_from_scripts_and_other_sites_and_ends(control):
    assert send(control, "/ui/sign-in", token="wrong").status_code == 401
    cookie = sign_in(control).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    csrf = open_page(control, "/ui/").form("/ui/sign-out")["fields"]["csrf"]
    assert send(control, "/ui/sign-out", csrf=csrf).status_code == 303
    assert control.client.get("/ui/").status_code == 401


def test_a_revoked_token_ends_its_session(control):
    sign_in(control)
    control.access.revoke(control.access.list()[-1].token_id)
    assert control.client.get("/ui/").status_code == 401


def test_a_silent_region_keeps_no_page_waiting(control):
    sign_in(control)
    world, asked, answers = control.group.world, threading.Event(), threading.Event()
    status = world.status

    def silent(region):
        asked.set()
        assert answers.wait(30)
        return status(region)

    world.status = silent
    looks = []
    control.witness._begin = lambda look: looks.append(threading.Thread(target=look))
    open_page(control, "/ui/validate")
    looks[0].start()
    assert asked.wait(30)
    for path in ("/ui/validate", "/ui/validate?again=true"):
        page = open_page(control, path)
        assert "waiting for region east" in page.text
        assert "is active in epoch" in page.text or "nothing was changed yet" in page.text
        assert 'content="2;url=/ui/validate"' in page.text
    asked_of_api = control.client.get("/api/proa/1/control/validate", headers=control.headers())
    assert (asked_of_api.status_code, asked_of_api.json()["ready"]) == (202, None)
    answers.set()
    looks[0].join()
    assert len(looks) == 1
    page = open_page(control, "/ui/validate")
    assert "A failover would work now" in page.text
    assert "http-equiv" not in page.text
    found = control.client.get("/api/proa/1/control/validate", headers=control.headers())
    assert (found.status_code, found.json()["waits_for"]) == (200, None)


def test_the_answers_are_given_out_again_for_a_while(control):
    sign_in(control)
    world = control.group.world
    for path, seconds, new in (
        ("/ui/validate", 0, True),
        ("/ui/validate", 5, False),
        ("/ui/validate?again=true", 0, True),
        ("/ui/validate", 40, True),
    ):
        control.group.clock.advance(seconds)
        world.calls.clear()
        open_page(control, path)
        assert ("status west" in world.calls) is new


def test_a_failover_by_clicks(control):
    sign_in(control)
    start = open_page(control, "/ui/").form("/ui/change/failover")
    assert start["method"] == "get"
    asked = open_page(control, "/ui/change/failover?to=west&max_loss=5m")
    assert "Nothing is done yet" in asked.text
    assert "west processes what has landed there" in asked.text
    form = asked.form("/ui/change/failover")
    done = send(control, form["action"], **{**form["fields"], "reason": "fire"})
    assert (done.status_code, done.headers["location"]) == (303, "/ui/")
    assert control.group.world.consumers == "west"
    assert "west is active in epoch 2" in open_page(control, "/ui/").text
    history = open_page(control, "/ui/history")
    assert "fire" in history.text
    report = re.search(r"/ui/reports/\d+", history.text).group()
    assert "west took over without a comparison" in open_page(control, report).text


def test_a_drill_leaves_a_report_that_can_be_read(control):
    sign_in(control)
    form = open_page(control, "/ui/change/drill?to=west").form("/ui/change/drill")
    send(control, form["action"], **form["fields"])
    history = open_page(control, "/ui/history")
    report = re.search(r"/ui/reports/\d+", history.text).group()
    assert "east and west are equal" in open_page(control, report).text
    assert control.client.get("/ui/reports/x").status_code == 404


def test_forms_that_no_page_of_ours_made_do_nothing(control):
    sign_in(control)
    form = open_page(control, "/ui/change/failover?to=west").form("/ui/change/failover")["fields"]
    for fields, headers in (
        ({**form, "csrf": "x"}, None),
        ({key: value for key, value in form.items() if key != "csrf"}, None),
        (form, {"origin": "http://evil.example"}),
    ):
        refused = send(control, "/ui/change/failover", headers, **fields)
        assert refused.status_code == 403
    late = send(control, "/ui/change/failover", **{**form, "confirm": "x"})
    assert late.status_code == 409
    for path in ("/ui/resume", "/ui/cancel", "/ui/sign-out"):
        assert send(control, path).status_code == 403
    assert control.group.controller().record().active == "east"


def test_readers_see_no_buttons_and_cannot_press_them(control):
    sign_in(control, AccessRole.READER)
    page = open_page(control, "/ui/")
    assert [form["action"] for form in page.forms] == ["/ui/sign-out"]
    csrf = page.forms[0]["fields"]["csrf"]
    assert control.client.get("/ui/change/failover?to=west").status_code == 403
    for path in ("/ui/change/failover", "/ui/resume", "/ui/cancel"):
        assert send(control, path, csrf=csrf, to="west", confirm="x").status_code == 403


def test_a_refusal_is_a_page_with_its_sentence(control):
    sign_in(control)
    control.group.world.missing_s = 9000
    form = open_page(control, "/ui/change/failover?to=west").form("/ui/change/failover")
    refused = send(control, form["action"], **form["fields"])
    assert refused.status_code == 409
    assert "that may be lost" in Page(refused.text).text
    assert control.client.get("/ui/regions/nowhere").status_code == 404


def test_what_is_wrong_stands_on_top_and_a_change_that_stopped_can_be_resumed(control):
    sign_in(control)
    control.group.world.waiting_s["west"] = 90
    control.group.world.full.add("west")
    form = open_page(control, "/ui/change/switchover?to=west").form("/ui/change/switchover")
    assert send(control, form["action"], **form["fields"]).status_code == 500
    control.group.world.full.clear()
    control.look()
    page = open_page(control, "/ui/")
    assert "lag:west" in page.text
    assert "is under way" in page.text
    resume = page.form("/ui/resume")
    assert send(control, resume["action"], **resume["fields"]).status_code == 303
    assert control.group.world.consumers == "west"


def test_the_graph_tells_in_words_what_it_draws(control):
    sign_in(control)
    look = control.witness.looks["east"]
    written = (control.group.clock.now() - timedelta(minutes=5)).isoformat()
    datasets = (
        DatasetDetails("gold", "materialized view", ("silver",), None, -1, None, ()),
        DatasetDetails("bronze", "streaming table", (), 1200, 3, written, (), ("orders",)),
        DatasetDetails(
            "silver",
            "streaming table",
            ("bronze",),
            1,
            2,
            written,
            (("paid", 9, 3), ("known", 12, 0)),
        ),
    )
    details = RegionDetails(look.at, datasets)
    control.witness.looks["east"] = RegionLook(look.at, look.status, Role.ACTIVE, details)
    text = open_page(control, "/ui/regions/east").text
    assert re.findall(r"<li>.*?<strong>(\w+)</strong>", text) == ["bronze", "silver", "gold"]
    for sentence in (
        "streaming table; reads the files of orders",
        "1,200 rows in version 3",
        "1 row in version 2",
        "written 5 min ago",
        "paid: 3 of 12 rows failed",
        "known: 0 of 12 rows failed",
        "materialized view; reads silver",
        "not computed yet",
    ):
        assert sentence in text


NAMES = [f"t{number}" for number in range(8)]


@given(st.lists(st.sets(st.sampled_from(NAMES), max_size=4), min_size=1, max_size=8))
def test_every_line_of_the_graph_leads_from_a_dataset_to_one_that_reads_it(upstreams):
    datasets = tuple(
        DatasetDetails(name, "", tuple(sorted(reads)), 0, 0, None, ())
        for name, reads in zip(NAMES, upstreams, strict=False)
    )
    order = [one.name for one in RegionDetails(None, datasets).ordered]
    assert sorted(order) == [one.name for one in datasets]
    # What stands above: a circle, which no pipeline has, is cut somewhere.
    reads = {
        one.name: [name for name in one.reads if name in order[: order.index(one.name)]]
        for one in datasets
    }
    rows = lay_out(order, reads)
    edges = [(order.index(name), row) for row, one in enumerate(order) for name in reads[one]]
    for row, drawn in enumerate(rows):
        passing = {begin for begin, end in edges if begin < row < end}
        assert sorted(drawn.passing) == sorted({rows[begin].point for begin in passing})
        assert len(drawn.passing) == len(passing), "each line has a lane of its own"
        assert set(drawn.joined) == {rows[begin].point for begin, end in edges if end == row}
        assert drawn.point not in drawn.passing
        assert drawn.is_read is any(begin == row for begin, _ in edges)


def test_texts_of_regions_are_never_markup(control):
    sign_in(control)
    evil = "<script>alert(1)</script>"
    event = {
        "timestamp": "2026-01-01T00:00:00.000Z",
        "level": "ERROR",
        "event_type": "flow_progress",
        "origin": {"update_id": evil},
        "message": evil,
        "details": {},
    }
    dataset = DatasetDetails(evil, "view", (evil,), 5, 0, None, ((evil, 1, 1),), (evil,))
    look = control.witness.looks["east"]
    details = RegionDetails(look.at, (dataset,), (event,), error=evil)
    control.witness.looks["east"] = RegionLook(look.at, look.status, Role.ACTIVE, details)
    page = open_page(control, "/ui/regions/east")
    assert "<script>" not in page.text
    assert "1 of 2 rows failed" in page.text
    assert tag("p", evil, title='"') == (
        '<p title="&quot;">&lt;script&gt;alert(1)&lt;/script&gt;</p>'
    )
