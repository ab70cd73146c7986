# `make run` and `make test` set up everything they need, on a machine with Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

ACTIONS_PORT ?= 8000
ACTIONS_DATA ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/image-relay-actions

.PHONY: run actions-tools actions-emulator test check format bench bench-handover clean

$(BIN)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "image-relay needs Python 3.11 or newer")'
	@echo "installing image-relay and what its tests need into $(VENV): once, a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --editable . --group dev
	touch $@

run: $(BIN)/.ready # the relay with the directory store on localhost:5000, or at RELAY_PORT
	$(BIN)/image-relay serve

actions-tools: # first, because it needs what only the user can install
	tools/install-actions-emulator

actions-emulator: actions-tools $(BIN)/.ready # GitHub's artifact service on this machine; prints the environment of a relay
	$(BIN)/python -m tests.fakes.actions --port $(ACTIONS_PORT) --data $(ACTIONS_DATA)

# The pages of docs/ are read in any locale.
test: export PYTHONUTF8 = 1
test: $(BIN)/.ready # all tests that this machine can run; with REQUIRE_TOOLS=1 all of them; COVERAGE=FILE measures what they cover
	$(BIN)/python $(if $(COVERAGE),-m slipcover --out $(COVERAGE)) -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

check: $(BIN)/.ready # format, lint, types, import contracts, size of functions and files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/measure-code

format: $(BIN)/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(BIN)/.ready # push, pull and seal beside Debian's docker-registry
	$(BIN)/python -m benchmarks.registries
	@echo "make bench-handover measures the whole hand-over, as root; it takes hours"

bench-handover: $(BIN)/.ready # every way from one job to the next, on every engine that it knows; writes docs/benchmarks.md
	$(BIN)/python -m benchmarks.handover

clean:
	rm -rf $(VENV)
