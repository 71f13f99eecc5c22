# Every target sets up what it needs. `make help` lists them.
SHELL := /bin/sh
PYTHON ?= $(shell for each in python3.13 python3.12 python3.11 python3; do \
	command -v $$each >/dev/null 2>&1 && $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$each && break; done)
READY := .venv/.ready

.PHONY: up test check bench docker help

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

up: $(READY) ## set up, deploy dev, say where it is
	@.venv/bin/dcops deploy dev
	@printf '%s\n' '' 'The URL opens a page that says what this is. Try next (`. .venv/bin/activate` makes it just `dcops`):' \
		'  .venv/bin/dcops chat dev "run: for i in 1 2 3; do echo line \$$i; sleep 1; done"' \
		'  .venv/bin/dcops verify dev' \
		'  .venv/bin/dcops toggle set use_streaming_bash false --env dev --reason "try"'

test: $(READY) ## set up and run all tests
	@.ci/test

check: $(READY) ## lint, format, types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

bench: $(READY) ## measure against peers, side by side
	@.ci/bench

docker: $(READY) ## install and start a Docker Engine where none answers; build the local base image
	@.ci/docker

$(READY): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "dcops needs Python 3.11 or newer; none is on PATH (Debian: apt-get install python3 python3-venv)" >&2; exit 6; }
	@echo "setting up .venv" >&2
	@$(PYTHON) -m venv .venv || { echo "python3 -m venv failed (Debian: apt-get install python3-venv)" >&2; exit 6; }
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'
	@.venv/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes requirements.lock
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --compile-bytecode --editable .
	@touch $(READY)
