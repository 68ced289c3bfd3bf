# Everything a checkout is asked to do. `make` alone says what there is.
PYTHON ?= python3
BIN := .venv/bin
BENCH := .venv-bench/bin
STAMP := .venv/.installed
# The demo needs a third of what development does; where that is installed, nothing more is.
DEMO := $(if $(wildcard $(STAMP)),.venv,.venv-demo)
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11) and "fraudstream needs Python 3.11 or newer: make PYTHON=python3.12 ...")
PATHS := fraudstream stream features models shadow guards metrics benchmarks tests deploy docs examples clients hatch_build.py
# One process more than cores: tests of the whole wait for other processes half of their time. Unit tests wait for
# nothing, and each process collects all of them first.
# LightGBM's threads wait without spinning: beside other tests that took eight times as long.
PYTEST := OMP_WAIT_POLICY=passive $(BIN)/pytest -n 3 --dist worksteal --durations=25
UNIT := $(BIN)/pytest -n logical --dist worksteal --durations=25
COMPILE := $(BIN)/uv pip compile -q --universal --no-emit-package fraudstream-client -c requirements/constraints.in --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint unit integration acceptance bench compose-check docs dist parts lock clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name what; do printf '  make %-14s %s\n' "$$name" "$$what"; done

setup: $(STAMP)  ## virtual environment in .venv with the locked dependencies, fraudstream itself editable

$(STAMP): requirements/dev.txt pyproject.toml clients/python/pyproject.toml hatch_build.py $(wildcard features/vector/*.[ch] models/*.[ch])
	@$(PYTHON) -c '$(NEW_ENOUGH)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e clients/python -e .
	@touch $@

demo: $(DEMO)/.installed  ## the main job on simulated cards, here, without Docker or Java: about three minutes
	$(DEMO)/bin/fraudstream demo

.venv-demo/.installed: requirements/demo.txt requirements/editable.txt pyproject.toml clients/python/pyproject.toml hatch_build.py
	@echo 'The demo lets simulated cards pay by a Kafka-compatible broker, a Redis and workers of its own, on this machine:'
	@echo 'a model is promoted in mid-stream, rolled back, and a bad one is ended by its guard; each payment is checked.'
	@echo 'First it installs what it needs in .venv-demo (420 MB, about a minute), then it takes two to three minutes.'
	@$(PYTHON) -c '$(NEW_ENOUGH)'
	@test -x .venv-demo/bin/python || $(PYTHON) -m venv .venv-demo
	@.venv-demo/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes -r requirements/demo.txt
	@.venv-demo/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes -r requirements/editable.txt
	@.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e clients/python -e .
	@touch $@

test: lint  ## lint, types, import contracts, and all tests except the long ones: about 12 minutes on two cores
	$(PYTEST) -m "not acceptance"

lint: setup  ## ruff, formatting, the import contracts, and mypy (alone: `make types`)
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory types

types: setup
	$(BIN)/mypy
	$(BIN)/mypy deploy
	$(BIN)/mypy examples/python

unit: setup  ## the tests that need no server: about 3 minutes on two cores
	$(UNIT) -m "not integration and not acceptance" tests/unit tests/contract

integration: setup  ## the tests on Kafka and Redis, except the long ones
	$(PYTEST) -m "integration and not acceptance"

acceptance: setup  ## the long tests: full sizes, all examples, the oldest and newest servers; 75 minutes on two cores
	FRAUDSTREAM_TEST_SIZE=full $(PYTEST) --hypothesis-profile thorough -m "acceptance or full_size or property"

compose-check: setup dist  ## the stack of deploy/ in containers, used, hurt and taken down; needs a Docker engine
	$(BIN)/python -m deploy.check

bench: .venv-bench/.installed  ## fraudstream beside what users would write instead, on your Kafka and Redis: about an hour
	@test -n "$(MODEL)" || { echo "make bench MODEL=DIGEST; $(BENCH)/python -m benchmarks.contenders model makes one"; exit 2; }
	@mkdir -p build
	$(BENCH)/python -m benchmarks.contenders run --model $(MODEL) --json build/contenders.json

.venv-bench/.installed: requirements/bench.txt pyproject.toml clients/python/pyproject.toml
	@test -x $(BENCH)/python || $(PYTHON) -m venv .venv-bench
	$(BENCH)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	$(BENCH)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e clients/python -e .
	@touch $@

docs: setup  ## the documentation as a site in build/docs, warnings as errors
	@test requirements/docs.txt -ot .venv/.docs || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	@touch .venv/.docs
	$(BIN)/python -m sphinx --quiet --nitpicky --fail-on-warning --keep-going docs build/docs

lock: setup  ## renew requirements/*.txt from pyproject.toml
	$(COMPILE) -o requirements/worker.txt --extra signing pyproject.toml
	$(COMPILE) -o requirements/demo.txt --extra demo --extra signing -c requirements/worker.txt pyproject.toml
	$(COMPILE) -o requirements/dev.txt --extra aws --extra demo --extra report --extra search --extra signing --group dev -c requirements/demo.txt pyproject.toml requirements/tools.in
	$(COMPILE) -o requirements/build.txt -c requirements/dev.txt requirements/build.in
	$(COMPILE) -o requirements/editable.txt -c requirements/dev.txt requirements/editable.in
	$(COMPILE) -o requirements/docs.txt --group docs -c requirements/dev.txt
	$(COMPILE) -o requirements/parts.txt requirements/parts.in
	$(COMPILE) -o requirements/bench.txt --extra train --extra report --group bench -c requirements/demo.txt pyproject.toml requirements/tools.in

dist: setup .venv-dist/.installed  ## a release in dist/: wheels, sdists, lists with hashes, sums, and provenance
	$(BIN)/python deploy/dist.py --python .venv-dist/bin/python

.venv-dist/.installed: requirements/build.txt
	@test -x .venv-dist/bin/python || $(PYTHON) -m venv .venv-dist
	.venv-dist/bin/pip install --disable-pip-version-check --quiet --require-hashes -r requirements/build.txt
	@touch $@

parts: setup .venv-parts/.installed  ## bills of materials, licences and known vulnerabilities of what is shipped
	.venv-parts/bin/python deploy/parts.py

.venv-parts/.installed: requirements/parts.txt
	$(PYTHON) -m venv .venv-parts
	.venv-parts/bin/pip install --disable-pip-version-check --quiet --require-hashes -r requirements/parts.txt
	@touch $@

clean:  ## remove what was built here, .venv included
	rm -rf .venv .venv-bench .venv-demo .venv-dist .venv-parts .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
