"""Settings that change results are honoured or refused, wherever they are said."""

from __future__ import annotations

import pytest

from proa.errors import PipelineError
from proa.pipelines.session_settings import check_setting, engine_settings

ZONE = "spark.sql.session.timeZone"


def test_an_engine_is_given_what_differs_from_its_defaults():
    assert engine_settings(
        {
            ZONE: "Europe/Berlin",
            "spark.sql.ANSI.enabled": "FALSE",
            "spark.sql.caseSensitive": "false",
            "spark.sql.shuffle.partitions": "8",
            "landing_zone": "/x",
        }
    ) == {ZONE: "Europe/Berlin", "spark.sql.ansi.enabled": "FALSE"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.sql.legacy.timeParserPolicy", "LEGACY"),
        ("spark.sql.legacy.anything", "true"),
        ("spark.sql.mapKeyDedupPolicy", "LAST_WIN"),
        ("SPARK.SQL.timestampType", "TIMESTAMP_NTZ"),
    ],
)
def test_a_setting_that_nobody_honours_is_refused(key, value):
    with pytest.raises(PipelineError) as caught:
        check_setting(key, value, None)
    assert caught.value.condition == "UNSUPPORTED_SPARK_SETTING"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.sql.legacy.timeParserPolicy", "corrected"),
        ("spark.sql.legacy.anything", "false"),
        ("spark.sql.adaptive.enabled", "true"),
        ("mine", "x"),
    ],
)
def test_a_setting_without_effect_on_rows_is_taken(key, value):
    check_setting(key, value, None)


SAYINGS = {
    "conf.set": (
        "a.py",
        "import dlt\nspark.conf.set('{key}', '{value}')\ndlt.create_streaming_table('t')",
        2,
    ),
    "SET": ("a.sql", "SET {key} = {value};\nCREATE MATERIALIZED VIEW t AS SELECT 1", 2),
    "spark_conf": (
        "a.py",
        "import dlt\n@dlt.table(spark_conf={{'{key}': '{value}'}})\ndef t(): ...",
        2,
    ),
}


@pytest.mark.parametrize("saying", SAYINGS)
@pytest.mark.parametrize("value", ["Asia/Tokyo", "UTC"])
def test_a_part_of_a_pipeline_may_only_repeat_what_holds_for_all(project, saying, value):
    name, text, line = SAYINGS[saying]
    project.write(f"transformations/{name}", text.format(key=ZONE, value=value))
    project.load(**{ZONE: value})
    error = project.refused(**{ZONE: "Europe/Berlin"})
    assert error.condition == "UNSUPPORTED_SPARK_SETTING"
    assert f"({ZONE}: '{value}')" in str(error)
    assert str(error.location) == f"transformations/{name}:{line}"


def test_what_code_sets_it_can_get(project):
    code = "import dlt\nspark.conf.set('a.b', 1)\nassert spark.conf.get('a.b') == '1'\n"
    project.write("transformations/a.py", code + "dlt.create_streaming_table('t')\n").load()


def test_a_refused_setting_in_the_configuration_is_refused(project):
    project.write("transformations/a.sql", "CREATE STREAMING TABLE t")
    key = "spark.sql.legacy.timeParserPolicy"
    assert project.refused(**{key: "LEGACY"}).condition == "UNSUPPORTED_SPARK_SETTING"
