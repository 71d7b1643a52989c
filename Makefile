# Everything from a fresh clone; each target sets up what it needs. PYTHON=python3.12 chooses another interpreter.
# On Windows: GNU make from a shell that has sh, as Git's has.
PYTHON ?= python3
# MLflow finds no migrations of its store below a folder with a percent sign in its name: the environment then stands in the user's cache.
VENV ?= $(if $(findstring %,$(CURDIR)),$(HOME)/.cache/linfit/venv-$(shell printf %s '$(CURDIR)' | cksum | cut -d ' ' -f 1),.venv)
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := $(PIP) --require-hashes -r
# The torch of requirements-torch.lock; `make lock TORCH=…` writes another one there.
TORCH := $(shell sed -n 's/^torch==//p' requirements-torch.lock)
PLOTLY := 4.1.1

.PHONY: demo test slow references read-only browser reproduce-all faults faults-all matrix lint types check bench docs site picture notebook ui lock plotly wheel clean

demo: $(INSTALLED) ## the main job: six optimizers at five learning rates, ten seeds each, recorded in MLflow
	$(BIN)/linfit run optimizers

test: $(INSTALLED) ## the tests
	$(BIN)/python -m pytest -n auto

slow: $(INSTALLED) ## tests that take long and seldom find something: the wheel, the tutorial, a folder of traps, kills
	$(BIN)/python -m pytest -n auto -m slow

references: $(INSTALLED) ## the exact optima beside statsmodels and skglm, which it installs
	$(LOCKED) requirements-extras.lock
	$(BIN)/python -m pytest -n auto -m references tests/problem

read-only: $(INSTALLED) ## twenty tests in a checkout that their user can read and not write; needs root, who becomes another user
	scratch=$$(mktemp -d) && chmod 1777 "$$scratch" && \
	HOME="$$scratch" TMPDIR="$$scratch" PYTHONDONTWRITEBYTECODE=1 \
	setpriv --reuid 65534 --regid 65534 --clear-groups --securebits +no_setuid_fixup --inh-caps +dac_read_search --ambient-caps +dac_read_search \
	$(BIN)/python -m pytest -p no:cacheprovider -m read_only; code=$$?; rm -rf "$$scratch"; exit $$code

browser: $(INSTALLED) ## MLflow's UI, the report and, after `make site`, the site in a real browser; LINFIT_SCREENSHOTS=FOLDER keeps what it showed
	$(BIN)/python -m pytest -m browser -rs tests/views tests/test_site.py

reproduce-all: $(INSTALLED) ## 200 runs over all components, reproduced bit for bit in other processes
	$(BIN)/python -m pytest -m reproduce_all tests/test_reproduce_all.py

faults: $(INSTALLED) ## kills, crashes, crowds, lost replies, clusters, PostgreSQL: CI's choice of tests/faults
	$(LOCKED) requirements-extras.lock
	$(BIN)/python -m pytest -n 2 -rs -m "not faults_all" tests/faults

faults-all: $(INSTALLED) ## all of these: every state that a power loss leaves, every call that fails, 200 kills; takes hours
	$(LOCKED) requirements-extras.lock
	$(BIN)/python -m pytest -n 2 -rs -m "faults_all or not faults_all" tests/faults

matrix: $(INSTALLED) ## the tests marked `matrix` in one environment after the other; ENVIRONMENTS="lowest newest" and PYTHONS="python3.12" choose
	$(BIN)/python -m tests.matrix --folder '$(VENV)-matrix' --environments $(ENVIRONMENTS) --pythons $(PYTHONS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

check: lint types test

bench: $(INSTALLED) ## side-by-side measurements, see benchmarks/README.md
	$(LOCKED) requirements-extras.lock
	$(BIN)/python benchmarks/fit.py
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.sweep
	$(BIN)/python -m benchmarks.browse
	$(BIN)/python -m benchmarks.clusters
	$(BIN)/python -m benchmarks.data
	$(BIN)/python -m benchmarks.endurance
	$(BIN)/python -m benchmarks.coverage
	$(BIN)/python -m benchmarks.solvers
	$(BIN)/python -m benchmarks.real

docs: $(INSTALLED) ## what of the documentation follows from the code: reference pages, JSON schemas
	$(BIN)/python docs/generate.py

site: $(INSTALLED) ## the documentation as a site, in build/site; a link that leads nowhere, or a page that stands nowhere, fails it
	$(LOCKED) requirements-site.lock
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -c docs -d build/doctrees . build/site

picture: $(INSTALLED) ## README's picture, from the fits of `make demo`
	folder=$$(mktemp -d) && $(BIN)/linfit run optimizers tracking=none hydra.sweep.dir="$$folder" && \
	cp "$$folder/pictures/learning_rate.svg" docs/images/demo-learning-rate.svg; code=$$?; rm -rf "$$folder"; exit $$code

notebook: $(INSTALLED) ## runs the tutorial again and keeps what it prints
	$(BIN)/python -c "import nbclient, nbformat; path = 'docs/tutorial.ipynb'; tutorial = nbformat.read(path, 4); nbclient.NotebookClient(tutorial, record_timing=False).execute(); nbformat.write(tutorial, path)"

ui: $(INSTALLED)
	$(BIN)/linfit ui

plotly: ## the report's charts: the script of the version that the tests know, from the npm package of its cartesian charts
	cd $$(mktemp -d) && npm pack --silent plotly.js-cartesian-dist-min@$(PLOTLY) && tar xzf *.tgz && gzip -9nc package/*.min.js > $(CURDIR)/linfit/views/pages/plotly-cartesian.min.js.gz

wheel: $(INSTALLED)
	$(BIN)/python -m build --wheel

# Without torch, whose builds differ; pip takes the one that is there, or that its index has for the platform.
RESOLVE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-annotate --custom-compile-command 'make lock'
lock: $(INSTALLED) ## the newest versions for all platforms: of linfit and dev, of all extras, of the site, and of torch with what it alone needs
	echo torch | $(RESOLVE) --excludes - --generate-hashes --all-extras pyproject.toml -o requirements-extras.lock
	echo torch | $(RESOLVE) --excludes - --generate-hashes --extra dev -c requirements-extras.lock pyproject.toml -o requirements.lock
	$(RESOLVE) --generate-hashes --group site -c requirements-extras.lock -o requirements-site.lock
	echo torch==$(TORCH) | $(RESOLVE) -c requirements-extras.lock - -o requirements-torch.lock \
	  $$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' requirements.lock)

$(INSTALLED): pyproject.toml requirements.lock requirements-torch.lock
	@$(PYTHON) -c 'import sys; sys.exit("linfit needs Python 3.11, 3.12 or 3.13, $(PYTHON) is %d.%d: make PYTHON=python3.12" % sys.version_info[:2] if not (3, 11) <= sys.version_info < (3, 14) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(LOCKED) requirements.lock
	$(PIP) -c requirements-torch.lock torch
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-matrix build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
