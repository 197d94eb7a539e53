"""Databricks' names declare what they declare there, as `dlt` and as `dp`."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from proa.errors import PipelineError
from proa.pipelines import dlt
from proa.pipelines.definitions import DatasetKind
from proa.pipelines.unsupported import WITHOUT_EFFECT
from proa.violations import Violation

TABLE, STREAMING, VIEW, MATERIALIZED = (
    DatasetKind.TABLE,
    DatasetKind.STREAMING_TABLE,
    DatasetKind.TEMPORARY_VIEW,
    DatasetKind.MATERIALIZED_VIEW,
)


@pytest.mark.parametrize("module", ["dlt", "dp"])
@pytest.mark.parametrize(
    ("decorator", "kind"),
    [
        ("table", TABLE),
        ("materialized_view", MATERIALIZED),
        ("view", VIEW),
        ("temporary_view", VIEW),
    ],
)
@pytest.mark.parametrize("parentheses", ["", "()"])
def test_a_dataset_is_declared_with_and_without_parentheses(
    python, module, decorator, kind, parentheses
):
    found = python(f"""
        @{module}.{decorator}{parentheses}
        def orders():
            return spark.range(1)

        @dp.table
        def another():
            return spark.range(1)
    """)
    dataset, flow = found.datasets[0], found.flows[0]
    assert (dataset.name, dataset.kind) == ("orders", kind)
    assert (flow.name, flow.target, flow.implicit) == ("orders", "orders", True)
    assert str(dataset.location) == str(flow.location) == "transformations/a.py:3"


@pytest.mark.parametrize(("first_name", "kind"), [("create_table", TABLE), ("create_view", VIEW)])
@pytest.mark.parametrize("parentheses", ["", "(comment='c')"])
def test_the_first_names_of_table_and_view_still_work(python, first_name, kind, parentheses):
    found = python(f"""
        @dlt.{first_name}{parentheses}
        def orders():
            return spark.range(1)

        dp.create_streaming_table("t")
    """)
    assert [(d.name, d.kind) for d in found.datasets] == [("orders", kind), ("t", STREAMING)]


@pytest.mark.parametrize(
    "code",
    [
        "dlt.table(name='t')",
        "dp.view()",
        "dp.append_flow(target='t')",
        "dp.expect('e', 'a')",
        "dp.expect_all_or_fail({'e': 'a'})",
    ],
)
def test_a_decorator_that_decorates_nothing_is_refused(python_refused, code):
    error = python_refused(code)
    assert error.condition == "DECORATOR_WITHOUT_FUNCTION"
    assert str(error.location) == "transformations/a.py:3"


def test_every_parameter_of_a_table_is_taken(python):
    (dataset,), (flow,) = (
        (
            found := python("""
        from pyspark.sql.types import LongType, StructType

        @dlt.table(
            name="sales.orders",
            comment="what was ordered",
            spark_conf={"pipelines.trigger.interval": "10 seconds", "n": 1, "b": True},
            table_properties={"quality": "gold", "pipelines.reset.allowed": False},
            path="s3://bucket/orders",
            schema=StructType().add("id", LongType()).add("region", "string"),
            temporary=True,
            cluster_by=["region"],
            cluster_by_auto=True,
            row_filter=None,
            format="delta",
        )
        def anything():
            return spark.range(1)
    """)
        ).datasets,
        found.flows,
    )
    assert dataset.name == flow.target == "sales.orders"
    assert dataset.comment == flow.comment == "what was ordered"
    assert (
        dataset.spark_conf
        == flow.spark_conf
        == {
            "pipelines.trigger.interval": "10 seconds",
            "n": "1",
            "b": "true",
        }
    )
    assert dataset.properties == {"quality": "gold", "pipelines.reset.allowed": "false"}
    assert dataset.cluster_by == ("region",)
    assert dataset.path == "s3://bucket/orders"
    assert dataset.schema.fieldNames() == ["id", "region"]
    assert dataset.private


def test_apaches_own_functions_declare_the_same(python):
    found = python("""
        from pyspark.pipelines import api

        @api.table(name="t", partition_cols=["a"], schema="a INT", table_properties={"k": "v"})
        def f():
            return spark.range(1)

        @api.materialized_view
        def m():
            return spark.range(1)

        @api.temporary_view(comment="c")
        def v():
            return spark.range(1)

        api.create_streaming_table("s", comment="d")

        @api.append_flow(target="s", name="fill", spark_conf={"a": "b"})
        def g():
            return spark.range(1)
    """)
    assert [(d.name, d.kind, d.comment) for d in found.datasets] == [
        ("t", TABLE, None),
        ("m", MATERIALIZED, None),
        ("v", VIEW, "c"),
        ("s", STREAMING, "d"),
    ]
    assert found.datasets[0].schema == "a INT"
    assert found.datasets[0].partition_cols == ("a",)
    assert found.datasets[0].properties == {"k": "v"}
    assert [(f.name, f.target, f.implicit) for f in found.flows] == [
        ("t", "t", True),
        ("m", "m", True),
        ("v", "v", True),
        ("fill", "s", False),
    ]
    assert found.flows[-1].spark_conf == {"a": "b"}
    assert str(found.datasets[0].location) == "transformations/a.py:5"


@pytest.mark.parametrize(
    "spelling", ["create_streaming_table", "create_streaming_live_table", "create_target_table"]
)
def test_a_streaming_table_is_created_with_expectations(python, spelling):
    (table,) = python(f"""
        dlt.{spelling}(
            "t",
            comment="c",
            schema="a INT",
            expect_all={{"w": "a > 0"}},
            expect_all_or_drop={{"d": "a > 1"}},
            expect_all_or_fail={{"f": "a > 2"}},
        )
    """).datasets
    assert (table.name, table.kind, table.schema) == ("t", STREAMING, "a INT")
    assert [(e.name, e.violation) for e in table.expectations] == [
        ("w", Violation.WARN),
        ("d", Violation.DROP),
        ("f", Violation.FAIL),
    ]


def test_append_flows_are_named_after_their_function_unless_named(python):
    found = python("""
        dp.create_streaming_table(name="t")

        @dp.append_flow(target="t")
        def from_a():
            return spark.readStream.table("a")

        @dlt.append_flow(target="t", name="backfill", once=True, comment="old ones")
        def anything():
            return spark.read.table("b")

        for source in ("x", "y"):
            @dp.append_flow(target="t", name=f"from_{source}")
            def load(source=source):
                return spark.readStream.table(source)
    """)
    assert [(f.name, f.target, f.once, f.comment, f.implicit) for f in found.flows] == [
        ("from_a", "t", False, None, False),
        ("backfill", "t", True, "old ones", False),
        ("from_x", "t", False, None, False),
        ("from_y", "t", False, None, False),
    ]


def test_expectations_stand_below_or_above_the_dataset_in_the_order_of_the_source(python):
    (dataset,) = python("""
        @dp.expect_or_fail("first", "a > 0")
        @dlt.expect_all_or_drop({"second": "b IS NOT NULL", "third": "c"})
        @dlt.table
        @dlt.expect("fourth", "d LIKE '%x'")
        @dp.expect_all({"fifth": "e"})
        def t():
            return spark.range(1)
    """).datasets
    assert [(e.name, e.violation) for e in dataset.expectations] == [
        ("first", Violation.FAIL),
        ("second", Violation.DROP),
        ("third", Violation.DROP),
        ("fourth", Violation.WARN),
        ("fifth", Violation.WARN),
    ]
    assert [e.location.line for e in dataset.expectations] == [3, 4, 4, 6, 7]


def test_one_function_may_make_several_datasets_each_with_its_own_expectations(python):
    found = python("""
        def orders():
            return spark.range(1)

        for region in ("east", "west"):
            dlt.table(name=region)(dlt.expect(f"in {region}", f"region = '{region}'")(orders))
        dlt.table(name="all")(orders)
    """)
    assert {d.name: [e.name for e in d.expectations] for d in found.datasets} == {
        "east": ["in east"],
        "west": ["in west"],
        "all": [],
    }


def test_a_condition_may_be_a_column(python):
    (dataset,) = python("""
        from pyspark.sql import functions as F

        @dp.table
        @dp.expect_or_drop("positive", F.col("a") > 0)
        def t():
            return spark.range(1)
    """).datasets
    assert type(dataset.expectations[0].condition).__name__ == "Column"


def test_datasets_of_the_pipeline_are_read_complete_or_as_streams(python):
    found = python("""
        @dp.table
        def a():
            return dp.read_stream("x")

        @dlt.table
        def b():
            return dlt.read("x")
    """)
    from proa.pipelines.declaring_session import relation_of

    plans = [relation_of(flow.query()) for flow in found.flows]
    assert [plan.read.is_streaming for plan in plans] == [True, False]
    assert [plan.read.named_table.unparsed_identifier for plan in plans] == ["x", "x"]


def test_a_decorated_function_can_still_be_called(python):
    found = python("""
        @dp.table
        @dp.expect("e", "id >= 0")
        def a():
            "What a is."
            return spark.range(3)

        @dp.table
        def b():
            assert a.__doc__ == "What a is."
            return a().limit(1)
    """)
    assert found.flows[1].query() is not None


@pytest.mark.parametrize(
    ("code", "condition", "message"),
    [
        ("@dlt.table(nmae='x')\ndef f(): ...", "UNEXPECTED_ARGUMENT", "did you mean 'name'"),
        ("dp.create_streaming_table()", "UNEXPECTED_ARGUMENT", "missing a required argument"),
        ("@dlt.table('x')\ndef f(): ...", "DECORATOR_ARGUMENT_NOT_CALLABLE", "name='...'"),
        ("@dp.table(name=3)\ndef f(): ...", "NOT_EXPECTED_TYPE", "'name' must be a string"),
        ("dp.create_streaming_table(3)", "NOT_EXPECTED_TYPE", "'name' must be a string"),
        ("dp.create_streaming_table('')", "NOT_EXPECTED_TYPE", "'name' is empty"),
        ("@dp.table(comment=3)\ndef f(): ...", "NOT_EXPECTED_TYPE", "'comment'"),
        ("@dp.table(partition_cols='a')\ndef f(): ...", "NOT_EXPECTED_TYPE", "a list of strings"),
        ("@dp.table(cluster_by=[1])\ndef f(): ...", "NOT_EXPECTED_TYPE", "'cluster_by'"),
        ("@dp.table(table_properties=[])\ndef f(): ...", "NOT_EXPECTED_TYPE", "a dict"),
        ("@dp.table(spark_conf={1: 'a'})\ndef f(): ...", "NOT_EXPECTED_TYPE", "key 1"),
        ("@dp.table(spark_conf={'a': []})\ndef f(): ...", "NOT_EXPECTED_TYPE", "'a'"),
        ("@dp.table(schema=3)\ndef f(): ...", "NOT_EXPECTED_TYPE", "StructType"),
        ("@dp.table(private='yes')\ndef f(): ...", "NOT_EXPECTED_TYPE", "True or False"),
        ("@dp.table\ndef f(a): ...", "INVALID_QUERY_FUNCTION", "def f(a=a)"),
        ("dp.table(lambda: 1)", "INVALID_QUERY_FUNCTION", "has no name"),
        ("dp.expect('e', 3)", "INVALID_EXPECTATION", "a Column, not int"),
        ("dp.expect(3, 'a')", "INVALID_EXPECTATION", "name must be a string"),
        ("dp.expect(' ', 'a')", "INVALID_EXPECTATION", "name must be a string"),
        ("dp.expect('e', 'a >')", "INVALID_EXPECTATION", "'a >'"),
        ("dp.expect('e', '')", "INVALID_EXPECTATION", "it is empty"),
        ("dp.expect('e', 'a, b')", "INVALID_EXPECTATION", "one condition"),
        ("dp.expect('e', 'a) OR (b')", "INVALID_EXPECTATION", "closes nothing"),
        ("dp.expect_all(['a'])", "INVALID_EXPECTATION", "a dict of name to condition"),
        ("dp.append_flow(target=3)", "NOT_EXPECTED_TYPE", "'target'"),
        ("dp.read(3)", "NOT_EXPECTED_TYPE", "'name'"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_line(python_refused, code, condition, message):
    error = python_refused(code)
    assert error.condition == condition
    assert message in str(error)
    assert str(error.location) == "transformations/a.py:3"


def test_an_append_flow_has_no_expectations_of_its_own(python_refused):
    below = python_refused("@dp.append_flow(target='t')\n@dp.expect('e', 'a')\ndef f(): ...")
    above = python_refused("@dp.expect('e', 'a')\n@dp.append_flow(target='t')\ndef f(): ...")
    assert below.condition == above.condition == "INVALID_EXPECTATION"
    assert "create_streaming_table('t'" in str(below)
    assert "create_streaming_table('t'" in str(above)


def test_expectations_of_one_dataset_have_different_names(python_refused):
    error = python_refused(
        "@dp.expect('e', 'a')\n@dp.table\n@dp.expect('e', 'b')\ndef f(): return spark.range(1)"
    )
    assert error.condition == "INVALID_EXPECTATION"
    assert "two expectations named 'e'" in str(error)


@pytest.mark.parametrize(
    ("code", "feature"),
    [
        ("dp.create_sink('s', 'memory', {})", "sinks of format 'memory'"),
        ("@dp.update_flow('s', import_checkpoint='/c')\ndef f(): ...", "IMPORT CHECKPOINT"),
        (
            "dp.create_auto_cdc_flow('t', 's', ['k'], 'n', stored_as_scd_type='bitemporal')",
            "bitemporal",
        ),
        ("@dlt.on_event_hook\ndef f(e): ...", "event hooks"),
        ("@dp.table(row_filter='f ON (a)')\ndef f(): ...", "row filters"),
        (
            "from pyspark.pipelines import api; api.create_sink('s', 'memory')",
            "sinks",
        ),
    ],
)
def test_what_cannot_be_done_yet_is_refused_by_name(python_refused, code, feature):
    error = python_refused(code)
    assert error.condition == "UNSUPPORTED_FEATURE"
    assert feature in str(error)
    assert "; " in str(error)
    assert str(error.location) == "transformations/a.py:3"


@pytest.mark.parametrize(
    ("code", "condition", "words"),
    [
        ("dp.create_sink('s', 'delta')", "INVALID_SINK_OPTION", "'path' and 'tableName'"),
        (
            "dp.create_sink('s', 'delta', {'path': 'a', 'tableName': 'b'})",
            "INVALID_SINK_OPTION",
            "both",
        ),
        (
            "dp.create_sink('s', 'delta', {'pth': 'a'})",
            "INVALID_SINK_OPTION",
            "did you mean 'path'",
        ),
        ("dp.create_sink('s', 'kafka', {})", "INVALID_SINK_OPTION", "kafka.bootstrap.servers"),
        ("@dp.foreach_batch_sink\ndef f(df): ...", "INVALID_SINK_FUNCTION", "def f(df, batch_id)"),
        ("dp.foreach_batch_sink(name='s')", "DECORATOR_WITHOUT_FUNCTION", "def f(df, batch_id)"),
        ("dp.foreach_batch_sink(3)", "DECORATOR_ARGUMENT_NOT_CALLABLE", "not 3"),
    ],
)
def test_a_sink_that_cannot_be_written_to_is_refused_where_it_is_declared(
    python_refused, code, condition, words
):
    error = python_refused(code)
    assert error.condition == condition
    assert words in str(error)
    assert str(error.location) == "transformations/a.py:3"


@pytest.mark.parametrize("call", [lambda: dlt.table(lambda: None), lambda: dlt.read("x")])
def test_nothing_can_be_declared_or_read_outside_a_pipeline(call):
    with pytest.raises(PipelineError) as caught:
        call()
    assert caught.value.condition == "GRAPH_ELEMENT_DEFINED_OUTSIDE_OF_DECLARATIVE_PIPELINE"


@pytest.mark.slow
def test_a_pipelines_own_tests_may_import_its_files():
    code = (
        "import dlt\ndlt.enable_local_execution()\n"
        "@dlt.table(comment='c')\n@dlt.expect('e', 'a > 0')\ndef t():\n    return 3\n"
        "dlt.create_streaming_table('s')\nassert t() == 3\n"
        "try:\n    dlt.table(nmae='x')\nexcept Exception as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-"], input=code, capture_output=True, text=True, check=True
    )
    assert "did you mean 'name'" in done.stdout


def test_parameters_without_effect_are_parameters():
    given = {
        name
        for function in (dlt.table, dlt.materialized_view, dlt.create_streaming_table)
        for name in inspect.signature(function).parameters
    }
    assert {name for name in WITHOUT_EFFECT if name.islower()} <= given


def test_every_public_name_has_a_docstring_and_dlt_exports_it():
    import dlt as imported

    assert imported.__all__ == sorted(dlt.__all__)
    for name in dlt.__all__:
        assert getattr(imported, name) is getattr(dlt, name)
        assert inspect.getdoc(getattr(dlt, name))
