"""Notebooks exported to source files declare what their cells declare."""

from __future__ import annotations

import inspect
import json

import pytest

from proa.pipelines.notebook_source import Cell, cells, is_notebook, jupyter_cells

NOTEBOOK = """\
# Databricks notebook source
# DBTITLE 1,Orders
# MAGIC %md
# MAGIC # Orders; from everywhere
# MAGIC %run in a text says nothing

# COMMAND ----------

# MAGIC %pip install something

# COMMAND ----------

import dlt

@dlt.table
def orders():
    return spark.range(1)

# COMMAND ----------

# MAGIC %sql
# MAGIC CREATE OR REFRESH MATERIALIZED VIEW counted
# MAGIC AS SELECT count(*) AS n
# MAGIC
# MAGIC FROM orders

# COMMAND ----------

# MAGIC %sql CREATE STREAMING TABLE later
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Databricks notebook source\nx = 1", True),
        ("\ufeff-- Databricks notebook source\n", True),
        ("# Databricks notebook source", True),
        ("x = 1\n# Databricks notebook source", False),
        ("", False),
    ],
)
def test_a_notebook_is_known_by_its_first_line(text, expected):
    assert is_notebook(text) is expected


def test_sql_cells_of_a_python_notebook_are_found_with_their_lines():
    assert [cell for cell in cells("PYTHON", NOTEBOOK) if cell.language == "SQL"] == [
        Cell(
            "SQL",
            "\nCREATE OR REFRESH MATERIALIZED VIEW counted\nAS SELECT count(*) AS n\n\nFROM orders",
            21,
        ),
        Cell("SQL", "CREATE STREAMING TABLE later", 29),
    ]


def test_a_python_notebook_declares_in_python_and_sql(project):
    project.write("transformations/n.py", NOTEBOOK)
    found = project.load()
    assert [(d.name, str(d.location)) for d in found.datasets] == [
        ("orders", "transformations/n.py:15"),
        ("counted", "transformations/n.py:22"),
        ("later", "transformations/n.py:29"),
    ]
    assert found.flows[1].query.text == "SELECT count(*) AS n\n\nFROM orders"
    assert str(found.flows[1].query.location) == "transformations/n.py:23"


def test_a_sql_notebook_declares_its_cells_whether_or_not_they_end_with_a_semicolon(project):
    project.write(
        "transformations/n.sql",
        """
        -- Databricks notebook source
        -- DBTITLE 1,Bronze; raw
        CREATE OR REFRESH STREAMING LIVE TABLE bronze
        AS SELECT * FROM cloud_files("/landing", "json", map("cloudFiles.inferColumnTypes", "true"))

        -- COMMAND ----------

        -- MAGIC %md
        -- MAGIC ## Silver; it's clean

        -- COMMAND ----------

        CREATE OR REFRESH LIVE TABLE silver AS SELECT * FROM LIVE.bronze;

        -- COMMAND ----------

        -- MAGIC %python
        -- MAGIC display(spark.table("silver"))
        """,
    )
    assert [(d.name, d.location.line) for d in project.load().datasets] == [
        ("bronze", 3),
        ("silver", 13),
    ]


@pytest.mark.parametrize(
    ("cell", "remedy"),
    [
        ("# MAGIC %run ./helpers", "finds no notebook"),
        ("# MAGIC %run", "finds no notebook"),
        ("# MAGIC %run ./n", "circle"),
        ("# MAGIC %scala\n# MAGIC @dp.table", "move it to a Python file"),
        ("%r\nimport dlt", "move it to a Python file"),
    ],
)
def test_a_cell_that_would_be_lost_is_refused_with_a_remedy(project, cell, remedy):
    text = f"# Databricks notebook source\n\n# COMMAND ----------\n\n{cell}\n"
    error = project.write("transformations/n.py", text).refused()
    assert remedy in str(error)
    assert error.condition == "UNSUPPORTED_NOTEBOOK_MAGIC"
    assert str(error.location) == "transformations/n.py:5"


@pytest.mark.parametrize(
    "magic",
    [
        "%pip install somelib",
        "%pip install a \\\n  b",
        "# MAGIC %pip install a\n# MAGIC %pip install b",
        "!pip install somelib",
        "%load_ext autoreload\n%autoreload 2",
        "%sh\nls -l",
        "# MAGIC %md\n# MAGIC text",
        "%md\nthis is no code",
        "%restart_python",
    ],
)
def test_cells_that_say_nothing_about_the_pipeline_are_passed_over(project, magic):
    mark = "\n\n# COMMAND ----------\n\n"
    code = "import dlt\n@dlt.table\ndef a():\n    return spark.range(3)\n"
    text = f"# Databricks notebook source\n{magic}{mark}{code}"
    (dataset,) = project.write("transformations/n.py", text).load().datasets
    assert dataset.location.line == text.count("\n", 0, text.index("@dlt")) + 1


def test_code_behind_an_installed_package_in_the_same_cell_runs(project):
    text = "# Databricks notebook source\n%pip install x\nimport dlt\ndlt.create_streaming_table('a')\n"
    assert project.write("transformations/n.py", text).load().datasets[0].location.line == 4


def test_a_notebook_is_the_main_module_and_another_file_is_not(project):
    guarded = "import dlt\nif __name__ == '__main__':\n    dlt.create_streaming_table('{}')\n"
    project.write("transformations/n.py", "# Databricks notebook source\n" + guarded.format("a"))
    project.write("transformations/f.py", guarded.format("b"))
    assert [dataset.name for dataset in project.load().datasets] == ["a"]


def test_an_included_notebook_shares_names_and_widgets_with_the_one_that_includes_it(project):
    project.write(
        "lib/shared.py",
        "# Databricks notebook source\nPREFIX = dbutils.widgets.get('prefix')\n"
        "# COMMAND ----------\n# MAGIC %sql CREATE STREAMING TABLE from_sql\n",
    )
    project.write(
        "transformations/n.py",
        '# Databricks notebook source\n# MAGIC %run ../lib/shared $prefix="p"\n'
        "# COMMAND ----------\nimport dlt\ndlt.create_streaming_table(PREFIX + '_a')\n",
    )
    assert [(d.name, str(d.location)) for d in project.load().datasets] == [
        ("from_sql", "lib/shared.py:4"),
        ("p_a", "transformations/n.py:5"),
    ]


def test_python_cells_of_a_sql_notebook_run(project):
    project.write(
        "transformations/n.sql",
        "-- Databricks notebook source\n-- MAGIC %python\n-- MAGIC import dlt\n"
        "-- MAGIC dlt.create_streaming_table('a')\n-- COMMAND ----------\n"
        "CREATE STREAMING TABLE b;\n",
    )
    assert [(d.name, d.location.line) for d in project.load().datasets] == [("a", 4), ("b", 6)]


CODE = ["import dlt\n", "@dlt.table\n", "def a():\n", "    return spark.range(1)"]
JUPYTER = {
    "cells": [
        {"cell_type": "markdown", "source": ["# import dlt\n"]},
        {"cell_type": "code", "source": ["%pip install x"]},
        {"cell_type": "code", "source": CODE, "outputs": []},
        {"cell_type": "code", "source": ["%%sql\n", "CREATE STREAMING TABLE b"]},
    ],
    "metadata": {"language_info": {"name": "python"}},
    "nbformat": 4,
}


@pytest.mark.parametrize("indent", [1, None])
def test_a_jupyter_notebook_declares_what_its_cells_declare(project, indent):
    text = json.dumps(JUPYTER, indent=indent)
    datasets = project.write("transformations/n.ipynb", text).load().datasets
    assert [dataset.name for dataset in datasets] == ["a", "b"]
    if indent:
        lines = text.split("\n")
        assert ["@dlt.table" in lines[datasets[0].location.line - 1]] == [True]
        assert ["CREATE" in lines[datasets[1].location.line - 1]] == [True]


def test_a_function_of_a_jupyter_notebook_has_its_source(project):
    project.write("transformations/n.ipynb", json.dumps(JUPYTER, indent=1))
    query = project.load().flows[0].query
    assert inspect.getsource(inspect.unwrap(query)) == "".join(CODE[1:]) + "\n"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"cells": 1}', "3"])
def test_what_is_not_a_jupyter_notebook_is_refused(project, text):
    with pytest.raises(ValueError):
        jupyter_cells(text)
    error = project.write("transformations/n.ipynb", text).refused()
    assert "is not a Jupyter notebook" in str(error)


def test_a_syntax_error_in_a_sql_cell_names_the_notebooks_line(project):
    project.write("transformations/n.py", NOTEBOOK.replace("AS SELECT", "AS SLECT"))
    assert str(project.refused().location) == "transformations/n.py:23"
