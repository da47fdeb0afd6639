# `make train` runs the main job, `make test` the tests; each makes the
# environments it needs, once. `make help` lists what else there is.

# The agent's two stacks: Reverb and Launchpad, whose last wheels are for Python
# 3.10, or the newest Python there is, with replay inside the process. By
# default the former, where a Python 3.10 is found.
STACK ?= $(if $(shell .ci/find_python 3.10 2>/dev/null),reverb,current)
ENVIRONMENT_reverb := .venv
ENVIRONMENT_current := .venv-modern
ENVIRONMENT = $(or $(ENVIRONMENT_$(STACK)),$(error STACK: got '$(STACK)', need \
  reverb or current))
NEWEST := 3.13 3.12 3.11

# Looks for a Python only where one is needed.
.SECONDEXPANSION:
PYTHON = $(ENVIRONMENT)/bin/python
MODERN := .venv-modern/bin/python
DOCS := .venv-docs/bin/python
WORKERS ?= 2
# For example `make train FLAGS="--seed=1"`; `--help` lists them.
FLAGS ?=
PYTEST := -m pytest -q -n $(WORKERS) --dist worksteal
# See tests/selection.py.
PART ?= usual
SELECTION = $(if $(PART),--part=$(PART))

.PHONY: help train test test-fast test-reverb test-current lint types docs \
  notebooks check-thorough check-learning check-ray check-mutations check-faults \
  measure-tests requirements release .venv-metaworld test-metaworld

help:
	@echo 'make train            the main job; FLAGS="--seed=1" sets flags'
	@echo 'make test             with Reverb and on the newest JAX, in 8 minutes'
	@echo '… STACK=reverb      with Reverb and Launchpad, on Python 3.10'
	@echo '… STACK=current       on the newest Python, with a queue for Reverb'
	@echo 'make test-fast        what takes no seconds, in under two minutes'
	@echo 'make lint             format, style and types'
	@echo 'make docs             the pages, in build/docs; warnings are errors'
	@echo 'make notebooks        runs the tutorials and stores what they show'
	@echo 'make check-thorough   the dearest tests, which make test leaves'
	@echo 'make check-learning   tests that train for minutes'
	@echo 'make check-ray        training in many processes with Ray'
	@echo 'make check-mutations  do tests notice when a line is wrong?'
	@echo 'make check-faults     are runs killed, stopped, without a disk resumed?'
	@echo 'make measure-tests    decides anew which tests are slow'
	@echo 'make requirements     writes the pins of both stacks anew'
	@echo 'make release          builds dist/ and checks it; uploads nothing'
	@echo 'make .venv-metaworld  an environment with Meta-World and the agent'
	@echo 'make test-metaworld   its tests'

train: $$(ENVIRONMENT)/.ready
	@test $(STACK) = reverb || echo "On $$($(PYTHON) --version), with a queue" \
	  'inside the process for replay: Reverb and Launchpad need Python 3.10.'
	$(PYTHON) -m acme_metarl.launchers.train --algorithm=recommended \
	  --num_iterations=50 $(FLAGS)

# On both stacks; the last line says what had to be left out.
test: lint
	@$(call if_found,3.10,$(MAKE) test-reverb,:)
	@$(call if_found,$(NEWEST),$(MAKE) test-current,:)
	@$(call if_found,3.10,:,$(call left_out,3.10,with Reverb and Launchpad))
	@$(call if_found,$(NEWEST),:,$(call left_out,3.11 or newer,on the newest JAX))

if_found = if .ci/find_python $(1) >/dev/null 2>&1; then $(2); else $(3); fi
left_out = echo 'INCOMPLETE: no Python $(1) was found, so nothing was tested \
  $(2).'; test -z "$$CI"

# One environment, and nothing that takes seconds: for whoever is at work.
test-fast: lint
	$(PYTHON) $(PYTEST) -m 'not slow and not learning' tests

lint: $$(ENVIRONMENT)/.ready types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: $$(ENVIRONMENT)/.ready
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy --warn-unused-ignores tests/typed_use_test.py

test-reverb: .venv/.ready
	.venv/bin/python $(PYTEST) --stack=reverb $(SELECTION) tests

test-current: .venv-modern/.ready
	$(MODERN) $(PYTEST) $(if $(filter reverb,$(STACK)),--stack=current) \
	  $(SELECTION) tests

docs: .venv-docs/.ready
	$(DOCS) -m sphinx -b html -q -W --keep-going -d build/doctrees docs build/docs
	$(DOCS) docs/extensions/check_site.py build/docs

notebooks: .venv-docs/.ready
	$(DOCS) -m docs.extensions.notebooks docs/tutorials/*.py

# What `make test` leaves: the dearest tests, and most of long lists of cases.
check-thorough:
	@$(call if_found,3.10,$(MAKE) PART=rest test-reverb,:)
	@$(call if_found,$(NEWEST),$(MAKE) PART=rest test-current,:)

check-learning: $$(ENVIRONMENT)/.ready
	$(PYTHON) -m pytest -q -m learning tests

check-ray: .venv-ray/.ready
	.venv-ray/bin/python -m pytest -q tests/launchers/distributed

check-mutations: $$(ENVIRONMENT)/.ready
	$(PYTHON) tests/mutations/check.py

# For example FLAGS="--minutes=1 --runners train --seed=3".
check-faults: $$(ENVIRONMENT)/.ready
	$(PYTHON) tests/faults/check.py $(FLAGS)

# Decides anew what test-fast leaves out.
measure-tests: $$(ENVIRONMENT)/.ready
	$(PYTHON) tests/measure.py -n $(WORKERS) --dist worksteal tests

# Plain pip reads the pinned, hashed files; a change of one makes a new
# environment. The stamp comes last, so an interrupted set-up starts afresh.
define set_up
python="$$(.ci/find_python $(1))" && "$$python" -m venv --clear $(@D)
$(@D)/bin/python -m pip install -q --require-hashes -r $<
$(@D)/bin/python -m pip install -q --no-deps --no-build-isolation -e .
$(2)
touch $@
endef

.venv/.ready: requirements/agent.txt setup.py
	$(call set_up,3.10)

.venv-modern/.ready: requirements/current.txt setup.py
	$(call set_up,$(NEWEST))

# 240 MB more, which no other test needs.
.venv-ray/.ready: requirements/current.txt setup.py
	$(call set_up,$(NEWEST),$(@D)/bin/python -m pip install -q -e '.[ray]')

# Meta-World wants a MuJoCo that is older than that of all others.
.venv-metaworld: .venv-metaworld/.ready

.venv-metaworld/.ready: requirements/metaworld.txt setup.py
	$(call set_up,$(NEWEST))

test-metaworld: .venv-metaworld/.ready
	.venv-metaworld/bin/python -m pytest -q \
	  tests/environments/metaworld_test.py \
	  tests/launchers/evaluate_metaworld_test.py

# What `twine upload dist/*` would publish.
release: $$(ENVIRONMENT)/.ready
	rm -rf dist
	$(PYTHON) -m build --no-isolation --outdir dist
	$(PYTHON) -m uv tool run --from 'twine>=6' --with 'readme-renderer[md]' \
	  twine check --strict dist/*

# For the pages only.
.venv-docs/.ready: setup.py
	python="$$(.ci/find_python 3.13 3.12)" && \
	  "$$python" -m venv --clear .venv-docs
	$(DOCS) -m pip install -q -e '.[docs]'
	touch $@

# Writes the pins of both stacks anew: Python 3.10, and all that are newer.
requirements: $$(ENVIRONMENT)/.ready
	$(COMPILE) --python-version 3.10 \
	  --python-platform x86_64-unknown-linux-gnu -o requirements/agent.txt
	$(COMPILE) --python-version 3.11 --universal -o requirements/current.txt
	$(subst agent,metaworld,$(COMPILE)) --python-version 3.11 --universal \
	  -o requirements/metaworld.txt

COMPILE = $(PYTHON) -m uv pip compile setup.py --extra agent --extra dev \
  --upgrade --generate-hashes --no-annotate --no-header --no-strip-extras \
  --no-emit-index-url --no-emit-find-links
