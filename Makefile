# `make demo` and `make test` set up everything they need in .venv; they need only make and Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint types check docs clean help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "gigaexec needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Choose another with: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]' --group dev --group docs
	@touch $(STAMP)

demo: $(STAMP) ## evaluate an example problem
	@$(BIN)/gigaexec evaluate examples/heilbronn --timeout 12

lint: $(STAMP) ## check the format, and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP) ## check types, strictly
	$(BIN)/mypy

check: $(STAMP) ## run the tests only
	$(BIN)/pytest -n auto

docs: $(STAMP) ## build the documentation site in build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

test: lint types docs check ## run all checks

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
