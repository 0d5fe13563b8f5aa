# make demo          a site and a worker on SQLite, until Ctrl-C; PORT=8000; ONCE=1 checks the results and ends
# make test          the whole suite, with the servers that this machine has; chance falls the same way each time
# make explore       what throws dice, with new seeds until something fails or MINUTES=5 are over
# make test-faults   the fault tests at their full length
# make lint          ruff and mypy
# make bench         the benchmarks; BENCH=folder of the shared bench also compares taskq with its peers
# make docs          the documentation as HTML

PYTHON ?= python3
VENV   ?= .venv
# Celery and Flower as their users have them, for the tests that have them work against a worker.
CELERY ?= .venv-celery
PYTEST_ARGS ?= -n 2 --dist worksteal
MINUTES ?= 5

BIN = $(VENV)/bin
# Stamps: what is installed is installed again only after a change of pyproject.toml.
RUN = $(VENV)/.stamp-run
DEV = $(VENV)/.stamp-dev
PROGRAMS = $(CELERY)/.stamp

.PHONY: demo test programs explore test-faults lint bench docs

demo: $(RUN)
	$(BIN)/python -m testproject.demo $(if $(ONCE),--once) $(if $(PORT),--port $(PORT))

test: $(DEV) programs
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# Where they can't be installed, the tests that need them are skipped.
programs:
	@$(MAKE) -s $(PROGRAMS) || echo "taskq: no Celery and Flower here; their tests are skipped" >&2

explore: $(DEV)
	$(BIN)/python -m tests.explore --minutes $(MINUTES)

test-faults: $(DEV)
	TASKQ_TEST_FULL=1 $(BIN)/python -m pytest -n 0 --timeout 1800 -m faults

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(DEV)
	$(BIN)/python -m tests.benchmarks.sending
	$(BIN)/python -m tests.benchmarks.start
	$(BIN)/python -m tests.benchmarks.idle
	$(BIN)/python -m tests.benchmarks.recycling
	$(BIN)/python -m tests.benchmarks.backlog
	$(BIN)/python -m tests.benchmarks.endurance costs rounds readers
	$(BIN)/python -m tests.benchmarks.workflows
	$(if $(BENCH),TASKQ_BENCH_PYTHON=$(abspath $(BIN)/python) $(BIN)/python tests/benchmarks/compare.py $(BENCH))

docs: $(DEV)
	$(BIN)/python -m pip install -q -e '.[docs]'
	$(BIN)/python -m taskq.conf > docs/reference/settings.md
	$(BIN)/sphinx-build -W -b html docs docs/_build/html

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUN): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	touch $@

# The database clients are installed one by one: where one can't be, its tests are skipped.
$(DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@for extra in postgres mysql; do \
	    $(BIN)/python -m pip install -q --disable-pip-version-check -e ".[$$extra]" \
	        || echo "taskq: no client for $$extra here; its tests are skipped" >&2; \
	done
	touch $(RUN) $@

$(PROGRAMS): Makefile | $(BIN)/python
	$(PYTHON) -m venv --without-pip $(CELERY)
	$(BIN)/python -m pip --python $(CELERY)/bin/python install -q --no-compile --disable-pip-version-check \
	    'celery[redis]==5.7.*' 'flower==2.2.*'
	touch $@
