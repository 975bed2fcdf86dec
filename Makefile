# The project's commands; CONTRIBUTING.md tells what each is for. Run as root on Debian 12 or 13.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.ONESHELL:

PYTHON := python3
NAME := default
K :=
BUILD := .build
VENV := $(BUILD)/venv
SANDBOX := PYTHONPATH=containers $(PYTHON) -m sandbox
PYTEST := PYTHONPATH=agent:containers:. $(VENV)/bin/python -m pytest

.PHONY: help try test lint unit spank runner cluster bench proto shell down clean

help:
	@sed -n 's/^| `\(make [^|]*\)` | \(.*\) |$$/\1: \2/p' CONTRIBUTING.md | tr -d '`'

try:
	$(SANDBOX) try --name $(NAME)

shell:
	$(SANDBOX) shell --name $(NAME)

down:
	$(SANDBOX) down --name $(NAME)

test: lint unit runner spank cluster

$(VENV)/.done: requirements/dev.txt
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -qq; apt-get install -y -qq python3-venv; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement requirements/dev.txt
	touch $@

lint: $(VENV)/.done
	. <($(SANDBOX) go-env)
	SYSROOT="$$($(SANDBOX) root)" tests/lint $(VENV)/bin

unit: $(VENV)/.done
	$(PYTEST) -q tests/unit

runner:
	. <($(SANDBOX) go-env)
	$(MAKE) --no-print-directory -C runner all test

spank:
	$(SANDBOX) test-spank

cluster: $(VENV)/.done
	$(PYTEST) -ra -q --maxfail=5 --durations=5 -o faulthandler_timeout=900 tests/cluster $(if $(K),-k '$(K)')

bench: $(VENV)/.done
	PYTHONPATH=agent:containers:. $(VENV)/bin/python -m tests.bench

proto: $(VENV)/.done
	. <($(SANDBOX) go-env)
	$(VENV)/bin/python proto/generate
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(MAKE) -C runner stubs

clean:
	rm -rf $(BUILD)
