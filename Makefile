PYTHON ?= python3
BIN := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
RUN := .venv/$(BIN)/python

.PHONY: demo test notebooks slides clean

demo: .venv/ready            ## train everything, draw the gallery, print the score
	$(RUN) -m minidiff train
	$(RUN) -m minidiff draw
	$(RUN) -m minidiff score
	@echo "Look at runs/gallery.png; the numbers are in runs/report.json"

test: .venv/ready            ## style, then every test
	$(RUN) -m ruff check .
	$(RUN) -m pytest

.PHONY: faults
faults: .venv/ready          ## damage, kills, full disks and hostile files: the quick tests of them and the slow ones
	$(RUN) -m pytest -m "slow or not slow" tests/test_faults.py tests/test_train.py tests/test_environments.py

.PHONY: oldest
oldest: .venv-oldest/ready   ## the quick tests with the lowest versions that pyproject.toml allows: PYTHON=python3.10
	.venv-oldest/$(BIN)/python -m pytest

.PHONY: bench
bench: .venv/ready           ## train everything three times, from nothing: seconds, where they go, and what they reach
	$(RUN) tests/bench/race.py -o tests/bench/race.json

.PHONY: goals
goals: .venv/ready           ## what each chapter must reach, beside what was kept of its studies
	$(RUN) notebooks/studies/goals.py

notebooks: .venv/ready       ## run every notebook from top to bottom and keep the outputs
	for notebook in notebooks/*.ipynb; do \
	  $(RUN) -m jupyter nbconvert --to notebook --execute --inplace "$$notebook" || exit 1; \
	done

slides: .venv/ready          ## every notebook as slides: slides/NAME.html, which open without a network
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps sphinx-revealjs==3.2.1
	$(RUN) notebooks/slides/build.py slides

clean:                       ## forget what was trained
	rm -rf runs

.venv/ready: requirements.txt
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv-oldest/ready: pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  $$(grep -oE '"[a-z-]+>=[0-9.]+"' pyproject.toml | tr -d '"' | sed 's/>=/==/')
	touch $@
