# The one door. `make help` lists the targets.
#
#     make build cu121        lock if needed, render, build, prove
#     make test               the tests of the tool itself
#     make test cu121         the checks of a built image again

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
CUVEE := .venv/bin/cuvee

# `make build cu121`: what follows one of these words is its list of rows, not further targets.
WITH_ROWS := list lock render build test repro clean bench
ifneq ($(filter $(firstword $(MAKECMDGOALS)),$(WITH_ROWS)),)
  ROWS := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
  ifneq ($(ROWS),)
    .PHONY: $(ROWS)
    $(eval $(ROWS):;@:)
  endif
endif

.PHONY: engine-tests help setup list lock render build test repro clean check ci-check format bench engine engine-stop requirements

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Rows: $$(sed -n '/^rows:/,$$ s/^  \([a-z0-9-]*\):.*/\1/p' matrix.yaml | paste -sd' ')"

setup: .venv/.ready ## Make .venv with cuvee and all it needs, from hash-locked requirements

# One at a time: two makes in parallel would clear the folder under each other.
.venv/.ready: requirements-dev.txt pyproject.toml
	@PYTHON="$(PYTHON)" flock .ci/setup bash .ci/setup

list: setup ## Show the rows, their locks and their evidence
	@$(CUVEE) list $(ROWS)

lock: setup ## Resolve rows as of their day, and read new wheels' facts: make lock [ROW]...
	@$(CUVEE) lock $(ROWS)
	@$(CUVEE) facts $(ROWS)

render: setup ## Write the Dockerfiles: make render [ROW]...
	@$(CUVEE) render $(ROWS)

build: named setup ## Lock if needed, render, build and prove, with Docker or without: make build ROW...
	@$(CUVEE) build $(ROWS)

.PHONY: named
named:
	@test -n "$(ROWS)" || { echo "say which row: make build cu121 (make list shows them)" >&2; exit 3; }

repro: named setup ## Build twice from scratch without Docker, and see that both are the recorded image
	@$(CUVEE) repro $(ROWS)

engine-tests: setup engine ## Tests against a private Docker engine, a registry, and tools that are not ours
	@.venv/bin/pytest tests/engine

ifneq ($(ROWS),)
test: setup
	@$(CUVEE) test $(ROWS)
else
test: setup ## The tests of the tool; with rows, the checks of their images: make test [ROW]...
	@.venv/bin/pytest
endif

check: setup ## Lint, types, and that everything generated is up to date
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@$(CUVEE) lock --check
	@$(CUVEE) facts --check
	@$(CUVEE) check
	@$(CUVEE) survey --check
	@$(CUVEE) survey --check --base trixie --python 3.11
	@$(CUVEE) render --check

ci-check: ## Check the workflows of .github with zizmor, actionlint and shellcheck
	@PYTHON="$(PYTHON)" bash .ci/workflows

format: setup ## Format the code
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

bench: setup engine ## Measure the same lock built in several ways, and hold it against the limits: make bench [ROW]
	@failed=0; for part in dockerfile direct launcher; do .venv/bin/python -m tests.bench.$$part $(ROWS) || failed=1; done; exit $$failed

engine: setup ## Start a private Docker engine if no engine answers
	@$(CUVEE) engine start

engine-stop: setup ## End the private engine
	@$(CUVEE) engine stop

clean: setup ## Delete images: make clean [ROW]...
	@$(CUVEE) clean $(ROWS)

requirements: setup ## Lock the tool's own requirements again
	@.venv/bin/uv pip compile pyproject.toml --group dev --python-version 3.11 --universal --generate-hashes \
	    --no-header --no-annotate --quiet --upgrade --output-file requirements-dev.txt
