# `make help` lists what there is. Everything installs what it needs; nothing is done by hand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SANDBOX_BIN := .venv-sandbox/bin

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: requirements-dev.txt pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ecs-watch needs Python 3.11 or newer; $$("$(PYTHON)" --version) is what '$(PYTHON)' is. Try: make PYTHON=python3.13 …" >&2; exit 1; }
	@echo "Installing what the checks need into $(VENV) (once)"
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv-sandbox/.installed: sandbox/requirements.txt
	@echo "Installing the sandbox's AWS account into .venv-sandbox (once)"
	@"$(PYTHON)" -m venv .venv-sandbox
	@$(SANDBOX_BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r sandbox/requirements.txt
	@touch $@

# Tools that must agree with nothing of ours: each has an environment of its own. `--no-deps`, as the lock names all.
.venv-sam/.installed: tests/e2e/sam.txt
.venv-checkov/.installed: tests/e2e/checkov.txt
.venv-sam/.installed .venv-checkov/.installed:
	@echo "Installing what deploys and judges templates into $(@D) (once)"
	@"$(PYTHON)" -m venv $(@D)
	@$(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

.PHONY: install
install: $(VENV)/.installed .venv-sandbox/.installed ## Install everything the other commands need

.PHONY: test
test: install ## Run every test, also those against the sandbox
	@$(BIN)/pytest -n 2

.PHONY: check
check: install ## Everything a change must pass: format, lint, types, order of imports, tests, a real deploy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory test-newest
	@$(MAKE) --no-print-directory e2e

# Lambda runs 3.13, so the tests without processes of their own run there too where it is installed;
# the scoreboard and the simulator's mutants would say the same of it again.
LAMBDA_PYTHON := $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python) $(shell command -v python3.13))
.PHONY: test-newest
test-newest: ## Run the unit tests under Lambda's own Python, where it is installed
ifneq ($(LAMBDA_PYTHON),)
	@$(MAKE) --no-print-directory VENV=.venv-lambda PYTHON="$(LAMBDA_PYTHON)" .venv-lambda/.installed
	@.venv-lambda/bin/pytest -n 2 -m "not sandbox and not once and not e2e"
else
	@echo "python3.13 is not installed: its tests are left out"
endif

.PHONY: e2e
e2e: install .venv-sam/.installed .venv-checkov/.installed ## Deploy with SAM, twice, and delete; judge every form of the templates; count the costs
	@$(BIN)/pytest -n 2 -m e2e tests/e2e tests/test_costs.py

.PHONY: bench
bench: install ## Measure speed and print the figures
	@$(BIN)/python -m tools.bench

.PHONY: costs
costs: install ## Count what a day takes and write docs/costs.md
	@$(BIN)/python -m tools.costs --write

.PHONY: lock
lock: ## Pin the newest versions of everything, with the hash of every file
	@"$(PYTHON)" -m venv .venv-lock && .venv-lock/bin/pip install --quiet pip-tools
	@for one in src/requirements requirements-dev sandbox/requirements tests/e2e/sam tests/e2e/checkov; do \
	  .venv-lock/bin/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe \
	    --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    --output-file $$one.txt $$one.in || exit 1; done

# --- packaging
.PHONY: package
package: $(VENV)/.installed ## Make dist/: the code as a zip and a plain CloudFormation template
	@rm -rf build/lambda
	@$(MAKE) --no-print-directory -C src build-EventsFunction ARTIFACTS_DIR="$(CURDIR)/build/lambda" PYTHON="$(CURDIR)/$(BIN)/python"
	@$(BIN)/python -m tools.package build/lambda dist

# --- sandbox
.PHONY: demo
demo: install ## Let things go wrong on this machine and show what Slack is told (STORY=… for another story)
	@$(BIN)/python -m sandbox.demo $(STORY)

.PHONY: sandbox
sandbox: install ## An AWS account with ecs-watch in it and a Slack workspace, until Ctrl-C
	@$(BIN)/python -m sandbox

.PHONY: picture
picture: install ## Take the README's pictures of the channel and of a thread (needs Chromium)
	@$(BIN)/python -m sandbox.demo $(STORY) --pictures docs

# --- scoreboard
.PHONY: scoreboard
scoreboard: install ## Measure what is promised, a thousand seeds each, and write docs/scoreboard.md (half an hour)
	@$(BIN)/python -m tools.scoreboard
