# One word per job; `make help` lists them.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
MANIFEST := dbt_features/target/manifest.json
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX),)
DBT_SOURCES := $(shell find dbt_features -not -path '*/target*' -not -path '*/logs*' \
	\( -name '*.sql' -o -name '*.yml' \) 2>/dev/null)

.PHONY: run test up lint bench clean reset help graph
.DEFAULT_GOAL := help

run: $(STAMP) $(MANIFEST) ## materialize what is missing or stale and print the signal (FRESH=1 rebuilds)
	@$(BIN)/spy run $(if $(FRESH),--fresh,) $(RUN_ARGS)

test: $(DEV_STAMP) $(MANIFEST) ## run the whole test suite
	@$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(TEST_ARGS)

up: $(STAMP) $(MANIFEST) ## start the Dagster UI and daemon and the MLflow UI; Ctrl-C stops them
	@$(BIN)/spy up

lint: $(DEV_STAMP) ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV_STAMP) $(MANIFEST) ## run the benchmarks, each beside a peer
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

graph: $(DEV_STAMP) $(MANIFEST) ## draw the asset graph into docs/asset-graph.svg
	@$(BIN)/python -m spy_assets.defs.picture docs/asset-graph.svg

clean: ## remove the environment, caches and built files, keep the data
	rm -rf $(VENV) dbt_features/target dbt_features/logs .pytest_cache .mypy_cache .ruff_cache \
		.hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

reset: ## remove all data under SPY_HOME: every profile, halts too, MLflow's runs and models
	@test -z "$$SPY_CATALOGUE" || for root in "$${SPY_HOME:-.}"/.spy/*/; do \
		test ! -d "$$root" || $(BIN)/spy --profile "$$(basename "$$root")" reset --yes || exit; \
	done
	rm -rf "$${SPY_HOME:-.}/.spy"
	! test -d "$${SPY_HOME:-.}/mlruns" || find "$${SPY_HOME:-.}/mlruns" -mindepth 1 -not -name README.md -delete

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 13) else f"Python 3.11 or 3.12 is needed, found {sys.version.split()[0]}: make PYTHON=python3.11 run")'
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) (some minutes the first time)"
	$(PIP_INSTALL) -q -e .
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt $(STAMP)
	$(PIP_INSTALL) -q -e '.[dev]'
	@# An oracle of the tests asks for an old peewee, which it never calls and yfinance has newer.
	$(PIP_INSTALL) -q --no-deps empyrical-reloaded
	@touch $@

$(MANIFEST): $(DBT_SOURCES) | $(STAMP)
	@$(BIN)/python -m spy_assets.warehouse.dbt_sql prepare
