# make sweep      set-up, then conf/beta.yaml from training to tables     (STUDY=conf/models.yaml for another)
# make test       set-up, then the tests
# make test-slow  set-up, then the tests that take long (make test-all: both, for which libraries are imported once)
# make calibrate  set-up, then every metric and estimator against exact answers
# make gpu        set-up with pythae, then everything that is measured on a GPU
# make lint       set-up, then ruff and mypy
# make check      lint, all tests, and the committed tables against their records: before every commit
#
# Set-up makes .venv once, and again when pyproject.toml or constraints.txt change. The README has the same in plain pip.

PYTHON ?= python3
STUDY ?= conf/beta.yaml
RUN := .venv/bin/python -m
PYTEST := $(RUN) pytest -n auto --maxprocesses 4 --dist worksteal
PIP := $(RUN) pip install -qq --disable-pip-version-check --progress-bar off

# Most files of the libraries are never imported, so pip does not compile them (that is more than half of its time);
# Python compiles each at its first import and keeps the outcome, even where the environment says not to.
PIP += --no-compile
export PYTHONDONTWRITEBYTECODE :=

.PHONY: sweep test test-slow test-all calibrate gpu lint format check table clean

sweep: .venv/ready
	$(RUN) vaebench sweep $(STUDY)

test: .venv/ready
	$(PYTEST)

test-slow: .venv/ready
	$(PYTEST) -m slow --timeout 600

test-all: .venv/ready
	$(PYTEST) -m 'slow or not slow' --timeout 600

calibrate: .venv/ready
	$(RUN) vaebench calibrate

gpu: .venv/ready
	$(PIP) -c constraints.txt -e '.[peers]'
	.venv/bin/python benchmarks/gpu.py

lint: .venv/linters
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

format: .venv/linters
	$(RUN) ruff check --fix-only --quiet .
	$(RUN) ruff format .

table: .venv/ready
	$(RUN) vaebench table --check
	$(RUN) vaebench report --check
	$(RUN) vaebench ledger --check

check: lint table test-all

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/ready: pyproject.toml constraints.txt
	@echo 'Set-up of .venv: a minute or two, more than 1 GB (several with CUDA)'
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip
	$(PIP) -c constraints.txt -e '.[test]'
	@touch $@

.venv/linters: .venv/ready
	$(PIP) -c constraints.txt -e '.[lint]'
	@touch $@
