# PYTHON=python3.12 asks for that Python. Without it, the one in .venv stays as long as it works.
# TORCH=cpu, on Linux: torch without CUDA, which saves 3 GB.
PYTHON ?= $(if $(filter Windows_NT,$(OS)),python,python3)
BIN := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
RUN := .venv/$(BIN)/python
SETUP := $(PYTHON) minidiff/tools/setup.py $(if $(filter file,$(origin PYTHON)),--any-python) $(if $(TORCH),--torch $(TORCH))
unexport PYTHONPATH PYTHONHOME

.PHONY: demo test notebooks slides clean

demo: setup                 ## train everything, draw the gallery, print the score
	$(RUN) -m minidiff train
	$(RUN) -m minidiff draw
	$(RUN) -m minidiff score
	@echo "Look at runs/gallery.png; the numbers are in runs/report.json"

test: setup                  ## style, then every test
	$(RUN) -m ruff check .
	$(RUN) -m pytest

.PHONY: faults
faults: setup                ## damage, kills, full disks and hostile files: the quick tests of them and the slow ones
	$(RUN) -m pytest -m "slow or not slow" tests/test_faults.py tests/test_train.py tests/test_environments.py

.PHONY: oldest
oldest:                      ## the quick tests with the lowest versions that pyproject.toml allows: PYTHON=python3.10
	@$(SETUP) --oldest
	.venv-oldest/$(BIN)/python -m pytest

.PHONY: bench
bench: setup                 ## train everything three times, from nothing: seconds, where they go, and what they reach
	$(RUN) tests/bench/race.py -o tests/bench/race.json

.PHONY: goals
goals: setup                 ## what each chapter must reach, beside what was kept of its studies
	$(RUN) notebooks/studies/goals.py

notebooks: setup             ## run every notebook from top to bottom and keep the outputs
	$(RUN) -m jupyter nbconvert --to notebook --execute --inplace $(sort $(wildcard notebooks/*.ipynb))

slides: setup                ## every notebook as slides: slides/NAME.html, which open without a network
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps sphinx-revealjs==3.2.1
	$(RUN) notebooks/slides/build.py slides

clean:                       ## forget what was trained
	rm -rf runs

.PHONY: setup
setup:                       ## make .venv, or make it right again; without make: README.md
	@$(SETUP)
