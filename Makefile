# `make train` runs the main job, `make test` the tests; each makes the
# environments it needs, once.

PYTHON := .venv/bin/python
MODERN := .venv-modern/bin/python
WORKERS ?= 2
# For example `make train FLAGS="--seed=1"`; `--help` lists them.
FLAGS ?=

.PHONY: train test test-agent-stack test-modern lint check-learning requirements

train: .venv/.ready
	$(PYTHON) -m acme_metarl.launchers.train $(FLAGS)

test: lint test-agent-stack test-modern

lint: .venv/.ready
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

test-agent-stack: .venv/.ready
	$(PYTHON) -m pytest -q -n $(WORKERS) --dist loadfile tests

# The library alone, on the newest JAX, without Acme, Reverb and TensorFlow.
test-modern:
	@if .ci/find_python 3.13 3.12 >/dev/null 2>&1; then \
	  $(MAKE) .venv-modern/.ready && \
	  $(MODERN) -m pytest -q -n $(WORKERS) --dist loadfile tests/acme_metarl; \
	else \
	  echo "No Python 3.12 or newer found: the library was tested on 3.10 only."; \
	fi

check-learning: .venv/.ready
	$(PYTHON) -m pytest -q -m learning tests

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

# Writes the pins of the agent stack anew.
requirements: .venv/.ready
	$(PYTHON) -m pip install -q uv
	$(PYTHON) -m uv pip compile setup.py --extra agent --extra dev --upgrade \
	  --generate-hashes --python-version 3.10 \
	  --python-platform x86_64-unknown-linux-gnu --no-annotate --no-header --no-strip-extras \
	  --no-emit-index-url --no-emit-find-links -o requirements/agent.txt
