"""The witness's page in a real browser: every view on a phone and a screen, and a failover by clicks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from observed_group import Control
from real_browser import Browser, needs_chromium

from proa.control.access import AccessRole
from proa.control.region_details import DatasetDetails, RegionDetails
from proa.control.witness import RegionLook
from proa.http.serving import HttpServer, Listen
from proa.recovery.driver import Role

pytestmark = [pytest.mark.slow, needs_chromium]
VIEWS = ("/ui/", "/ui/regions/east", "/ui/history", "/ui/validate", "/ui/change/failover?to=west")
WIDTH = "document.documentElement.scrollWidth"
UNNAMED = """[...document.querySelectorAll('input:not([type=hidden]), button, a')].filter(one =>
    !(one.labels && one.labels.length) && !one.textContent.trim()).length"""
SMALL = """[...document.querySelectorAll('button')].filter(one =>
    one.getBoundingClientRect().height < 44).map(one => one.textContent)"""
MISPLACED = """[...document.querySelectorAll('.graph li')].filter(one =>
    one.querySelector('svg').getBoundingClientRect().height < one.getBoundingClientRect().height).length"""
TEXT = "document.querySelector('main').textContent"


@pytest.fixture
def address(control: Control) -> Iterator[str]:
    """Where the witness is served."""
    listen, there = Listen(), threading.Event()
    server, found = HttpServer(control.client.app, listen), []

    def started(address: str) -> None:
        found.append(address)
        there.set()

    thread = threading.Thread(target=server.run, args=(listen.sockets(), started))
    thread.start()
    assert there.wait(60)
    yield found[0]
    server.stop()
    thread.join(60)


@pytest.fixture
def browser(control: Control, address: str, tmp_path: Path) -> Iterator[Browser]:
    """Somebody who has signed in by typing a token."""
    _, token = control.access.create("ada", AccessRole.OPERATOR)
    look = control.witness.looks["east"]
    datasets = (
        DatasetDetails(
            "orders_of_all_the_regions_of_the_world", "streaming table", (), 9, 1, None, ()
        ),
        DatasetDetails(
            "gold",
            "materialized view",
            ("orders_of_all_the_regions_of_the_world",),
            9,
            1,
            look.at.isoformat(),
            (("paid", 8, 1),),
        ),
    )
    control.witness.looks["east"] = RegionLook(
        look.at, look.status, Role.ACTIVE, RegionDetails(look.at, datasets)
    )
    with Browser.started(tmp_path / "profile") as found:
        found.open(f"{address}/")
        found.fill("input[name=token]", token)
        found.click("button")
        found.complaints.clear()  # a stranger's page is 401, and the console says so
        yield found


def test_every_view_fits_a_phone_and_a_screen(browser: Browser, address: str) -> None:
    for width, dark in ((360, True), (360, False), (1280, False)):
        browser.show(width=width, dark=dark)
        for view in VIEWS:
            browser.open(f"{address}{view}")
            where = f"{view} at {width}"
            assert browser.ask(WIDTH) <= width, f"{where} scrolls sideways"
            assert browser.ask(UNNAMED) == 0, f"{where} has fields without a name"
            assert browser.ask(SMALL) == [], f"{where} has buttons too small for a thumb"
            assert browser.ask(MISPLACED) == 0, f"{where} draws lines that end in the air"
            assert browser.ask("document.querySelectorAll('h1').length") == 1
    assert browser.complaints == []


def test_a_failover_by_clicks(control: Control, browser: Browser) -> None:
    browser.show(width=360, dark=True)
    browser.click("form[action='/ui/change/failover'] button")
    assert "west processes what has landed there" in browser.ask(TEXT)
    assert control.group.world.consumers == "east", "nothing is done yet"
    browser.fill("input[name=reason]", "us-east is on fire")
    browser.click("button.danger")
    assert "west is active in epoch 2" in browser.ask(TEXT)
    assert control.group.world.consumers == "west"
    browser.click("a[href='/ui/history']")
    assert "us-east is on fire" in browser.ask(TEXT)
    browser.click("a[href^='/ui/reports/']")
    assert "west took over without a comparison" in browser.ask(TEXT)
    assert browser.complaints == []
