# The project's commands; CONTRIBUTING.md tells what each is for. Run as root on Debian 12 or 13.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.ONESHELL:

PYTHON := python3
NAME := default
K :=
# Sandboxes side by side: most of a test in tests/cluster is waiting.
WORKERS := 2
BUILD := .build
VENV := $(BUILD)/venv
SANDBOX := PYTHONPATH=containers $(PYTHON) -m sandbox
PYTEST := PYTHONPATH=agent:containers:. $(VENV)/bin/python -m pytest

.PHONY: help tools try test lint unit spank runner cluster bench proto shell down clean

help:
	@sed -n 's/^| `\(make [^|]*\)` | \(.*\) |$$/\1: \2/p' CONTRIBUTING.md | tr -d '`'

# What a bare Debian lacks: Python with venv for everything, a C compiler for Go's race detector.
tools:
	@missing=()
	for program in python3 gcc git; do command -v $$program > /dev/null || missing+=($$program); done
	python3 -c 'import ensurepip, venv' 2> /dev/null || missing+=(python3-venv)
	[ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
	if [ $${#missing[@]} != 0 ]; then apt-get update -qq; apt-get install -y -qq --no-install-recommends $${missing[@]}; fi

try: tools
	$(SANDBOX) try --name $(NAME)

shell:
	$(SANDBOX) shell --name $(NAME)

down:
	$(SANDBOX) down --name $(NAME)

# What wants no sandbox runs beside what mostly waits for one. The first to fail ends the other; what ran beside is shown at the end.
test: $(VENV)/.done
	@$(SANDBOX) root > /dev/null  # or both would install what the machine lacks
	set -m
	$(MAKE) --no-print-directory lint unit runner spank > $(BUILD)/beside.log 2>&1 & beside=$$!
	$(MAKE) --no-print-directory cluster & cluster=$$!
	trap 'kill -INT -- -$$beside -$$cluster 2> /dev/null || true; wait; cat $(BUILD)/beside.log' EXIT
	wait -n $$beside $$cluster
	wait $$beside; wait $$cluster

$(VENV)/.done: requirements/dev.txt requirements/agent.txt requirements/tests.txt | tools
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement requirements/dev.txt
	touch $@

lint: $(VENV)/.done
	. <($(SANDBOX) go-env)
	SYSROOT="$$($(SANDBOX) root)" tests/lint $(VENV)/bin

unit: $(VENV)/.done
	$(PYTEST) -q tests/unit

runner: tools
	. <($(SANDBOX) go-env)
	$(MAKE) --no-print-directory -C runner all test

spank: tools
	$(SANDBOX) test-spank

cluster: $(VENV)/.done
	$(PYTEST) -ra -q --maxfail=5 --reruns 1 --durations=15 -o faulthandler_timeout=900 \
		-n $(if $(K8S_BURST_SANDBOX),0,$(WORKERS)) --dist loadfile --no-loadscope-reorder \
		tests/cluster $(if $(K),-k '$(K)')

bench: $(VENV)/.done
	PYTHONPATH=agent:containers:. $(VENV)/bin/python -m tests.bench

proto: $(VENV)/.done
	. <($(SANDBOX) go-env)
	$(VENV)/bin/python proto/generate
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(MAKE) -C runner stubs

clean:
	rm -rf $(BUILD)
