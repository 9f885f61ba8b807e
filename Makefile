# Everything a developer does; each target sets up what it needs in .venv first.

PYTHON ?= $(shell for p in python3.13 python3.14 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)
UV := $(shell command -v uv 2>/dev/null)
BIN := .venv/bin
PIP := $(if $(UV),VIRTUAL_ENV=.venv $(UV) pip,$(BIN)/python -m pip --disable-pip-version-check)
XDIST ?= 2
# The versions that development happens with; `make VERSIONS= test` takes the newest.
VERSIONS ?= requirements.lock
SERVERS ?= 15 16 17
ON_SERVERS ?= tests/postgres/test_queries.py tests/sql/test_effects.py \
	tests/catalog/test_models.py tests/postgres/test_pooler.py \
	tests/backup/test_contents.py tests/migrate/test_migrate.py \
	tests/health tests/test_reset.py tests/stats/test_stats.py

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/.demo ## Set up everything and run leadctl on the embedded PostgreSQL
	$(BIN)/leadctl migrate
	$(BIN)/leadctl seed
	$(BIN)/leadctl stats
	$(BIN)/leadctl health-check

.PHONY: test
test: .venv/.test ## Run the tests that a change wants at once: under five minutes on two cores
	$(BIN)/pytest -n $(XDIST) -m "not slow and not thorough"

.PHONY: test-full
test-full: .venv/.test ## Run those and the thorough ones, as continuous integration does
	$(BIN)/pytest -n $(XDIST) -m "not slow"

.PHONY: test-servers
test-servers: .venv/.matrix ## Run what depends on the server on PostgreSQL 15, 16 and 17
	for major in $(SERVERS); do \
		LEADCTL_TEST_POSTGRES=$$major $(BIN)/pytest -n $(XDIST) -m "not slow" $(ON_SERVERS) \
		|| exit 1; done

.PHONY: test-all
test-all: test-full ## Run all tests, the slow ones too, and everything on every supported server
	$(BIN)/pytest -n $(XDIST) -m slow
	$(MAKE) test-servers ON_SERVERS=tests

.PHONY: check
check: .venv/.check ## Check format, lint, types and the import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

.PHONY: package
package: .venv/.package ## Build sdist and wheel into dist/, and check what is in them
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*
	$(BIN)/pytest -m "slow or not slow" tests/packages/test_wheel.py

.PHONY: lock
lock: .venv/.matrix .venv/.check .venv/.package ## Write the installed versions into requirements.lock
	{ sed '/^[^#]/d' requirements.lock; $(PIP) freeze --exclude-editable; } > requirements.new
	mv requirements.new requirements.lock

.PHONY: bench
bench: .venv/.test ## Measure the commands beside their peers; BENCH=--quick takes a minute
	$(BIN)/python -m benchmarks $(BENCH)

.PHONY: clean
clean: ## Remove what the other targets made; the embedded database, too
	if [ -x $(BIN)/leadctl ] && [ -d .leadctl ]; then $(BIN)/leadctl db destroy --yes; fi
	rm -rf .venv .cache dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "leadctl needs Python 3.11 or newer." >&2; exit 1; }
	$(if $(UV),$(UV) venv --quiet --python $(PYTHON) .venv,$(PYTHON) -m venv .venv)
	$(if $(UV),,$(PIP) install --quiet --upgrade 'pip>=25.1')  # the first that knows groups

NO_BARMAN := Barman is not installed: its psycopg2 is built with a compiler and pg_config. Tests of point in time are skipped.
# One stamp a set of packages: made again when what they are changes.
.venv/.demo: EXTRAS = embedded,apps
.venv/.test .venv/.check .venv/.matrix: EXTRAS = all
.venv/.test: GROUPS = test cloud
.venv/.check: GROUPS = test cloud check
.venv/.matrix: GROUPS = test cloud matrix
.venv/.package: GROUPS = test package
.venv/.package: EXTRAS = all
.venv/.demo .venv/.test .venv/.check .venv/.matrix .venv/.package: .venv/bin/python pyproject.toml $(VERSIONS)
	$(PIP) install --quiet --editable '.[$(EXTRAS)]' $(addprefix --group ,$(GROUPS)) \
		$(addprefix --constraint ,$(VERSIONS))
	$(if $(filter %.test %.matrix,$@),$(PIP) install --quiet --group pitr \
		$(addprefix --constraint ,$(VERSIONS)) || echo "$(NO_BARMAN)")
	$(if $(filter %.matrix,$@),tests/get_servers.sh)
	touch $@
