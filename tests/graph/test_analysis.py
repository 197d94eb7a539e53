"""An engine says what is wrong with a query before there is any data."""

import pytest
from pyspark.sql import functions as F

from proa.errors import DataError, PipelineError, SourceLocation
from proa.graph.analysis import analyse
from proa.pipelines.ddl import schema_of_text
from proa.pipelines.definitions import Expectation
from proa.violations import Violation

FILES = "SELECT * FROM STREAM read_files('/in', format => 'json', schema => 'id int, who string')"
UNKNOWN = "SELECT * FROM STREAM read_files('/nothing', format => 'json')"


@pytest.fixture
def analysed(pipeline, engine):
    def infer(_flow, leaf):
        if leaf.schema is None:
            raise DataError("there are none yet")
        return schema_of_text(leaf.schema)

    return lambda: analyse(pipeline.build(), engine.schema, infer)


def test_columns_are_known_through_the_whole_pipeline(pipeline, analysed):
    pipeline.streaming_table("bronze", FILES)
    pipeline.view("v", "SELECT id, upper(who) AS who FROM STREAM bronze")
    pipeline.streaming_table("silver", lambda s: s.readStream.table("v").withColumn("n", F.lit(1)))
    pipeline.materialized_view("gold", "SELECT who, sum(n) AS n FROM silver GROUP BY who")
    schemas = analysed().schemas
    assert {name: schema.names for name, schema in schemas.items()} == {
        "bronze": ["id", "who"],
        "v": ["id", "who"],
        "silver": ["id", "who", "n"],
        "gold": ["who", "n"],
    }


def test_a_column_that_does_not_exist_is_an_error_at_its_query(pipeline, analysed):
    pipeline.streaming_table("bronze", FILES)
    pipeline.materialized_view("gold", "SELECT whom FROM bronze")
    with pytest.raises(PipelineError, match="the query of 'gold' is wrong") as caught:
        analysed()
    assert "whom" in str(caught.value)
    assert caught.value.location is not None


def test_an_expectation_about_a_column_that_does_not_exist_is_an_error(pipeline, analysed):
    here = SourceLocation("rules.py", 3)
    rule = Expectation("known", "whom IS NOT NULL", Violation.WARN, here)
    pipeline.streaming_table("bronze", FILES, expectations=(rule,))
    with pytest.raises(PipelineError, match="the expectation 'known' of 'bronze'") as caught:
        analysed()
    assert caught.value.location == here


def test_what_depends_on_files_that_are_not_there_yet_is_not_judged(pipeline, analysed):
    pipeline.streaming_table("bronze", UNKNOWN)
    pipeline.materialized_view("gold", "SELECT whatever FROM bronze")
    pipeline.materialized_view("other", "SELECT 1 AS one")
    found = analysed()
    assert list(found.schemas) == ["other"]
    assert set(found.unknown) == {"bronze", "gold"}
    assert "'/nothing': there are none yet" in found.unknown["gold"]


def test_a_declared_schema_stands_for_files_that_are_not_there_yet(pipeline, analysed):
    pipeline.streaming_table("bronze", UNKNOWN, schema="id int")
    pipeline.materialized_view("gold", "SELECT id + 1 AS next FROM bronze")
    assert analysed().schemas["gold"].names == ["next"]
