"""A mistake in a YAML file is shown where it stands."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proa import settings
from proa.errors import SettingsError
from proa.pipelines.spec import load_spec
from proa.yaml_file import read_yaml


def mistake_in(load, path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load(path)
    return str(caught.value)


def test_broken_yaml_has_line_and_caret(tmp_path):
    path = tmp_path / "proa.yml"
    message = mistake_in(settings.load, path, "regions:\n  east: [1\n  west: 2\n")
    assert message.startswith(f"{path}:3: this is not valid YAML: ")
    assert message.endswith("  3 |   west: 2\n    |       ^")


def test_an_unknown_key_of_proa_yml_has_line_and_caret(tmp_path):
    text = "regions:\n  east:\n    landing_zone: a\n    storage: b\n    storag: c\n"
    message = mistake_in(settings.load, tmp_path / "proa.yml", text)
    first, line, caret = message.splitlines()
    assert first.endswith(
        "proa.yml:5: regions.east.storag: there is no such key; see docs/reference/settings.md"
    )
    assert (line, caret) == ("  5 |     storag: c", "    |     ^")


def test_a_missing_key_is_shown_at_the_part_that_lacks_it(tmp_path):
    message = mistake_in(
        settings.load, tmp_path / "proa.yml", "regions:\n  east:\n    storage: b\n"
    )
    assert message.splitlines()[0].endswith("proa.yml:2: regions.east.landing_zone: field required")


def test_a_mistake_in_a_specification_has_line_and_caret(tmp_path):
    text = "name: x\nstorage: s\nconfiguration:\n  a: 'b'\n  c: 1\n"
    message = mistake_in(load_spec, tmp_path / "spark-pipeline.yml", text)
    assert message.splitlines()[0].split("spark-pipeline.yml:")[1].startswith("5: the value 1 of")
    assert message.endswith("  5 |   c: 1\n    |   ^")


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    )
)
def test_no_bytes_are_read_without_an_answer(tmp_path, content):
    path = tmp_path / "any.yml"
    path.write_bytes(content)
    with suppress(SettingsError):
        assert read_yaml(path).path == path
