# The two commands of the README, and the linters. Each makes .venv when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint docs site tutorial clean

demo: $(STAMP)
	$(BIN)/ebsdarchive demo

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages that are generated, and then all of them, in build/docs.
docs: $(STAMP)
	$(BIN)/python -m ebsdarchive.schema > docs/format-1.1.md
	$(BIN)/python -m ebsdarchive.exchange.interoperability > docs/formats.md
	$(MAKE) site

# The pages as they are, which CI builds, so that tests see what is out of date; warnings are errors.
site: $(STAMP)
	$(BIN)/python -m sphinx -b html -E -q -W --keep-going -n docs build/docs

# Runs the tutorial, and puts its output and pictures into the page.
tutorial: $(STAMP)
	$(BIN)/python docs/remake_tutorial.py

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test,lint,docs,benchmark]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info
