"""A project's files are loaded in order, afresh, and nothing of them is left behind."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from pathlib import Path

import pytest

from proa.errors import PipelineError
from proa.pipelines import PipelineSpec
from proa.pipelines.ddl import parse_schema
from proa.pipelines.load import load_declarations
from proa.pipelines.spec import source_files

ORDERS = """
    from pyspark import pipelines as dp

    @dp.table
    def orders():
        return spark.range(1)
"""


def names(declarations) -> list[str]:
    return [dataset.name for dataset in declarations.datasets]


def test_files_are_loaded_in_the_order_of_their_paths(project):
    project.write("transformations/b.sql", "CREATE MATERIALIZED VIEW b AS SELECT 1")
    project.write("transformations/a/z.sql", "CREATE MATERIALIZED VIEW z AS SELECT 1")
    project.write("transformations/c.py", ORDERS)
    assert names(project.load()) == ["z", "b", "orders"]


def test_a_file_named_by_two_globs_is_loaded_once(project):
    project.write("transformations/a.sql", "CREATE MATERIALIZED VIEW a AS SELECT 1")
    spec = PipelineSpec("p", "s", libraries=("transformations/**", "transformations/a.sql"))
    assert names(load_declarations(spec, project.root)) == ["a"]


def test_hidden_and_generated_files_are_no_sources(project):
    project.write("transformations/a.sql", "CREATE MATERIALIZED VIEW a AS SELECT 1")
    for path in (".DS_Store", ".cache/x.txt", "__pycache__/a.pyc"):
        project.write(f"transformations/{path}", "x")
    assert names(project.load()) == ["a"]


@pytest.mark.parametrize("name", ["notes.md", "notebook.scala"])
def test_a_file_of_another_kind_is_refused(project, name):
    project.write(f"transformations/{name}", "x")
    error = project.refused()
    assert error.condition == "PIPELINE_UNSUPPORTED_DEFINITIONS_FILE_EXTENSION"
    assert error.location.file == f"transformations/{name}"


def test_a_file_that_is_not_there_is_refused(project):
    with pytest.raises(PipelineError, match=r"there is no file 'a\.py'"):
        source_files(PipelineSpec("p", "s", libraries=("a.py",)), project.root)


def test_query_functions_are_not_called_while_loading(project):
    project.write(
        "transformations/a.py",
        """
        from pyspark import pipelines as dp

        @dp.table
        def t():
            raise RuntimeError("called")
        """,
    )
    (flow,) = project.load().flows
    with pytest.raises(RuntimeError, match="called"):
        flow.query()


def test_code_sees_the_pipelines_configuration(project):
    project.write(
        "transformations/a.py",
        """
        from pyspark.sql import SparkSession

        import dlt

        assert SparkSession.getActiveSession() is spark
        assert SparkSession.builder.getOrCreate() is spark
        dlt.create_streaming_table(spark.conf.get("table"))
        """,
    )
    project.write("transformations/b.sql", "CREATE STREAMING TABLE ${table}_too")
    spec = PipelineSpec(
        "p", "s", configuration={"table": "no", "k": "v"}, libraries=("transformations/**",)
    )
    found = load_declarations(spec, project.root, {"table": "yes"})
    assert names(found) == ["yes", "yes_too"]
    assert found.configuration == {"table": "yes", "k": "v"}
    assert found.session.conf.get("table") == "yes"


def test_modules_of_the_project_can_be_imported_while_loading_and_later(project):
    project.write("helpers/__init__.py", "from helpers.names import PREFIX\n")
    project.write("helpers/names.py", "PREFIX = 'my'\n")
    project.write("transformations/neighbour.sql", "CREATE STREAMING TABLE s")
    project.write(
        "transformations/a.py",
        """
        import dlt
        from helpers import PREFIX

        @dlt.table(name=f"{PREFIX}_table")
        def t():
            import helpers.names
            from pyspark import pipelines as dp
            from lazily import read
            assert helpers.names.PREFIX is PREFIX
            return read(dp)
        """,
    )
    project.write("lazily.py", "def read(dp):\n    return dp.read('s')\n")
    found = project.load()
    assert names(found) == ["my_table", "s"]
    assert found.flows[0].query() is not None


def test_a_notebooks_neighbour_can_be_imported(project):
    project.write("transformations/shared/rules.py", "RULES = {'a': 'a > 0'}\n")
    project.write(
        "transformations/shared/a.py",
        "import dlt\nfrom rules import RULES\ndlt.create_streaming_table('t', expect_all=RULES)\n",
    )
    assert [e.name for e in project.load().datasets[0].expectations] == ["a"]


def test_loading_leaves_nothing_behind(project):
    import pyspark.pipelines

    project.write("helper.py", "NAME = 't'\n")
    project.write(
        "transformations/a.py",
        "import dlt, sys, os\nfrom helper import NAME\ndlt.create_streaming_table(NAME)\n",
    )
    before = (set(sys.modules), list(sys.path), Path.cwd(), pyspark.pipelines, sys.stdout)
    project.load()
    assert (set(sys.modules), list(sys.path), Path.cwd(), pyspark.pipelines, sys.stdout) == before
    assert sys.modules["pyspark.pipelines"] is pyspark.pipelines
    assert not hasattr(pyspark.pipelines, "expect")
    assert "SPARK_REMOTE" not in os.environ
    assert not list(project.root.rglob("__pycache__"))


def test_a_mistake_leaves_nothing_behind_either(project):
    project.write("helper.py", "x = 1\n")
    project.write("transformations/a.py", "import helper\n1 / 0\n")
    before = (set(sys.modules), list(sys.path), Path.cwd())
    project.refused()
    assert (set(sys.modules), list(sys.path), Path.cwd()) == before


def test_every_load_sees_the_code_as_it_is_now(project):
    project.write(
        "transformations/a.py",
        "import dlt\nfrom helper import NAME\ndlt.create_streaming_table(NAME)\n",
    )
    for name in ("one", "two"):  # as long as one another, written within one second
        project.write("helper.py", f"NAME = {name!r}\n")
        assert names(project.load()) == [name]


def test_two_projects_with_helpers_of_one_name_do_not_mix(tmp_path):
    loaded = []
    for name in ("first", "other"):
        root = tmp_path / name
        (root / "helpers").mkdir(parents=True)
        (root / "helpers" / "names.py").write_text(f"NAME = {name!r}\n")
        (root / "a.py").write_text(
            "import dlt\nfrom helpers.names import NAME\n"
            "@dlt.table(name=NAME)\ndef t():\n"
            "    import helpers.names\n    return spark.table(helpers.names.NAME)\n"
        )
        loaded.append(load_declarations(PipelineSpec("p", "s", libraries=("a.py",)), root))
    from proa.pipelines.declaring_session import relation_of

    tables = [relation_of(d.flows[0].query()).read.named_table.unparsed_identifier for d in loaded]
    assert tables == [names(d)[0] for d in loaded] == ["first", "other"]


def test_pipelines_loaded_in_parallel_do_not_mix(tmp_path):
    loaded: dict[int, list[str]] = {}

    def work(number: int) -> None:
        root = tmp_path / str(number)
        root.mkdir()
        (root / "helper.py").write_text(f"NUMBER = {number}\n")
        (root / "a.py").write_text(
            "import dlt\nimport helper\ndlt.create_streaming_table(f't{helper.NUMBER}')\n"
        )
        spec = PipelineSpec("p", "s", libraries=("a.py",))
        loaded[number] = [name for _ in range(3) for name in names(load_declarations(spec, root))]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == {number: [f"t{number}"] * 3 for number in range(4)}


def test_functions_of_the_project_travel_with_a_udf(project):
    project.write("helper.py", "FACTOR = 3\n\ndef scaled(x):\n    return x * FACTOR\n")
    project.write(
        "transformations/a.py",
        """
        import dlt
        import helper
        from helper import scaled
        from pyspark.sql.functions import udf

        OFFSET = 1

        @udf("bigint")
        def shifted(x):
            return scaled(x) + helper.FACTOR + OFFSET

        @dlt.table
        def t():
            return spark.range(1).select(shifted("id"))
        """,
    )
    from proa.pipelines.declaring_session import relation_of

    (flow,) = project.load().flows
    plan = relation_of(flow.query())
    command = plan.project.expressions[0].common_inline_user_defined_function.python_udf.command
    # An engine's worker unpickles it so, and cannot import the project.
    function, _ = pickle.loads(command)
    assert function(2) == 10


def test_a_data_class_with_late_annotations_can_be_declared(project):
    project.write(
        "transformations/a.py",
        """
        from __future__ import annotations
        from dataclasses import dataclass
        import dlt

        @dataclass
        class Source:
            name: str

        dlt.create_streaming_table(Source("t").name)
        """,
    )
    assert names(project.load()) == ["t"]


def test_annotations_are_what_the_file_says_they_are(project):
    project.write(
        "transformations/a.py",
        "import dlt\ndef f(x: int): ...\nassert f.__annotations__['x'] is int\n"
        "dlt.create_streaming_table('t')\n",
    )
    assert names(project.load()) == ["t"]


def test_a_partial_function_is_a_query_when_it_is_named(project):
    project.write(
        "transformations/a.py",
        "import dlt\nfrom functools import partial\ndlt.table(name='t')(partial(spark.range, 1))\n",
    )
    assert project.load().flows[0].query() is not None


def test_a_project_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(PipelineError, match="there is no folder"):
        load_declarations(PipelineSpec("p", "s"), tmp_path / "nowhere")


def test_what_code_prints_goes_to_standard_error(project, capsys):
    project.write(
        "transformations/a.py", "print('hello'); display(1)\n" + ORDERS.replace("\n    ", "\n")
    )
    project.load()
    out, err = capsys.readouterr()
    assert (out, err) == ("", "hello\n")


def test_a_star_import_of_functions_has_the_names_of_older_sparks(project):
    from pyspark.sql import functions

    project.write(
        "transformations/a.py",
        "import random, uuid\nfrom pyspark.sql.functions import *\nimport dlt\n"
        "[approxCountDistinct, bitwiseNOT, countDistinct, shiftLeft, shiftRight, shiftRightUnsigned,"
        " sumDistinct, toDegrees, toRadians]\n"
        "random.random(), uuid.uuid4(), chr(65)\ndlt.create_streaming_table('t')\n",
    )
    assert names(project.load()) == ["t"]
    assert "countDistinct" not in functions.__all__


KEYS = {
    "a constraint": ("id bigint not null, CONSTRAINT pk PRIMARY KEY (id)", ("id",)),
    "over lines": (
        "\n id BIGINT,\n ts TIMESTAMP,\n CONSTRAINT k PRIMARY KEY (id, ts TIMESERIES)\n",
        ("id", "ts"),
    ),
    "behind a column": ("id bigint primary key, name string COMMENT 'x'", ("id",)),
    "a foreign key": (
        "id bigint, CONSTRAINT f FOREIGN KEY (id) REFERENCES other (id) NOT ENFORCED",
        (),
    ),
    "a name like a word": ("id bigint, check string, default int", ()),
    "a word in a comment": ("id bigint COMMENT 'the PRIMARY one', tags map<string, int>", ()),
}


@pytest.mark.parametrize(("schema", "key"), KEYS.values(), ids=KEYS)
def test_keys_may_stand_in_a_schema_of_python(project, schema, key):
    project.write(
        "transformations/a.py", f"import dlt\ndlt.create_streaming_table('t', schema={schema!r})\n"
    )
    (dataset,) = project.load().datasets
    assert dataset.primary_key == key
    assert parse_schema(dataset.schema)[0].name == "id"


@pytest.mark.parametrize(
    ("schema", "condition"),
    [
        ("id bigint GENERATED ALWAYS AS IDENTITY", "UNSUPPORTED_FEATURE"),
        ("a int DEFAULT 3", "UNSUPPORTED_FEATURE"),
        ("a int CHECK (a > 0)", "UNSUPPORTED_FEATURE"),
        ("a int, CONSTRAINT c CHECK (a > 0)", "UNSUPPORTED_FEATURE"),
        ("a int, CONSTRAINT c EXPECT (a > 0)", "PARSE_SYNTAX_ERROR"),
        ("a int, CONSTRAINT", "PARSE_SYNTAX_ERROR"),
        ("a int, PRIMARY KEY (a)) x (b int", "PARSE_SYNTAX_ERROR"),
    ],
)
def test_what_changes_rows_in_a_schema_of_python_is_refused_as_in_sql(project, schema, condition):
    project.write(
        "transformations/a.py",
        f"import dlt\n\n@dlt.table(schema={schema!r})\ndef t():\n    return spark.range(1)\n",
    )
    error = project.refused()
    assert error.condition == condition
    assert str(error.location) == "transformations/a.py:3"


def test_relative_paths_start_at_the_project(project):
    project.write("tables.txt", "t")
    project.write(
        "transformations/a.py",
        "import dlt, pathlib\ndlt.create_streaming_table(pathlib.Path('tables.txt').read_text())\n",
    )
    assert names(project.load()) == ["t"]


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [
        ("x = 1\n1 / 0\n", 2, "ZeroDivisionError: division by zero"),
        ("def f():\n    raise ValueError('no')\n\nf()\n", 2, "ValueError: no"),
        (
            "import nowhere_to_be_found\n",
            1,
            "install it next to Proa, or add nowhere_to_be_found.py",
        ),
        ("import sys\nsys.exit(3)\n", 2, "must not end the process"),
        ("import dlt\ndlt.tabel\n", 2, "AttributeError"),
    ],
)
def test_an_exception_of_the_users_code_names_their_line_first(project, code, line, message):
    project.write("transformations/a.py", code)
    error = project.refused()
    assert message in str(error)
    assert error.condition == "PIPELINE_SOURCE_FAILED"
    assert str(error.location) == f"transformations/a.py:{line}"
    assert error.__cause__ is not None


def test_an_exception_in_a_helper_names_the_helpers_line(project):
    project.write("helper.py", "\n\ndef f():\n    return {}['k']\n")
    project.write("transformations/a.py", "import helper\nhelper.f()\n")
    assert str(project.refused().location) == "helper.py:4"


@pytest.mark.parametrize(("file", "shown"), [("transformations/a.py", ""), ("helper.py", "x")])
def test_a_python_syntax_error_names_its_line(project, file, shown):
    project.write("transformations/a.py", "import helper\n")
    project.write(file, "x = 1\ndef f(:\n")
    error = project.refused()
    assert error.condition == "PYTHON_SYNTAX_ERROR"
    assert str(error.location) == f"{file}:2"


@pytest.mark.parametrize(
    ("code", "condition"),
    [
        ("spark.conf.unset('a')", "SESSION_MUTATION_IN_DECLARATIVE_PIPELINE.SET_RUNTIME_CONF"),
        (
            "spark.range(1).createOrReplaceTempView('v')",
            "SESSION_MUTATION_IN_DECLARATIVE_PIPELINE.CREATE_OR_REPLACE_TEMP_VIEW",
        ),
        ("spark.range(1).collect()", "ATTEMPT_ANALYSIS_IN_PIPELINE_QUERY_FUNCTION"),
    ],
)
def test_acting_while_declaring_is_refused_under_sparks_name(project, code, condition):
    project.write("transformations/a.py", f"\n{code}\n")
    error = project.refused()
    assert error.condition == condition
    assert str(error.location) == "transformations/a.py:2"


def test_a_mistake_in_a_query_function_names_the_file_as_seen_from_the_project(project):
    project.write(
        "transformations/a.py",
        "import dlt\n@dlt.table\ndef t():\n    return spark.range(1).collect()\n",
    )
    with pytest.raises(PipelineError) as caught:
        project.load().flows[0].query()
    assert str(caught.value.location) == "transformations/a.py:4"


@pytest.mark.parametrize("other", ["orders", "ORDERS", "`orders`", "LIVE.orders", "shop.orders"])
def test_two_datasets_of_one_name_are_refused(project, other):
    project.write("transformations/a.py", ORDERS)
    project.write("transformations/b.sql", f"\nCREATE MATERIALIZED VIEW {other} AS SELECT 1")
    spec = PipelineSpec("p", "s", database="shop", libraries=("transformations/**",))
    with pytest.raises(PipelineError, match=r"first at transformations/a\.py:3") as caught:
        load_declarations(spec, project.root)
    assert caught.value.condition == "PIPELINE_DUPLICATE_IDENTIFIERS.OUTPUT"
    assert caught.value.location.file == "transformations/b.sql"


def test_two_flows_of_one_name_are_refused(project):
    project.write(
        "transformations/a.sql",
        """
        CREATE STREAMING TABLE t;
        CREATE FLOW f AS INSERT INTO t BY NAME SELECT * FROM STREAM(a);
        CREATE FLOW F AS INSERT INTO t BY NAME SELECT * FROM STREAM(b);
        """,
    )
    error = project.refused()
    assert error.condition == "PIPELINE_DUPLICATE_IDENTIFIERS.FLOW"
    assert str(error.location) == "transformations/a.sql:3"


@pytest.mark.parametrize("text", ["", "-- nothing\n", "CREATE TEMPORARY VIEW v AS SELECT 1"])
def test_a_pipeline_without_a_table_is_refused(project, text):
    project.write("transformations/a.sql", text)
    assert project.refused().condition == "RUN_EMPTY_PIPELINE"


def test_a_file_that_is_no_text_is_refused(project):
    project.write("transformations/a.sql", "")
    (project.root / "transformations" / "a.sql").write_bytes(b"\xff\xfe\x00")
    assert "cannot read transformations/a.sql" in str(project.refused())


def test_an_environment_kept_inside_the_project_is_not_the_projects(project, monkeypatch):
    site = project.root / ".venv" / "site-packages"
    project.write(".venv/site-packages/library_of_the_venv.py", "NAME = 't'\n")
    monkeypatch.syspath_prepend(str(site))
    project.write(
        "transformations/a.py",
        "import dlt, library_of_the_venv\ndlt.create_streaming_table(library_of_the_venv.NAME)\n",
    )
    project.load()
    assert Path(sys.modules.pop("library_of_the_venv").__file__).is_relative_to(site)
