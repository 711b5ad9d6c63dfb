# Every target says what it does, how long it takes on two cores without hardware virtualization, and what to do when it fails.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup images demo test up down status logs lint check chaos bench fmt

PYTHON := var/venv/bin/python
LAB := $(PYTHON) -m deploy.lab
# Where the checks that start nothing find a site's configuration.
CHECK_ROOT := var/check

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "  make %-8s %s\n", $$1, $$2 }'

setup: ## install what is missing: Debian packages, Python environment, front-end files (minutes once, then 1 s)
	@deploy/setup

images: setup ## build the machines' images that are missing (some minutes once, then seconds)
	@$(PYTHON) -m placo.drivers.images build || { echo 'make images failed: read the lines above; what was built is kept, run it again.' >&2; exit 1; }

demo: setup images up ## everything from nothing: a lab, a platform requested, approved, provisioned and proved (20 min, then 4)
	@$(PYTHON) -m deploy.demo || { echo 'make demo failed: see `make logs`; the lab is left running, run it again.' >&2; exit 1; }

test: ## set up what is needed and pass every test: real VMs, real browser (75 min at most)
	@deploy/run-tests

up: setup ## start the lab, or what is missing of it (15 s); harmless when it runs
	@$(LAB) up

down: ## stop the lab; guests shut down, everything on disk is kept (30 s at most)
	@if [ -x $(PYTHON) ]; then $(LAB) down; else echo 'no lab was ever started here'; fi

status: ## what runs, with its memory
	@$(LAB) status

logs: ## the ends of the lab's logs (follow one: python -m deploy.lab logs --follow worker)
	@$(LAB) logs

lint: setup ## style, types, layers, migrations; starts no service (1 min)
	@$(LAB) configure --root $(CHECK_ROOT)
	@export PLACO_CONFIG=$(CURDIR)/$(CHECK_ROOT)/placo.toml; \
	run() { echo "lint: $$*"; "$$@" || { echo "make lint failed at: $$*  (make fmt mends style)" >&2; exit 1; }; }; \
	run var/venv/bin/ruff check .; \
	run var/venv/bin/ruff format --check --quiet .; \
	run var/venv/bin/mypy placo tasks deploy bench tests/chaos; \
	run var/venv/bin/lint-imports; \
	run $(PYTHON) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run

check: lint ## the same and the fast tests (2 min)
	@PLACO_CONFIG=$(CURDIR)/$(CHECK_ROOT)/placo.toml var/venv/bin/pytest -q tests/unit || { echo 'make check failed at tests/unit' >&2; exit 1; }

chaos: setup ## 500 requests on fake hosts while everything that runs is killed, frozen and restarted (12 min; starts what it needs)
	@$(PYTHON) -m tests.chaos --requests 500 --logs var/chaos || { echo 'make chaos failed: the first line says how to repeat it; logs and effects are in var/chaos' >&2; exit 1; }

bench: images up ## the figures, measured on an idle lab: resident memory, approval to ready, clones, reconciling, engine, catalogue (an hour)
	@status=0; \
	run() { echo "bench: $$*"; $(PYTHON) -m "$$@" || { echo "make bench: $$* failed or a bound does not hold: is the lab idle and up? see make status" >&2; status=1; }; }; \
	run bench.memory; run bench.reconcile; run bench.engine; run bench.makespan; run bench.progress; run bench.events; \
	run bench.approval --n 3 --together 10; run bench.provision; run bench.catalogue; exit $$status

fmt: ## put code into shape
	@var/venv/bin/ruff check --fix --quiet . ; var/venv/bin/ruff format .
