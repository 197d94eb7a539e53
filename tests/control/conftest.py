from __future__ import annotations

from pathlib import Path

import pytest
from observed_group import Caller, Control, Pager

from fake_group import Group
from proa.control.access import ControlAccess
from proa.control.alerts import AlertBook
from proa.control.control_app import create_control_app
from proa.control.witness import Witness
from proa.recovery.controller import Controller
from proa.storage import Store
from proa.testing import FakeClock, FixedIds


@pytest.fixture
def control(tmp_path: Path, clock: FakeClock, ids: FixedIds) -> Control:
    for region in ("east", "west"):
        (tmp_path / region / "storage").mkdir(parents=True)
    group = Group(
        tmp_path, clock, recovery={"rpo": 60.0, "group": "shop", "stable_url": "https://data"}
    )
    world, settings, store = group.world, group.settings, Store.open(f"{tmp_path}/third")

    def open_controller(who: str, tell) -> Controller:
        return Controller(
            settings, group.store(), world, world, clock, who, consumers=world, tell=tell
        )

    pager = Pager()
    witness = Witness(
        settings,
        group.store(),
        world,
        open_controller,
        AlertBook(store, "shop", [pager], clock, ids),
        clock=clock,
        driver=world,
        begin=lambda job: job(),
    )
    access = ControlAccess(store, "shop", clock, ids)
    made = Control(group, witness, access, Caller(create_control_app(witness, access, ids)), pager)
    made.look()
    return made
