# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LAB := $(BIN)/python molecule/lab/lab.py
# Where ansible-core looks for its own programs.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
SCENARIOS ?= default cluster nat seeds sources field

.DEFAULT_GOAL := help
.PHONY: help setup host demo demo-down lint sanity unit matrix matrix-short molecule test docs bench chaos chaos-short build clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: $(VENV)/.ready ## a virtual environment with the pinned requirements; starts nothing

$(VENV)/.ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; name it: make PYTHON=python3.12 $@" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@

host: setup ## Docker on this machine, installed and started where it is missing (root)
	$(LAB) host

demo: setup ## the whole story: the lab in the report's state, stabilised, and again with nothing to do
	$(LAB) host
	$(BIN)/python molecule/lab/demo.py

demo-down: setup ## remove the lab's nodes, networks and images
	$(LAB) down --images

lint: setup ## ansible-lint (profile production) and antsibull-docs
	P2P_DISTRIBUTED_HOSTS=$(CURDIR)/inventory/distributed_hosts.example.yaml $(BIN)/ansible-lint --offline --config-file .config/ansible-lint.yml
	$(BIN)/antsibull-docs lint-collection-docs --plugin-docs --skip-rstcheck .

sanity: setup ## ansible-test sanity on a copy of the work tree, without ignores
	$(BIN)/python tests/sanity/run.py

unit: setup ## unit tests
	$(BIN)/python -m pytest tests/unit

matrix: setup ## what depends on ansible-core under each supported one, and what runs on nodes under each Python; OPTIONS="2.18 node" chooses
	$(BIN)/python tests/matrix/run.py $(OPTIONS)

matrix-short: setup ## the oldest and the newest ansible-core that this Python can run
	$(BIN)/python tests/matrix/run.py --quick

molecule: setup ## molecule scenarios in the lab; SCENARIOS="default cluster" chooses
	$(LAB) host
	set -e; for scenario in $(SCENARIOS); do $(BIN)/molecule test --scenario-name $$scenario; done

# The unit tests last: their closing line tells how many there were.
test: lint sanity matrix-short molecule chaos-short unit ## everything that has to pass

docs: setup ## the documentation that is made from code
	PYTHONPATH=playbooks/collections $(BIN)/python -c 'from ansible_collections.ringrift.p2p.plugins.plugin_utils import _findings; print(_findings.as_markdown(), end="")' > docs/findings.md

bench: setup ## benchmarks; minutes
	set -e; for bench in tests/bench/*.py; do echo "== $$bench"; $(BIN)/python $$bench; done

chaos: setup ## faults injected into the lab while it is being stabilised; about an hour, writes docs/reliability.md
	$(LAB) host
	$(BIN)/python tests/chaos/chaos.py

chaos-short: setup ## one restart of every node, one fault, and the same test without the guard
	$(LAB) host
	$(BIN)/python tests/chaos/chaos.py --short

build: setup ## the collection's archive
	$(BIN)/ansible-galaxy collection build --force

clean: ## remove what the targets made, apart from the lab
	rm -rf .cache .pytest_cache tests/output ringrift-p2p-*.tar.gz
