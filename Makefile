# The commands of this repository. Each one sets up .venv first, where that is not done yet.

MODEL ?= smollm2-135m
PORT ?= 8000
# How many processes run the tests; 0 runs them in pytest's own process, as a debugger needs it.
WORKERS ?= auto
# More for the command: make serve ARGS="--dtype bfloat16", make test ARGS="-k scheduler -x"
ARGS ?=
# Of the machine that runs benchmarks/gpu/run.
GPU_PYTHON ?= 3.12

BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help serve test clients soak check format api-docs lock gpu clean

help: ## list what can be made
	@echo 'Headrace serves language models. What can be made:'
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'More options for serve, test and soak go in ARGS="...".'

serve: ## serve a model over HTTP: MODEL=smollm2-135m PORT=8000
	@scripts/set-up run
	@$(BIN)/headrace serve $(MODEL) --port $(PORT) $(ARGS)

test: ## run the tests: WORKERS=3 ARGS="tests/scheduler -x"
	@scripts/set-up dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder $(ARGS)

clients: ## set up the client programs that some tests run, in .venv/clients
	@scripts/set-up dev
	@$(BIN)/python scripts/client_programs.py

soak: ## run for longer the tests that find more the longer they run
	@scripts/set-up dev
	HEADRACE_TEST_FAULT_S=120 HEADRACE_TEST_EXAMPLES=100 HEADRACE_TEST_PROMPTS=50 \
	$(BIN)/python -m pytest -m soak --timeout 3600 $(ARGS)

check: ## static checks: format, lint, types, import direction and circles, folder sizes
	@scripts/set-up dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy scripts
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_layout.py

format: ## format the code, and apply lint fixes
	@scripts/set-up dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

api-docs: ## write the tables of endpoints and fields in docs/api.md
	@scripts/set-up dev
	$(BIN)/python scripts/api_docs.py

lock: ## write the versions now in .venv, with hashes, to requirements/*.lock
	@test -x $(BIN)/uv || scripts/set-up dev
	$(BIN)/python scripts/lock.py

gpu: ## fill .wheels for benchmarks/gpu/run: GPU_PYTHON=3.12 is the GPU machine's Python
	@scripts/set-up dev
	$(BIN)/python benchmarks/gpu/wheels.py download .wheels --python-version $(GPU_PYTHON)

clean: ## remove .venv and all caches of this folder; fetched models stay
	rm -rf .venv .wheels build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf src/*.egg-info
