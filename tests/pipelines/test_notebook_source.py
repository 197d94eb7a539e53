"""Notebooks exported to source files declare what their cells declare."""

from __future__ import annotations

import pytest

from proa.errors import PipelineError
from proa.pipelines.notebook_source import SqlCell, is_notebook, sql_cells

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
    assert sql_cells(NOTEBOOK, "n.py") == (
        SqlCell(
            "\nCREATE OR REFRESH MATERIALIZED VIEW counted\nAS SELECT count(*) AS n\n\nFROM orders",
            21,
        ),
        SqlCell("CREATE STREAMING TABLE later", 29),
    )


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
        ("# MAGIC %run ./helpers", "import it"),
        ("# MAGIC %python\n# MAGIC import dlt\n# MAGIC @dlt.table", "move it to a Python file"),
        ("-- MAGIC %scala\n-- MAGIC @dp.table", "move it to a Python file"),
    ],
)
def test_a_cell_that_would_be_lost_is_refused_with_a_remedy(cell, remedy):
    with pytest.raises(PipelineError, match=remedy) as caught:
        sql_cells(f"# Databricks notebook source\n\n# COMMAND ----------\n\n{cell}\n", "n.py")
    assert caught.value.condition == "UNSUPPORTED_NOTEBOOK_MAGIC"
    assert str(caught.value.location) == "n.py:5"


def test_a_syntax_error_in_a_sql_cell_names_the_notebooks_line(project):
    project.write("transformations/n.py", NOTEBOOK.replace("AS SELECT", "AS SLECT"))
    assert str(project.refused().location) == "transformations/n.py:23"
