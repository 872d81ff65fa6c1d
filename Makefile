# Thin names for groundplan's commands. Needs python3 (3.11 or newer) and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GROUNDPLAN := $(BIN)/groundplan

# `make review` reviews every stack; `groundplan review --stack prod --against origin/main` shows what a change does.
.PHONY: help up down status test unit review scan lint lock pipeline calls docs drill pulumi engine frameworks bench bench-peers clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

# Every package is checked against its hash, and nothing is resolved: the lock is complete. uv installs in parallel; where uv is not
# available, or can't reach the index that pip can, pip does it. uv ignores pip's configuration, so it is given pip's index.
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

down: ## stop the platform and all of its processes
	@if [ -x $(GROUNDPLAN) ]; then $(GROUNDPLAN) down; else echo "nothing was running"; fi

status: $(VENV)/.installed ## show what runs where, and what was created
	@$(GROUNDPLAN) status

test: lint ## run the formatter, linter, type checker, and the unit, integration and end-to-end tests
	@$(BIN)/python -m pytest tests/unit tests/review -n 2
	@$(BIN)/python -m pytest tests/e2e tests/integration -n 2 --dist loadfile --no-loadscope-reorder

unit: $(VENV)/.installed-test ## run the fast tests, while you write code
	@$(BIN)/python -m pytest tests/unit -m "not slow and not drill and not engine and not frameworks" -n 2

review: $(VENV)/.installed ## review policies, permissions and cost of every stack
	@for stack in $$(ls stacks | sed -n 's/^Pulumi\.\(.*\)\.yaml$$/\1/p'); do $(GROUNDPLAN) review --stack $$stack || exit $$?; done

lint: $(VENV)/.installed-test ## run the formatter, linter and type checker
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary

scan: $(VENV)/.installed-test ## look for secrets, known vulnerabilities, and weaknesses of the interface for pages
	@$(GROUNDPLAN) scan

# Each process of the schedules has a platform of its own, and mostly waits.
drill: $(VENV)/.installed-test ## run 200 random schedules of faults (SEED=2 for others), and the tests that are slow (nightly in CI)
	@DRILL_SEED=$(or $(SEED),1) $(BIN)/python -m pytest tests/drills -m drill -n 4
	@$(BIN)/python -m pytest tests -m drill --ignore tests/drills

pulumi: $(VENV)/.installed-test ## build the Pulumi CLI and promtool from their Go modules if they are not installed (needs Go; ten minutes, once)
	@$(BIN)/python -m tests.engine.build_cli

engine: $(VENV)/.installed-test ## deploy every stack to the local cloud with the Pulumi CLI (from the PATH, or built by `make pulumi`)
	@PATH="$(CURDIR)/.groundplan/pulumi/bin:$$PATH"; if command -v pulumi >/dev/null; then $(BIN)/python -m pytest tests/engine -m engine -rs -n 2 --dist loadfile; \
		else echo "skipped: the Pulumi CLI is not on the PATH; with Go installed, \`make pulumi\` builds it"; fi

frameworks: $(VENV)/.installed-test ## test scripts that use PyTorch, Keras, TensorFlow and CatBoost (installs them: gigabytes)
	@$(BIN)/python -m pytest tests/frameworks -m frameworks

bench: $(VENV)/.installed-test ## run the benchmarks, as ratios to a peer in the same run
	@$(BIN)/python -m bench

bench-peers: $(VENV)/.installed-test ## the same beside other model servers, each installed into an environment of its own (a gigabyte, once)
	@$(BIN)/python -m bench.peers

pipeline: $(VENV)/.installed ## compile the steps into infra/build/pipeline.json and release.json
	@$(BIN)/python -W ignore -m pipelines.steps.workflow > infra/build/pipeline.json.new && mv infra/build/pipeline.json.new infra/build/pipeline.json
	@$(BIN)/python -W ignore -m pipelines.steps.workflow --release > infra/build/release.json.new && mv infra/build/release.json.new infra/build/release.json

calls: $(VENV)/.installed-test ## record again which AWS APIs the platform calls (groundplan/review/permissions/calls.json), from the end-to-end tests; half an hour
	@rm -f groundplan/review/permissions/calls.json && RECORD_CALLS_INTO="$(CURDIR)" $(BIN)/python -m pytest tests/e2e/test_platform.py tests/e2e/test_flights.py -m "drill or not drill"

docs: $(VENV)/.installed-test ## regenerate the schema for editors, the reference pages (commands, objectives, data, controls, permissions, resource types) and the lists of resource names
	@$(GROUNDPLAN) schema > stacks/objectives.schema.json.new && mv stacks/objectives.schema.json.new stacks/objectives.schema.json
	@$(GROUNDPLAN) contract catalogue > docs/data.md.new && mv docs/data.md.new docs/data.md
	@$(BIN)/python -m groundplan.cli.reference > docs/commands.md.new && mv docs/commands.md.new docs/commands.md
	@$(BIN)/python -m spec.objectives.reference > docs/objectives.md.new && mv docs/objectives.md.new docs/objectives.md
	@$(BIN)/python -m policies.catalogue > docs/controls.md.new && mv docs/controls.md.new docs/controls.md
	@$(BIN)/python -m policies.coverage > docs/coverage.md.new && mv docs/coverage.md.new docs/coverage.md
	@$(BIN)/python -m groundplan.review.permissions.report > docs/permissions.md.new && mv docs/permissions.md.new docs/permissions.md
	@$(BIN)/python -m groundplan.local.moto.table > docs/resource-types.md.new && mv docs/resource-types.md.new docs/resource-types.md
	@$(BIN)/python -m tests.resource_names

# Needs uv (https://docs.astral.sh/uv/) on the PATH.
lock: ## resolve the dependencies again
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --extra test pyproject.toml --output-file requirements-test.lock
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --constraint requirements-test.lock pyproject.toml --output-file requirements.lock
	@printf 'uv>=0.9 # installs the rest\npytest # runs the tests of a company%%s repository\n' "'s" | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --constraint requirements-test.lock - --output-file requirements-tools.lock

clean: down ## remove what was installed and all local state
	@rm -rf $(VENV) .groundplan rendered
