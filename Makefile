# Thin names for groundplan's commands. Needs python3 (3.11 or newer) and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GROUNDPLAN := $(BIN)/groundplan

# `make review` shows every stack; `groundplan review --stack prod --against origin/main` what a change does.
.PHONY: help up down status test unit review lint lock pipeline calls docs drill pulumi engine frameworks bench clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

# Every package is held to its hash, and nothing is resolved: the lock is complete. uv installs in parallel; where there is no uv for a
# machine, or it can't reach what pip can, pip does it. uv knows nothing of pip's configuration, so its index is told.
INDEX = $(or $(UV_DEFAULT_INDEX),$(PIP_INDEX_URL),$(shell $(BIN)/python -m pip config get global.index-url 2>/dev/null))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
define install
@( n=0; while sleep 10 >/dev/null 2>&1; do n=$$((n + 10)); echo "  still installing after $$n s"; done ) & shown=$$!; trap "kill $$shown" EXIT; \
	UV_NATIVE_TLS=1 UV_NO_PROGRESS=1 $(if $(INDEX),UV_DEFAULT_INDEX=$(INDEX)) \
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r $(1) 2>/dev/null \
	|| $(PIP) --require-hashes --no-deps -r $(1)
endef

$(VENV)/.installed: requirements.lock requirements-tools.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "groundplan needs Python 3.11 or newer, found " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12 up")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked packages into $(VENV) (once; 2 GB, a minute or a few)"
	@$(PIP) --require-hashes --no-deps -r requirements-tools.lock || true
	$(call install,requirements.lock)
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.lock
	$(call install,requirements-test.lock)
	@touch $@

up: $(VENV)/.installed ## start the whole platform on this machine
	@$(GROUNDPLAN) up

down: ## stop every process of it
	@if [ -x $(GROUNDPLAN) ]; then $(GROUNDPLAN) down; else echo "nothing was running"; fi

status: $(VENV)/.installed ## what runs where, what was made
	@$(GROUNDPLAN) status

test: lint ## formatter, linter, types, unit, integration and end-to-end tests
	@$(BIN)/python -m pytest tests/unit tests/review -n 2
	@$(BIN)/python -m pytest tests/e2e tests/integration -n 2 --dist loadfile --no-loadscope-reorder

unit: $(VENV)/.installed-test ## the fast tests, while you write
	@$(BIN)/python -m pytest tests/unit -m "not slow and not drill and not engine and not frameworks" -n 2

review: $(VENV)/.installed ## policies, permissions and cost of every stack
	@for stack in $$(ls stacks | sed -n 's/^Pulumi\.\(.*\)\.yaml$$/\1/p'); do $(GROUNDPLAN) review --stack $$stack || exit $$?; done

lint: $(VENV)/.installed-test ## formatter, linter and type checker
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary

drill: $(VENV)/.installed-test ## slow: kills at random, every stack brought up, second versions; each night
	@$(BIN)/python -m pytest tests -m drill

pulumi: $(VENV)/.installed-test ## builds the Pulumi CLI from its Go modules, where there is none (needs Go; ten minutes, once)
	@$(BIN)/python -m tests.engine.build_cli

engine: $(VENV)/.installed-test ## every stack by the Pulumi CLI (found on the PATH, or made by `make pulumi`), on the local cloud
	@PATH="$(CURDIR)/.groundplan/pulumi/bin:$$PATH"; if command -v pulumi >/dev/null; then $(BIN)/python -m pytest tests/engine -m engine -rs -n 2 --dist loadfile; \
		else echo "skipped: the Pulumi CLI is not on the PATH; \`make pulumi\` builds one where Go is"; fi

frameworks: $(VENV)/.installed-test ## scripts with PyTorch, Keras, TensorFlow and CatBoost, which are installed for them (gigabytes)
	@$(BIN)/python -m pytest tests/frameworks -m frameworks

bench: $(VENV)/.installed-test ## measurements, as ratios against a peer in the same run
	@$(BIN)/python -m bench

pipeline: $(VENV)/.installed ## compile the steps into infra/build/pipeline.json
	@$(BIN)/python -W ignore -m pipelines.steps.workflow > infra/build/pipeline.json.new && mv infra/build/pipeline.json.new infra/build/pipeline.json

calls: $(VENV)/.installed-test ## record anew what the platform calls of AWS (groundplan/review/permissions/calls.json), from the end-to-end tests; half an hour
	@rm -f groundplan/review/permissions/calls.json && RECORD_CALLS_INTO="$(CURDIR)" $(BIN)/python -m pytest tests/e2e/test_platform.py tests/e2e/test_flights.py -m "drill or not drill"

docs: $(VENV)/.installed-test ## what a command makes: the schema for editors, the pages of commands, objectives, data, controls, permissions and resource types, the names of resources
	@$(GROUNDPLAN) schema > stacks/objectives.schema.json.new && mv stacks/objectives.schema.json.new stacks/objectives.schema.json
	@$(GROUNDPLAN) contract catalogue > docs/data.md.new && mv docs/data.md.new docs/data.md
	@$(BIN)/python -m groundplan.cli.reference > docs/commands.md.new && mv docs/commands.md.new docs/commands.md
	@$(BIN)/python -m spec.objectives.reference > docs/objectives.md.new && mv docs/objectives.md.new docs/objectives.md
	@$(BIN)/python -m policies.catalogue > docs/controls.md.new && mv docs/controls.md.new docs/controls.md
	@$(BIN)/python -m groundplan.review.permissions.report > docs/permissions.md.new && mv docs/permissions.md.new docs/permissions.md
	@$(BIN)/python -m groundplan.local.moto.table > docs/resource-types.md.new && mv docs/resource-types.md.new docs/resource-types.md
	@$(BIN)/python -m tests.resource_names

# Needs uv (https://docs.astral.sh/uv/) on the PATH.
lock: ## resolve the dependencies anew
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --extra test pyproject.toml --output-file requirements-test.lock
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --constraint requirements-test.lock pyproject.toml --output-file requirements.lock
	@printf 'uv>=0.9 # installs the rest\npytest # runs the tests of a company%%s repository\n' "'s" | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --constraint requirements-test.lock - --output-file requirements-tools.lock

clean: down ## remove what was installed and all local state
	@rm -rf $(VENV) .groundplan rendered
