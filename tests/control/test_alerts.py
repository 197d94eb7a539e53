"""Each alert is told once when it begins and once when it is over, whatever fails meanwhile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from observed_group import Pager

from proa.control.alerts import AlertBook, Mailer, Notice, Webhook, mail_of
from proa.errors import UnavailableError
from proa.recovery.control_record import Operation
from proa.recovery.driver import Role
from proa.settings import EmailSettings, WebhookSettings
from proa.steps import Step, probing
from proa.storage import Store
from proa.testing import FailFrom, FakeClock, FaultProbe, FixedIds

ALERTS = ("lag:west", "drift:east", "conflict")
ACTS = st.lists(
    st.one_of(
        st.frozensets(st.sampled_from(ALERTS)),
        st.sampled_from(["break", "mend", "restart", "deliver"]),
    ),
    max_size=25,
)


@pytest.mark.slow
@given(acts=ACTS)
def test_every_change_of_state_is_told_once_and_in_order(acts, tmp_path_factory):
    store = Store.open(str(tmp_path_factory.mktemp("third")))
    clock, ids, pager = FakeClock(), FixedIds(), Pager()
    book = AlertBook(store, "shop", [pager], clock, ids)
    expected: list[tuple[str, str]] = []
    wrong: frozenset[str] = frozenset()
    for act in acts:
        if isinstance(act, frozenset):
            expected += [(alert, "cleared") for alert in sorted(wrong - act)]
            expected += [(alert, "raised") for alert in sorted(act - wrong)]
            wrong = act
            book.update({alert: f"{alert} is wrong" for alert in act})
        elif act == "restart":
            book = AlertBook(store, "shop", [pager], clock, ids)
        elif act == "deliver":
            book.deliver()
        else:
            pager.broken = act == "break"
        clock.advance(1)
    pager.broken = False
    clock.advance(3600)
    book.deliver()
    assert [(notice.alert, notice.state) for notice in pager.told] == expected
    assert len({notice.id for notice in pager.told}) == len(pager.told)
    assert set(book.state.raised) == wrong
    assert book.state.waiting == ()


def test_people_are_told_once_while_the_third_place_takes_no_writes(control):
    """A full disk there must not hide that a region is late, nor page anybody every two seconds."""
    told = control.pager.told
    control.group.world.waiting_s["west"] = 90
    with probing(FaultProbe(FailFrom(Step.STORE_WRITE, 1))):
        for _ in range(5):
            control.look()
            control.group.clock.advance(2)
    assert [(one.alert, one.state) for one in told] == [
        ("lag:west", "raised"),
        ("store", "raised"),
    ]
    assert control.witness.facts()["alerts"]["store"]["sentence"].startswith(
        "the third place takes"
    )
    control.look()
    control.look()
    assert [(one.alert, one.state) for one in told[2:]] == [("store", "cleared")]
    store = Store.open(control.group.settings.recovery.control.path)
    restarted = AlertBook(store, "shop", [control.pager], control.group.clock, FixedIds())
    assert restarted.state == control.witness.alerts.state
    assert set(restarted.state.raised) == {"lag:west"}


def test_what_is_wrong_is_seen_and_told(control):
    world = control.group.world
    world.waiting_s["west"] = 61
    control.group.begin(Operation.DRILL, "west")
    control.look()
    assert [notice.alert for notice in control.pager.told] == ["lag:west"]
    control.look()
    assert len(control.pager.told) == 1
    world.waiting_s["west"] = 0
    world.roles["west"] = Role.ACTIVE
    world.equal = False
    control.group.begin(Operation.DRILL, "west")
    control.look()
    told = {(notice.alert, notice.state) for notice in control.pager.told[1:]}
    assert told == {("lag:west", "cleared"), ("drift:west", "raised"), ("drill", "raised")}
    world.silent.add("east")
    control.group.clock.advance(100)
    control.witness.tell()
    assert control.pager.told[-1].alert == "silent:west"


def test_a_delivery_that_fails_is_seen_and_tried_again(control):
    control.pager.broken = True
    control.group.world.waiting_s["west"] = 61
    control.look()
    shown = control.witness.facts()["undelivered"]
    assert shown == [
        {"channel": "pager", "alert": "lag:west", "tries": 1, "error": "the pager is broken"}
    ]
    control.pager.broken = False
    control.witness.tell()
    assert control.pager.told == [], "not before its pause is over"
    control.group.clock.advance(5)
    control.witness.tell()
    assert [notice.alert for notice in control.pager.told] == ["lag:west"]


def notice() -> Notice:
    return Notice(
        id="7",
        group="shop",
        alert="conflict",
        state="raised",
        sentence="both differ",
        at=FakeClock().now(),
    )


def test_an_email_says_it_in_its_subject():
    settings = EmailSettings(host="localhost", sender="proa@example.com", to=("a@example.com",))
    mail = mail_of(notice(), settings)
    assert mail["Subject"] == "[proa shop] conflict raised"
    assert "both differ" in mail.get_content()


def test_channels_that_nobody_answers_are_unavailable():
    nobody = EmailSettings(host="127.0.0.1", port=9, sender="a@b", to=("a@b",))
    for channel in (Mailer(nobody), Webhook(WebhookSettings(url="http://127.0.0.1:9/"))):
        with pytest.raises(UnavailableError, match="did not take the alert"):
            channel.deliver(notice())
