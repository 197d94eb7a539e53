"""proa.yml is data: checked as a whole, its locations absolute, its mistakes named."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa import settings
from proa.errors import SettingsError

REGIONS = "regions: {east: {landing_zone: l, storage: s3://bucket/east}}\n"


def load(tmp_path: Path, text: str, environ: dict[str, str] | None = None):
    path = tmp_path / "proa.yml"
    path.write_text(text)
    return settings.load(path, environ or {})


def test_relative_locations_are_taken_from_the_file(tmp_path: Path):
    found = load(
        tmp_path,
        REGIONS + "sources: {orders: {path: in/orders, journal: /elsewhere}, x: {path: s3://b/x/}}",
    )
    assert found.region("east").landing_zone == str(tmp_path / "l")
    assert found.region("east").storage == "s3://bucket/east"
    assert found.sources["orders"].path == str(tmp_path / "in/orders")
    assert found.sources["orders"].journal == "/elsewhere"
    assert found.sources["x"].path == "s3://b/x"


def test_secrets_come_from_the_environment(tmp_path: Path):
    text = "regions: {r: {landing_zone: l, storage: s, options: {aws_secret_access_key: '${KEY}'}}}"
    found = load(tmp_path, text, {"KEY": "hidden"})
    assert found.region("r").options["aws_secret_access_key"] == "hidden"
    with pytest.raises(SettingsError, match="variable 'KEY' is not set"):
        load(tmp_path, text)


def test_what_is_left_out_has_a_default(tmp_path: Path):
    found = load(tmp_path, REGIONS)
    assert (found.sources, found.event_time, found.dr_safety) == ({}, None, None)
    assert (found.verify.tolerance, found.verify.keys, found.verify.ignore) == (0.0, {}, {})


@pytest.mark.parametrize("said", ["error", "warn", "off", "'off'"])
def test_dr_safety_is_read_as_people_write_it(tmp_path: Path, said: str):
    assert load(tmp_path, f"{REGIONS}dr_safety: {said}\n").dr_safety == said.strip("'")


def test_verify_settings_name_tables(tmp_path: Path):
    found = load(
        tmp_path,
        REGIONS + "verify: {tolerance: 1.0e-9, keys: {t: [a, b]}, ignore: {'*': [at]}}",
    )
    assert found.verify.keys == {"t": ("a", "b")}
    assert found.verify.ignore == {"*": ("at",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "regions"),
        ("- a", "must hold a mapping"),
        ("a: [", "is not valid YAML"),
        ("regions: {}", "regions"),
        (REGIONS + "regoins: {}", "regoins"),
        ("regions: {east: {landing_zone: l}}", "regions.east.storage"),
        ("regions: {'a/b': {landing_zone: l, storage: s}}", "regions.a/b"),
        (REGIONS + "sources: {o: {path: p, settle: -1}}", "sources.o.settle"),
        (REGIONS + "sources: {o: {path: p, speed: 1}}", "sources.o.speed"),
        (REGIONS + "accept: [{finding: clock}]", "accept.0.reason"),
        (REGIONS + "dr_safety: maybe", "dr_safety"),
        (REGIONS + "verify: {tolerance: -1}", "verify.tolerance"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(tmp_path: Path, text: str, message: str):
    with pytest.raises(SettingsError, match=message) as found:
        load(tmp_path, text)
    assert "proa.yml" in str(found.value)


def test_broken_yaml_is_shown_with_its_place(tmp_path: Path):
    with pytest.raises(SettingsError) as found:
        load(tmp_path, "regions: [")
    assert str(found.value).splitlines()[1:] == ["  1 | regions: [", "    |           ^"]


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"cannot read .*/proa\.yml"):
        settings.load(tmp_path / "proa.yml")


def test_an_unknown_region_is_told_with_those_there_are(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"no region .west. in proa\.yml; it names east"):
        load(tmp_path, REGIONS).region("west")
