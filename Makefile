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
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ecs-watch needs Python 3.11 or newer; $$($(PYTHON) --version) is what '$(PYTHON)' is. Try: make PYTHON=python3.13 …" >&2; exit 1; }
	@echo "Installing what the checks need into $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv-sandbox/.installed: sandbox/requirements.txt
	@echo "Installing the sandbox's AWS account into .venv-sandbox (once)"
	@$(PYTHON) -m venv .venv-sandbox
	@$(SANDBOX_BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r sandbox/requirements.txt
	@touch $@

.PHONY: install
install: $(VENV)/.installed .venv-sandbox/.installed ## Install everything the other commands need

# --- packaging
.PHONY: package
package: $(VENV)/.installed ## Make dist/: the code as a zip and a plain CloudFormation template
	@rm -rf build/lambda
	@$(MAKE) --no-print-directory -C src build-EventsFunction ARTIFACTS_DIR=$(CURDIR)/build/lambda PYTHON=$(CURDIR)/$(BIN)/python
	@$(BIN)/python -m tools.package build/lambda dist
