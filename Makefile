# One name per job; `make` lists them. Every target first makes what it needs.
ifeq ($(filter oneshell,$(.FEATURES)),)
$(error GNU make 3.82 or newer is needed, and this is $(MAKE_VERSION). macOS: brew install make, then gmake instead of make)
endif
# Options of ssh, shells and docker give a meaning to other signs, and ssh splits at spaces.
ifneq ($(shell pwd -P | LC_ALL=C tr -d 'A-Za-z0-9/._+@~\200-\377\n-'),)
$(error The path of this checkout has a space or a sign that ssh and shells do not take as it is: $(CURDIR). Move it)
endif
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

PYTHON    ?= python3
# lab, or the name of a file inventory/<name>.yml, e.g. production.
INVENTORY ?= lab
# Anything more for ansible-playbook or pytest: ARGS="--limit 198.18.77.147".
ARGS      ?=

VENV   := .venv
READY  := $(VENV)/requirements.lock
LAB    := $(VENV)/bin/python lab/lab.py
PYTEST := $(VENV)/bin/pytest
UV_VERSION := 0.13.9

# In a recipe: end where there is a lab, which this would damage.
without_lab = if [ -e .lab ]; then echo "$@: a lab is here; first: make lab-down" >&2; exit 1; fi
inventory_path = inventory/$(if $(filter lab,$(INVENTORY)),lab,$(INVENTORY).yml)
inventory_args = -i inventory/groups.yml -i $(inventory_path)$(if $(AICLUSTER_LAB_OVERLAY), -i $(AICLUSTER_LAB_OVERLAY))

# molecule and ansible-lint start their tools by name.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
MOLECULE_STATE := .cache/molecule
export MOLECULE_EPHEMERAL_DIRECTORY := $(CURDIR)/$(MOLECULE_STATE)/default
export MOLECULE_COMMAND_BORDERS := false
export PYTHONDONTWRITEBYTECODE := 1
# An inherited inventory or skip list would make a run mean something else than it says.
unexport ANSIBLE_INVENTORY

# Of all targets only the copy of the lock is a file.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## list the targets
	@echo "make <target> [INVENTORY=lab|production] [ARGS=...]"
	awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- tools -----------------------------------------------------------------------------------------

setup: $(READY) ## make .venv from requirements.lock (again only when the lock changed)
	@# Where Python finds the package aicluster. A .venv that is a link belongs to another checkout.
	if [ -L $(VENV) ]; then exit 0; fi
	for path in $(VENV)/lib/python3*/site-packages; do
	  if ! grep -qsxF "$(CURDIR)" "$$path/aicluster.pth"; then echo "$(CURDIR)" > "$$path/aicluster.pth"; fi
	done

# The copy of the lock inside .venv is written last: an interrupted installation is done again.
$(READY): requirements.lock
	@if cmp -s $< $@ && $(VENV)/bin/python -c ''; then touch $@; exit 0; fi
	if ! command -v $(PYTHON) >/dev/null; then
	  echo "setup: $(PYTHON) not found. Python 3.11 or newer is needed: apt-get install python3 (or make setup PYTHON=/path/to/python3.11)" >&2
	  exit 1
	fi
	if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
	  echo "setup: $$($(PYTHON) --version) is too old: the locked Ansible needs Python 3.11 or newer." >&2
	  echo "       Debian 12 and Ubuntu 24.04 have it; or name another one: make setup PYTHON=/path/to/python3.11" >&2
	  exit 1
	fi
	if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	    echo "setup: this Python has no venv module; installing python3-venv"
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv </dev/null
	  else
	    echo "setup: $(PYTHON) has no venv module. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2
	    exit 1
	  fi
	fi
	echo "setup: installing $$(grep -c '^[a-z0-9]' $<) locked packages into $(VENV) (one to three minutes)"
	# Not by the Python of the environment that is about to go, though it is the first one on PATH.
	"$$($(PYTHON) -c 'import sys; print(sys._base_executable)')" -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	cp $< $@
	echo "setup: $$($(VENV)/bin/ansible --version | sed -n 1p) in $(VENV)"

lock: ## renew requirements.lock from pyproject.toml
	@$(PYTHON) -m venv .cache/uv
	.cache/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	.cache/uv/bin/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --quiet $(ARGS) -o requirements.lock
	git --no-pager diff --stat -- requirements.lock

docs: setup ## renew the generated tables of the documentation
	@PYTHONPATH=lab $(VENV)/bin/python docs/generate.py

# --- lab -------------------------------------------------------------------------------------------

lab: setup ## seven nodes on this machine, from nothing to an answered chat request
	@$(LAB) up

lab-down: setup ## remove the lab but keep its build cache
	@$(LAB) down

lab-status: setup ## which lab nodes run, and the card
	@$(LAB) status

plan: setup ## what a run of site.yml would change, without changing it
	@if [ ! -e $(inventory_path) ]; then
	  echo "plan: there is no $(inventory_path). INVENTORY is lab, or the name of a file inventory/<name>.yml such as production." >&2
	  exit 1
	fi
	if [ $(INVENTORY) = lab ] && [ ! -e .lab/card.json ]; then
	  echo "plan: no lab is running. Build it with: make lab    Real boards: make plan INVENTORY=production" >&2
	  exit 1
	fi
	$(VENV)/bin/ansible-playbook $(inventory_args) site.yml --check --diff $(ARGS)

secrets: setup ## generate missing secrets (real boards: ARGS=--ask-vault-pass)
	@$(VENV)/bin/ansible-playbook $(inventory_args) playbooks/secrets.yml $(ARGS)

user: setup ## add a user of the gateway and print a key: make user NAME=anna ROLE=user (or admin, service)
	@$(VENV)/bin/ansible-playbook $(inventory_args) playbooks/user.yml -e user_name=$(NAME) $(if $(ROLE),-e user_role=$(ROLE)) $(ARGS)

verify: setup ## test every service of every node (ARGS=--json for programs)
	@bin/verify $(inventory_args) $(ARGS)

backup: setup ## back up every node now, as PI31 does at night (ARGS=--json for programs)
	@bin/backup $(inventory_args) $(ARGS)

restore: setup ## list what can be restored; restore it: make restore SERVICE=postgres ARGS="-e database=aicluster"
	@$(VENV)/bin/ansible-playbook $(inventory_args) playbooks/restore.yml $(if $(SERVICE),-e service=$(SERVICE)) $(ARGS)

rollback: setup ## list which images can be put back; put one back with its data: make rollback SERVICE=postgres ARGS="-e node=PI52"
	@$(VENV)/bin/ansible-playbook $(inventory_args) playbooks/rollback.yml $(if $(SERVICE),-e service=$(SERVICE)) $(ARGS)

promote: setup ## make the standby of PostgreSQL the primary: make promote NODE=AGX0 (ARGS=--check: what would happen)
	@$(VENV)/bin/ansible-playbook $(inventory_args) playbooks/promote.yml -e node=$(NODE) $(ARGS)

forget: setup ## erase what is stored of a user: make forget NAME=anna
	@$(VENV)/bin/ansible-playbook $(inventory_args) playbooks/forget.yml -e forget=$(NAME) $(ARGS)

drain: setup ## take an AI node out of balancing, and wait for its requests: make drain NODE=AGX0 (ARGS=--check: what would happen)
	@$(VENV)/bin/ansible-playbook $(inventory_args) playbooks/drain.yml -e node=$(NODE) $(ARGS)

undrain: setup ## take a drained AI node into the balancing again: make undrain NODE=AGX0
	@$(VENV)/bin/ansible-playbook $(inventory_args) playbooks/drain.yml -e node=$(NODE) -e back=true $(ARGS)

restart: setup ## restart Ollama on all AI nodes in turn, without losing a request
	@$(VENV)/bin/ansible-playbook $(inventory_args) playbooks/restart.yml $(ARGS)

benchmark: setup ## measure tokens per second of the AI nodes, and say which weights would follow
	@$(VENV)/bin/ansible-playbook $(inventory_args) playbooks/benchmark.yml $(ARGS)

profile: setup ## switch nodes to another profile: make profile TO=image (without TO: list the profiles)
	@$(if $(TO),$(VENV)/bin/ansible-playbook $(inventory_args) playbooks/profile.yml -e to=$(TO) $(ARGS),$(VENV)/bin/ansible $(inventory_args) nodes -m ansible.builtin.command -a /opt/aicluster/bin/aicluster_profile.py $(ARGS))

mode: profile ## alias of `make profile`

# --- tests -----------------------------------------------------------------------------------------

RESULTS := .cache/results
PHASES  := $(VENV)/bin/python tests/phases.py $(RESULTS)

test: setup ## linters, unit tests and the lab end to end, as CI runs it
	@rm -rf "$(RESULTS)"
	make="$(MAKE) --no-print-directory"
	$(PHASES) "linters=$$make test-lint" "unit tests=$$make test-unit"
	$(PHASES) "lab up=$$make test-lab-up"
	$(PHASES) "end to end=$$make test-lab-verify"
	$(PHASES) "lab down=$$make test-lab-down"
	$(VENV)/bin/python tests/summary.py $(RESULTS)

test-lint: setup ## ruff, mypy, yamllint, ansible-lint (profile production, nothing skipped)
	@$(PHASES) "ansible-lint=ansible-lint --strict" "mypy=mypy" "yamllint=yamllint --strict ." \
	  "ruff=ruff check --quiet . && ruff format --check ."

test-unit: setup ## filters, templates, contracts of the layout, on all cores; no lab
	@$(PYTEST) tests/unit -n auto --dist worksteal --junitxml=$(RESULTS)/unit.xml $(ARGS)

test-monitoring: setup ## alert rules and routes, with promtool and amtool of the lab's images (or of PATH)
	@$(PYTEST) tests/monitoring --junitxml=$(RESULTS)/monitoring.xml $(ARGS)

test-lab: test-lab-up test-lab-verify test-lab-down ## the lab end to end: create, check, converge, idempotence, verify, destroy

# A lab that runs already is somebody's: it is tested as it stands and left running. One that was made for the tests
# carries this file, which also holds the log of its first runs.
MADE_FOR_TESTS := .lab/test-run.log
test-lab-up: setup ## its first part: images, alert rules, nodes, the first run
	@# Molecule remembers what it created, also when the lab has gone since.
	rm -rf "$(MOLECULE_STATE)"
	if [ -e .lab/card.json ]; then
	  echo "test-lab: a lab is running; it is tested as it stands and stays. For a test from nothing: make lab-down test-lab"
	  exec molecule converge -s default
	fi
	$(PHASES) "images=$(LAB) prepare"
	$(PHASES) "alert rules=$(MAKE) --no-print-directory test-monitoring" "first run=$(MAKE) --no-print-directory test-lab-first-run"

test-lab-first-run: export AICLUSTER_RUN_LOG := $(CURDIR)/$(MADE_FOR_TESTS)
test-lab-first-run: setup ## of that: nodes, a check of bare ones, the first run
	@for step in create prepare check converge; do molecule $$step -s default; done

test-lab-verify: setup ## its second part: idempotence, testinfra and end-to-end tests, another check among them
	@if [ -e $(MADE_FOR_TESTS) ]; then export AICLUSTER_RUN_LOG=$(CURDIR)/$(MADE_FOR_TESTS); fi
	molecule idempotence -s default
	if ! molecule verify -s default; then
	  echo "test-lab: failed. The lab is left for a look (make lab-status); make lab-down removes it." >&2
	  exit 1
	fi

test-lab-down: setup ## its last part: remove the lab, check that nothing is left
	@if [ ! -e $(MADE_FOR_TESTS) ]; then exit 0; fi
	molecule destroy -s default
	$(PYTEST) tests/lab_down --junitxml=$(RESULTS)/lab-down.xml

test-lab-quick: setup ## converge a lab that stays and check every node, for quick edits
	@rm -rf "$(MOLECULE_STATE)"
	molecule converge -s default
	$(PYTEST) tests/testinfra $(ARGS)

test-full: export AICLUSTER_FULL := yes
test-full: test test-molecule ## test, with ten interrupted runs, every service stopped by itself, every scenario

# Each makes its nodes anew: what a scenario finds must not depend on another one.
SCENARIOS = $(filter-out default role,$(patsubst molecule/%/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))
test-molecule: setup ## the scenario of every tier and of every role (SCENARIOS="backend" ROLES="redis")
	@$(without_lab)
	for scenario in $(SCENARIOS); do
	  echo "== molecule test -s $$scenario"
	  MOLECULE_EPHEMERAL_DIRECTORY="$(CURDIR)/$(MOLECULE_STATE)/$$scenario" molecule test -s "$$scenario"
	done
	for role in $(ROLES); do $(MAKE) --no-print-directory test-role ROLE="$$role"; done

# Every folder with tasks of its own, but the engine and the preflight, which run in every scenario, and what runs nowhere unless
# a site wants it, which tests/e2e/test_profiles.py tries.
ROLES = $(filter-out stack preflight profile_wake,$(patsubst roles/%/tasks/main.yml,%,$(wildcard roles/*/tasks/main.yml)))
test-role: export AICLUSTER_ROLE = $(ROLE)
test-role: export MOLECULE_EPHEMERAL_DIRECTORY = $(CURDIR)/$(MOLECULE_STATE)/role
test-role: setup ## one role by itself on a lab node, with what it needs: make test-role ROLE=redis
	@if [ ! -e "roles/$(ROLE)/tasks/main.yml" ] || [ -z "$(ROLE)" ]; then
	  echo "test-role: there is no role '$(ROLE)'. ROLE is one of: $(ROLES)" >&2
	  exit 1
	fi
	$(without_lab)
	echo "== molecule test -s role (ROLE=$(ROLE))"
	molecule test -s role

bench: setup ## on a running lab: the cost of a run without changes (ARGS=3: rounds)
	@PYTHONPATH=lab $(VENV)/bin/python tests/bench/bench.py $(ARGS)

clean: ## remove caches and .venv (not the lab: make lab-down)
	@$(without_lab)
	rm -rf "$(VENV)" .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
