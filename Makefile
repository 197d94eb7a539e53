# Every target bootstraps .venv by itself: Python 3.11+ and make are all a machine needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help demo test test-slow test-all test-spark test-spark-s3 test-spark-versions test-pythons check tree bench parity docs clean

help:
	@echo "make demo      two regions, real flights, one region lost, equality proven"
	@echo "make test      the fast tests, about two minutes on two cores"
	@echo "make test-all  every test but those on Apache Spark"
	@echo "make test-spark  the same pipelines on Apache Spark (Java 17)"
	@echo "make test-spark-versions  the same numbers on the newer Apache Spark (Java 17)"
	@echo "make test-spark-s3  on a cluster whose files are on S3 (Java 17, a Maven repository)"
	@echo "make test-pythons  a first project on each Python that Proa names and that is here"
	@echo "make check     lint, types, import contracts, sizes and names, the documentation's links"
	@echo "make tree      every module of the package with the first sentence of its header"
	@echo "make bench     measurements, side by side with peers"
	@echo "make parity  the embedded engine and recorded answers of Apache Spark, all of them"
	@echo "make docs      the reference pages and infra/ from the code, then the site in build/site"

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[demo,server]" --group dev --group docs
	@touch $@

demo: $(VENV)/.ready
	$(BIN)/proa demo

test: $(VENV)/.ready
	$(BIN)/pytest -m "not slow"

# A stock Apache Spark, in an environment of its own that has no Proa. Needs Java 17.
SPARK     ?= 4.2.1
NEWER_SPARK ?= 4.3.0
SPARK_TESTS ?= not packages
SPARK_ENV := build/spark-$(SPARK)

$(SPARK_ENV)/.ready:
	$(PYTHON) -m venv $(SPARK_ENV)
	$(SPARK_ENV)/bin/pip install --quiet "pyspark[connect]==$(SPARK)"
	@touch $@

test-spark: $(VENV)/.ready $(SPARK_ENV)/.ready
	PROA_SPARK_ENVIRONMENT=$(abspath $(SPARK_ENV)) $(BIN)/pytest -o addopts="-ra --strict-markers" -m "$(SPARK_TESTS)" tests/spark

test-spark-versions:
	$(MAKE) test-spark SPARK=$(NEWER_SPARK) SPARK_TESTS="versions and not packages"

# Those that Spark itself loads packages for, from a Maven repository: Hadoop's S3 client.
test-spark-s3:
	$(MAKE) test-spark SPARK_TESTS=packages

PYTHONS ?= 3.11 3.12 3.13

test-pythons: $(VENV)/.ready
	$(BIN)/python tools/pythons.py $(PYTHONS)

test-slow: $(VENV)/.ready
	$(BIN)/pytest -m slow

test-all: $(VENV)/.ready
	$(BIN)/pytest

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/shape.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

tree: $(VENV)/.ready
	@$(BIN)/python tools/shape.py --tree

parity: $(VENV)/.ready
	PROA_PARITY=whole $(BIN)/pytest -n 0 tests/engine/test_parity.py tests/engine/test_parity_plans.py tests/engine/test_dataframe_code.py

bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks $(BENCH)

docs: $(VENV)/.ready
	$(BIN)/python tools/reference.py
	$(BIN)/python tools/infra_tree.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open build/site/index.html"

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist
