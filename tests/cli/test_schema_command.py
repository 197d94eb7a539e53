"""`proa schema` and `proa adopt`: what they show, and how they end."""

import json
from pathlib import Path

import pytest

from proa.cli.main import run


@pytest.fixture
def shop(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert run(["init", "shop"]) == 0
    monkeypatch.chdir(tmp_path / "shop")
    capfd.readouterr()
    return Path.cwd()


def printed(capfd, *words: str, code: int = 0) -> str:
    capfd.readouterr()
    assert run(list(words)) == code
    out = capfd.readouterr()
    return out.out + out.err


@pytest.mark.slow
def test_a_column_has_its_shipment_and_its_file(shop, capfd):
    printed(capfd, "ship", "--once")
    printed(capfd, "run", "--region", "east")
    more = {"order_id": "o-9", "coupon": {"code": "x"}}
    (shop / "data/source/orders/2026-01-08.json").write_text(json.dumps(more) + "\n")
    printed(capfd, "ship", "--once")
    printed(capfd, "run", "--region", "east")
    words = ["schema", "ORDERS_BRONZE", "--region", "east", "--json"]
    found = json.loads(printed(capfd, *words))
    assert found["table"] == "orders_bronze"
    changes = {change["column"]: change for change in found["changes"]}
    assert changes["order_id"]["shipment"] == 1
    assert changes["order_id"]["file"] == "2026-01-06.json"
    assert changes["coupon"]["shipment"] == 3
    assert changes["coupon"]["version"] == 1
    assert changes["coupon"]["file"] == "2026-01-08.json"
    assert "reads no stream of files" in printed(
        capfd, "schema", "daily_sales", "--region", "east", code=2
    )
    assert "orders_bronze" in printed(capfd, "schema", "orders_bronz", "--region", "east", code=2)


def test_what_is_shipped_is_not_adopted(shop, capfd):
    assert "proa ship" in printed(capfd, "adopt", "orders", code=2)


def test_adopting_says_what_waits(shop, capfd):
    for zone in ("east", "west"):
        folder = shop / f"data/{zone}/landing/clicks"
        folder.mkdir(parents=True)
        (folder / "1.json").write_text("{}\n")
    found = json.loads(printed(capfd, "adopt", "clicks", "--json"))
    assert found == {"source": "clicks", "files": 1, "through": 1, "waiting": {}}
    (shop / "data/west/landing/clicks/2.json").write_text("{}\n")
    assert "2.json: it is not in east" in printed(capfd, "adopt", "clicks", code=1)
