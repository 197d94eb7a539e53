"""Whole projects, written as people write them, declare what their authors meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.pipelines import DatasetKind, Declarations, PipelineSpec, find_spec, load_spec
from proa.pipelines.load import load_declarations

CORPUS = Path(__file__).parent / "corpus"

T, S, V, M = (
    DatasetKind.TABLE,
    DatasetKind.STREAMING_TABLE,
    DatasetKind.TEMPORARY_VIEW,
    DatasetKind.MATERIALIZED_VIEW,
)

EXPECTED = {
    "medallion_python": {
        "trips_raw": (T, 0, ["trips_raw"]),
        "zones": (V, 0, ["zones"]),
        "trips_cleaned": (T, 3, ["trips_cleaned"]),
        "trips_per_zone": (T, 0, ["trips_per_zone"]),
        "trips_today": (T, 0, ["trips_today"]),
    },
    "medallion_sql": {
        "sales_bronze": (S, 0, ["sales_bronze"]),
        "shops_bronze": (S, 0, ["shops_bronze"]),
        "sales_checked": (S, 3, ["sales_checked"]),
        "open_shops": (V, 1, ["open_shops"]),
        "revenue_per_day": (M, 0, ["revenue_per_day"]),
        "best_day": (M, 0, ["best_day"]),
    },
    "legacy_live": {
        "clicks_raw": (S, 1, ["clicks_raw"]),
        "clicks_renamed": (V, 0, ["clicks_renamed"]),
        "clicks_clean": (M, 2, ["clicks_clean"]),
        "clicks_clean_source": (V, 0, ["clicks_clean_source"]),
        "clicks_raw_copy": (M, 0, ["clicks_raw_copy"]),
        "top_pages": (M, 0, ["top_pages"]),
    },
    "notebooks": {
        "readings": (T, 0, ["readings"]),
        "temperatures": (T, 2, ["temperatures"]),
        "readings_per_device": (M, 0, ["readings_per_device"]),
    },
    "metaprogramming": {
        "orders_north_bronze": (T, 0, ["orders_north_bronze"]),
        "orders_north_silver": (T, 2, ["orders_north_silver"]),
        "orders_south_bronze": (T, 0, ["orders_south_bronze"]),
        "orders_south_silver": (T, 2, ["orders_south_silver"]),
        "orders_daily": (V, 0, ["orders_daily"]),
        "orders_weekly": (V, 0, ["orders_weekly"]),
        "all_orders": (T, 0, ["all_orders"]),
    },
    "flows": {
        "events": (S, 1, ["events_from_web", "events_from_app", "events_from_the_archive"]),
        "names": (M, 1, ["names"]),
        "alerts": (S, 0, ["alerts", "late_alerts"]),
    },
    "quarantine": {
        "raw_farmers_market": (V, 0, ["raw_farmers_market"]),
        "farmers_market_quarantine": (T, 2, ["farmers_market_quarantine"]),
        "valid_farmers_market": (V, 0, ["valid_farmers_market"]),
        "invalid_farmers_market": (T, 0, ["invalid_farmers_market"]),
    },
}


def declared(name: str) -> Declarations:
    spec = PipelineSpec(name, "s", libraries=(f"{name}/**",))
    return load_declarations(spec, CORPUS, {"landing_zone": "/landing"})


def summary(found: Declarations) -> dict[str, tuple[DatasetKind, int, list[str]]]:
    return {
        dataset.name: (
            dataset.kind,
            len(dataset.expectations),
            [flow.name for flow in found.flows if flow.target == dataset.name],
        )
        for dataset in found.datasets
    }


@pytest.mark.parametrize("name", EXPECTED)
def test_a_project_declares_what_its_author_meant(name):
    assert summary(declared(name)) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_project_makes_a_sound_graph(name):
    from proa.graph.build import build

    found = declared(name)
    built = build(found)
    assert len(built.flows) == len([f for f in found.flows if f.target in _stored(found)])


def _stored(found: Declarations) -> set[str]:
    return {dataset.name for dataset in found.datasets if dataset.kind is not V}


@pytest.mark.parametrize("name", EXPECTED)
def test_queries_in_sql_are_the_users_own_text(name):
    for flow in declared(name).flows:
        if not callable(flow.query):
            text = (CORPUS / flow.query.location.file).read_text()
            lines = text.replace("${landing_zone}", "/landing").split("\n")
            first = flow.query.text.split("\n")[0]
            assert first in lines[flow.query.location.line - 1].replace("# MAGIC ", "")


def test_an_apache_project_is_loaded_as_it_is():
    path = find_spec(CORPUS / "apache" / "transformations" / "nested")
    found = load_declarations(load_spec(path), path.parent)
    assert summary(found) == {
        "odd_numbers": (M, 0, ["odd_numbers"]),
        "also_collected": (S, 0, ["collect_arriving"]),
        "example_numbers": (M, 0, ["example_numbers"]),
        "shop.even_numbers": (M, 0, ["shop.even_numbers"]),
        "arriving": (T, 0, ["arriving"]),
        "collected": (S, 0, ["collect_even"]),
    }
    assert found.configuration == {"days": "7"}


def test_details_of_a_medallion_in_sql_are_kept():
    found = {dataset.name: dataset for dataset in declared("medallion_sql").datasets}
    checked = found["sales_checked"]
    assert checked.private
    assert checked.cluster_by == ("sold_at",)
    assert checked.spark_conf == {
        "pipelines.trigger.interval": "1 minute",
        "first_day": "2026-01-01",
    }
    assert checked.expectations[1].condition == "sold_at > to_timestamp('2026-01-01')"
    assert found["revenue_per_day"].partition_cols == ("day",)
    assert found["sales_bronze"].properties["delta.enableChangeDataFeed"] == "true"
    assert found["sales_bronze"].spark_conf == {}


def test_the_project_that_apache_writes_is_loaded_as_it_is(tmp_path, monkeypatch):
    from pyspark.pipelines.init_cli import init

    monkeypatch.chdir(tmp_path)
    init("theirs")
    path = find_spec(tmp_path / "theirs")
    assert summary(load_declarations(load_spec(path), path.parent)) == {
        "example_python_materialized_view": (M, 0, ["example_python_materialized_view"]),
        "example_sql_materialized_view": (M, 0, ["example_sql_materialized_view"]),
    }
