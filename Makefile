# Everything is started from here. Needs python3 (3.11 or newer), node (20 or newer) and make; nothing else.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
CDK := node_modules/.bin/cdk
VENV := .venv/.installed
NODE := node_modules/.package-lock.json

export PYTHONPATH := functions:.
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 18,20,22

##@ Use it

run: setup ## Start the local cloud, deploy the stacks to it, print where it answers
	@$(BIN)/python -m ops.local_cloud run

demo: setup ## Load the sample customers and show their profiles (starts everything it needs; EXPORT=1 exports them too)
	@$(BIN)/python -m ops.demo $(if $(EXPORT),--export)

reports: setup ## Show what is in the store, as tables and bars: make reports [AGAIN=1 takes a new sample first]
	@$(BIN)/python -m ops.reports $(if $(AGAIN),--again)

stop: ## Stop the local cloud; its data stays
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m ops.local_cloud stop; fi

client: setup ## Register a client for an organisation: make client ORG=ACME@AdobeOrg
	@$(BIN)/python -m ops.callers client $(if $(ORG),"$(ORG)",$(error say for whom: make client ORG=ACME@AdobeOrg))

sandbox: setup ## Add a sandbox: make sandbox ORG=ACME@AdobeOrg NAME=test
	@$(BIN)/python -m ops.callers sandbox $(if $(and $(ORG),$(NAME)),"$(ORG)" "$(NAME)",$(error say which: make sandbox ORG=ACME@AdobeOrg NAME=test))

replay: setup ## Put dead letters of streaming back in line: make replay [OUTPUTS=.aws-outputs.json]
	@$(BIN)/python -m ops.replay $(if $(OUTPUTS),--outputs "$(OUTPUTS)")

journal: setup ## Hide again what was deleted, in restored tables: make journal AT=<instant> PROFILES=<table> REGISTRY=<table> [OUTPUTS=...]
	@$(BIN)/python -m ops.journal $(if $(and $(AT),$(PROFILES),$(REGISTRY)),--at "$(AT)" --profiles "$(PROFILES)" --registry "$(REGISTRY)",$(error say when and where: make journal AT=2026-11-29T10:00:00Z PROFILES=<table> REGISTRY=<table>)) $(if $(OUTPUTS),--outputs "$(OUTPUTS)")

##@ Change it

check: setup ## Lint, format, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

openapi: setup ## Write docs/openapi.json anew from the routes
	@$(BIN)/python -m ops.openapi

test: check ## Everything that a change must pass
	@$(BIN)/pytest --numprocesses auto --maxprocesses 4

bench: setup ## Measure the budgets of the design
	@$(BIN)/python -m bench

invoke: setup ## Run one function on one event: make invoke FUNCTION=entities EVENT=events/entities.get.json
	@$(BIN)/python -m ops.invoke "$(FUNCTION)" "$(EVENT)"

synth: setup ## Write the CloudFormation templates for AWS to cdk.out
	@$(CDK) synth --quiet --no-notices

deploy: setup ## Deploy to AWS with your own credentials: make deploy [CONTEXT="-c alarms=true"]
	@$(CDK) deploy --all --no-notices --outputs-file .aws-outputs.json $(CONTEXT)

lock: $(VENV) ## Resolve the versions anew, for development and for the layers
	@$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-header --all-extras \
		pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header -c requirements.lock \
		pyproject.toml -o functions/requirements.lock
	@echo pyarrow | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header -c requirements.lock \
		- -o functions/requirements-parquet.lock
	@npm install --package-lock-only --silent

clean: stop ## Remove the local cloud with its data, and everything built
	@rm -rf .local cdk.out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

##@ Under the hood

setup: $(VENV) $(NODE) ## Install what the other targets need

$(VENV): requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: install it first"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; '$(PYTHON)' is older. Say which: make PYTHON=python3.12"; exit 1; }
	@echo "Installing the Python packages ..."
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@[ -x $(BIN)/uv ] || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv==$(UV_VERSION)'
	@$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock
	@touch $@

$(NODE): package-lock.json
	@command -v npm >/dev/null || { echo "Node.js 20 or newer is needed, for the CDK command line: install it first"; exit 1; }
	@echo "Installing the CDK command line ..."
	@npm ci --silent
	@touch $@

help: ## Show this
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run demo reports stop client sandbox check openapi test bench invoke synth deploy lock clean setup replay journal help
