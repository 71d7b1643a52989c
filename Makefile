# Everything from a fresh clone; each target sets up what it needs. PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PLOTLY := 4.1.1

.PHONY: demo test browser reproduce-all faults lint types check bench docs notebook ui lock plotly wheel clean

demo: $(INSTALLED) ## the main job: six optimizers at five learning rates, three seeds each, recorded in MLflow
	$(BIN)/linfit run optimizers

test: $(INSTALLED) ## the tests, under ten minutes on two cores
	$(BIN)/python -m pytest -n auto

browser: $(INSTALLED) ## MLflow's UI and the report in a real browser; LINFIT_SCREENSHOTS=FOLDER keeps what it showed
	$(BIN)/python -m pytest -m browser -rs tests/views/test_browser.py

reproduce-all: $(INSTALLED) ## 200 runs over all components, reproduced bit for bit in other processes
	$(BIN)/python -m pytest -m reproduce_all tests/test_reproduce_all.py

faults: $(INSTALLED) ## kills, crashes, crowds, lost replies, clusters, PostgreSQL: all of tests/faults
	$(BIN)/python -m pip install --quiet -c requirements.lock -e '.[dev,dask,postgres,ray]'
	$(BIN)/python -m pytest -n 2 -rs -m "faults or not faults" tests/faults

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

check: lint types test

bench: $(INSTALLED) ## side-by-side measurements, see benchmarks/README.md; a peer that does not install is left out
	$(BIN)/python -m pip install --quiet -c requirements.lock -e '.[bench,dask,ray]'
	-$(BIN)/python -m pip install --quiet -c requirements.lock modelbatch
	$(BIN)/python benchmarks/fit.py
	$(BIN)/python -m benchmarks.sweep
	$(BIN)/python -m benchmarks.browse
	$(BIN)/python -m benchmarks.clusters
	$(BIN)/python -m benchmarks.data
	$(BIN)/python -m benchmarks.endurance

docs: $(INSTALLED) ## what of the documentation follows from the code: reference pages, JSON schemas
	$(BIN)/python docs/generate.py

notebook: $(INSTALLED) ## runs the tutorial again and keeps what it prints
	$(BIN)/python -c "import nbclient, nbformat; path = 'docs/tutorial.ipynb'; tutorial = nbformat.read(path, 4); nbclient.NotebookClient(tutorial, record_timing=False).execute(); nbformat.write(tutorial, path)"

ui: $(INSTALLED)
	$(BIN)/linfit ui

plotly: ## the report's charts: the script of the version that the tests know, from the npm package of its cartesian charts
	cd $$(mktemp -d) && npm pack --silent plotly.js-cartesian-dist-min@$(PLOTLY) && tar xzf *.tgz && gzip -9nc package/*.min.js > $(CURDIR)/linfit/views/pages/plotly-cartesian.min.js.gz

wheel: $(INSTALLED)
	$(BIN)/python -m build --wheel

lock: $(INSTALLED) ## exact versions of what is installed; without the build tag of a torch for one kind of machine
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("linfit needs Python 3.11 or newer, $(PYTHON) is %d.%d: make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c requirements.lock -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
