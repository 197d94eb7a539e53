# Every target bootstraps .venv by itself: Python 3.11+ and make are all a machine needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help demo test check bench docs clean

help:
	@echo "make demo    two regions, real flights, one region lost, equality proven"
	@echo "make test    the default test suite"
	@echo "make check   lint, types, import contracts, size ceilings"
	@echo "make bench   measurements, side by side with peers"
	@echo "make docs    regenerate the reference pages from the code"

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[demo,server]" --group dev
	@touch $@

demo: $(VENV)/.ready
	$(BIN)/proa demo

test: $(VENV)/.ready
	$(BIN)/pytest

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/size.py

bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks $(BENCH)

docs: $(VENV)/.ready
	$(BIN)/python tools/reference.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist
