# `make train` runs the main job, `make test` the tests; each makes the
# environments it needs, once. `make help` lists what else there is.

PYTHON := .venv/bin/python
MODERN := .venv-modern/bin/python
DOCS := .venv-docs/bin/python
WORKERS ?= 2
# For example `make train FLAGS="--seed=1"`; `--help` lists them.
FLAGS ?=
PYTEST := -m pytest -q -n $(WORKERS) --dist worksteal
# Of the library's own tests, those that the agent's versions of its
# dependencies see as well; the newest see all.
SMOKE := tests/acme_metarl/*_test.py \
  tests/acme_metarl/evaluators/reductions_test.py \
  tests/acme_metarl/meta/learner_test.py \
  tests/acme_metarl/meta/task_loss_test.py \
  tests/acme_metarl/on_device

.PHONY: help train test test-fast test-agent-stack test-modern run-modern \
  lint types docs notebooks check-learning check-mutations check-faults \
  measure-tests requirements

help:
	@echo 'make train            the main job; FLAGS="--seed=1" sets flags'
	@echo 'make test             everything, on Python 3.10 and on the newest JAX'
	@echo 'make test-fast        what takes no seconds, in under two minutes'
	@echo 'make lint             format, style and types'
	@echo 'make docs             the pages, in build/docs; warnings are errors'
	@echo 'make notebooks        runs the tutorials and stores what they show'
	@echo 'make check-learning   tests that train for minutes'
	@echo 'make check-mutations  do tests notice when a line is wrong?'
	@echo 'make check-faults     are runs killed, stopped, without a disk resumed?'
	@echo 'make measure-tests    decides anew which tests are slow'
	@echo 'make requirements     writes the pins of the agent stack anew'

train: .venv/.ready
	$(PYTHON) -m acme_metarl.launchers.train $(FLAGS)

# The newest JAX last: where it is missing, the last line says so.
test: lint test-agent-stack test-modern

# One environment, and nothing that takes seconds: for whoever is at work.
test-fast: lint
	$(PYTHON) $(PYTEST) -m 'not slow and not learning' tests

lint: .venv/.ready types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: .venv/.ready
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy --warn-unused-ignores tests/typed_use_test.py

test-agent-stack: .venv/.ready
	$(PYTHON) $(PYTEST) tests/*_test.py tests/agents tests/environments \
	  tests/launchers $(SMOKE)

# The library, the environments, MJX, training on a device and the core of the
# launchers on the newest JAX, without Acme, Reverb and TensorFlow.
test-modern:
	@.ci/find_python 3.13 3.12 >/dev/null 2>&1 || { \
	  echo 'INCOMPLETE: no Python 3.12 or newer was found, so nothing was' \
	    'tested on the newest JAX.'; \
	  test -z "$$CI"; \
	}
	@! .ci/find_python 3.13 3.12 >/dev/null 2>&1 || $(MAKE) run-modern

run-modern: .venv-modern/.ready
	$(MODERN) $(PYTEST) tests/acme_metarl tests/environments \
	  tests/launchers/runs tests/launchers/comparison \
	  tests/launchers/mains_test.py tests/launchers/train_on_device_test.py \
	  tests/doctests_test.py tests/readme_test.py tests/docs

docs: .venv-docs/.ready
	$(DOCS) -m sphinx -b html -q -W --keep-going -d build/doctrees docs build/docs
	$(DOCS) docs/extensions/check_site.py build/docs

notebooks: .venv-docs/.ready
	cd docs/tutorials && ../../$(DOCS) -m jupytext --quiet --execute --to ipynb \
	  --update-metadata '{"kernelspec": {"name": "python3"}}' *.py

check-learning: .venv/.ready
	$(PYTHON) -m pytest -q -m learning tests

check-mutations: .venv/.ready
	$(PYTHON) tests/mutations/check.py

# For example FLAGS="--minutes=1 --runners train --seed=3".
check-faults: .venv/.ready
	$(PYTHON) tests/faults/check.py $(FLAGS)

# Decides anew what test-fast leaves out.
measure-tests: .venv/.ready
	$(PYTHON) tests/measure.py -n $(WORKERS) --dist worksteal tests

# Plain pip reads the pinned, hashed file; a change of it makes a new
# environment. The stamp comes last, so an interrupted set-up starts afresh.
.venv/.ready: requirements/agent.txt setup.py
	python="$$(.ci/find_python 3.10)" && "$$python" -m venv --clear .venv
	$(PYTHON) -m pip install -q --require-hashes -r requirements/agent.txt
	$(PYTHON) -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

.venv-modern/.ready: setup.py
	python="$$(.ci/find_python 3.13 3.12)" && \
	  "$$python" -m venv --clear .venv-modern
	$(MODERN) -m pip install -q -e '.[mujoco,dev]'
	touch $@

# For the pages only.
.venv-docs/.ready: setup.py
	python="$$(.ci/find_python 3.13 3.12)" && \
	  "$$python" -m venv --clear .venv-docs
	$(DOCS) -m pip install -q -e '.[docs]'
	touch $@

# Writes the pins of the agent stack anew.
requirements: .venv/.ready
	$(PYTHON) -m uv pip compile setup.py --extra agent --extra dev --upgrade \
	  --generate-hashes --python-version 3.10 \
	  --python-platform x86_64-unknown-linux-gnu --no-annotate --no-header --no-strip-extras \
	  --no-emit-index-url --no-emit-find-links -o requirements/agent.txt
