"""The console command is made of one command where one is asked for, and of all where none is."""

from __future__ import annotations

import gc

import pytest
from typer.main import get_command

from proa.cli import main


@pytest.mark.parametrize("command", main.COMMANDS)
def test_a_command_is_made_by_its_own_module_as_it_is_among_all(command):
    alone, whole = (
        get_command(app).commands[command] for app in (main.make_app([command]), main.app)
    )
    assert [parameter.opts for parameter in alone.params] == [p.opts for p in whole.params]
    assert alone.help == whole.help


def test_every_command_that_a_module_makes_has_a_line():
    assert set(get_command(main.app).commands) == set(main.COMMANDS)


def test_a_command_that_is_not_there_is_compared_with_all(capsys):
    assert main.run(["runn"]) == 2
    assert "Did you mean 'run'?" in " ".join(capsys.readouterr().err.split())


def test_the_first_collection_is_late_and_the_next_ones_are_as_usual():
    usual, callbacks = gc.get_threshold(), list(gc.callbacks)
    try:
        main.put_off_collection()
        assert gc.get_threshold()[0] > usual[0]
        gc.collect(0)
        assert gc.get_threshold() == usual
        assert gc.callbacks == callbacks
        assert gc.get_freeze_count() > 0
    finally:
        gc.callbacks[:] = callbacks
        gc.set_threshold(*usual)
        gc.unfreeze()
