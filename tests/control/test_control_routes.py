"""The witness over HTTP: verbs that are explained and confirmed, and what load balancers ask."""

from __future__ import annotations

import pytest

from proa.control.access import AccessRole
from proa.recovery.control_record import Operation
from proa.recovery.driver import Role

BASE = "/api/proa/1/control"


def post(control, path, role=AccessRole.OPERATOR, **body):
    return control.client.post(f"{BASE}/{path}", json=body, headers=control.headers(role))


def confirmed(control, verb, **body):
    explained = post(control, f"{verb}/explain", **body)
    assert explained.status_code == 200, explained.text
    return post(control, verb, **body, confirm=explained.json()["confirm"])


def test_a_switchover_is_explained_confirmed_and_done(control):
    explained = post(control, "switchover/explain", to="west").json()
    assert explained["steps"][0] == "east is stopped, so that west can overtake it"
    assert control.group.world.roles["west"] is Role.STANDBY
    done = confirmed(control, "switchover", to="west", reason="upgrade")
    assert (done.status_code, done.json()["running"]) == (200, False)
    assert done.json()["sentences"][-1] == "west is active in epoch 2"
    history = control.client.get(f"{BASE}/history", headers=control.headers()).json()["entries"]
    assert {entry["who"] for entry in history[1:]} == {"ada"}
    assert history[-1]["reason"] == "upgrade"
    assert confirmed(control, "failback").json()["target"] == "east"


def test_nothing_is_done_without_the_confirmation_of_just_that(control):
    assert post(control, "failover", to="west").json()["error_code"] == "NOT_CONFIRMED"
    confirm = post(control, "failover/explain", to="west").json()["confirm"]
    other = post(control, "failover", to="west", force=True, confirm=confirm)
    assert (other.status_code, other.json()["error_code"]) == (409, "NOT_CONFIRMED")
    confirmed(control, "drill")
    late = post(control, "failover", to="west", confirm=confirm)
    assert (late.status_code, late.json()["error_code"]) == (409, "NOT_CONFIRMED")
    assert control.group.controller().record().active == "east"


def test_a_refused_failover_says_why_and_leaves_nothing(control):
    control.group.world.missing_s = 3600
    refused = confirmed(control, "failover", to="west")
    assert (refused.status_code, refused.json()["error_code"]) == (409, "LOSS_TOO_LARGE")
    assert control.witness.change is None
    assert confirmed(control, "failover", to="west", max_loss="2h").status_code == 200


def test_a_change_that_stops_half_way_is_shown_and_finished_by_resume(control):
    control.group.world.full.add("west")
    stopped = confirmed(control, "switchover", to="west")
    assert stopped.status_code == 500
    shown = control.client.get(BASE, headers=control.headers()).json()
    assert shown["change"]["error"] == "the state of west does not answer"
    assert shown["record"]["phase"] == "draining"
    control.group.world.full.clear()
    assert post(control, "resume").json()["sentences"][-1] == "west is active in epoch 2"
    assert post(control, "cancel").status_code == 200


def test_readers_look_and_change_nothing(control):
    reader = AccessRole.READER
    assert control.client.get(BASE, headers=control.headers(reader)).json()["role"] == "reader"
    assert post(control, "failover/explain", reader, to="west").status_code == 200
    for path in ("failover", "switchover", "failback", "drill", "resume", "cancel"):
        refused = post(control, path, reader)
        assert (refused.status_code, refused.json()["error_code"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("path", [BASE, f"{BASE}/history", f"{BASE}/reports", "/metrics"])
def test_nothing_is_seen_without_a_token(control, path):
    assert control.client.get(path).status_code == 401
    token, text = control.access.create("eve", AccessRole.READER, 10)
    assert control.client.get(path, headers={"authorization": f"Bearer {text}"}).status_code == 200
    control.access.revoke(token.token_id)
    control.group.clock.advance(2)
    assert control.client.get(path, headers={"authorization": f"Bearer {text}"}).status_code == 401


def test_load_balancers_ask_without_a_token(control):
    def codes(*paths):
        return [control.client.get(path).status_code for path in paths]

    assert codes("/active", "/active/east", "/active/west", "/active/nowhere") == [
        200,
        200,
        503,
        404,
    ]
    assert codes("/standby", "/standby/west", "/standby/east") == [200, 200, 503]
    control.group.world.waiting_s["west"] = 30
    control.look()
    assert codes("/standby?lag=10s", "/standby?lag=1m", "/standby/west?lag=x") == [503, 200, 400]
    control.group.clock.advance(61)
    assert codes("/active", "/standby") == [503, 503], (
        "what was seen a minute ago says nothing of now"
    )


def test_a_conflict_of_records_serves_nobody(control):
    control.group.begin(Operation.SWITCHOVER, "west")
    place = control.group.folder / "third/_proa/control/shop/0000000001.json"
    place.write_text("damaged")
    control.witness.store = control.group.store()
    control.look()
    assert control.client.get("/active").status_code == 503
    assert "record" in control.witness.wrong()


def test_reports_of_drills_and_promotions_are_kept(control):
    confirmed(control, "drill")
    listed = control.client.get(f"{BASE}/reports", headers=control.headers()).json()["reports"]
    assert [(one["operation"], one["equal"]) for one in listed] == [("drill", True)]
    one = control.client.get(
        f"{BASE}/reports/{listed[0]['name']}", headers=control.headers()
    ).json()
    assert one["sentence"] == "east and west are equal"
    assert control.client.get(f"{BASE}/reports/x", headers=control.headers()).status_code == 404


def test_prometheus_reads_what_the_witness_sees(control):
    control.group.world.waiting_s["west"] = 90
    control.look()
    text = control.client.get("/metrics", headers=control.headers()).text
    assert 'proa_region_active{region="east"} 1.0' in text
    assert 'proa_region_waiting_seconds{region="west"} 90.0' in text
    assert 'proa_alert{alert="lag:west"} 1.0' in text
