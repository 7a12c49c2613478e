# make demo   makes the environment, runs the main job and leaves demo/report.html and demo/map.png
# make test   makes the environment and runs the tests
# make check  lint, types, import contracts, protos, wheel, documents
PYTHON ?= python3
DATA ?= digits
OUT ?= demo
JOBS ?= 0
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
USABLE := $(VENV)/.usable

.PHONY: demo test test-full crash check docs bench bench-full env format protos clean
.DEFAULT_GOAL := demo
# Two recipes make one environment.
.NOTPARALLEL:

# What tests and documents need is left out, unless it is there: the first map comes sooner.
demo: $(or $(wildcard $(READY)),$(USABLE))
	$(BIN)/fastclust demo --data $(DATA) -o $(OUT)

# JOBS=2: in two processes, a file of tests to one of them (CONTRIBUTING.md, Time).
test: $(READY)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m "not full" --numprocesses $(JOBS) --dist loadfile \
	  --no-loadscope-reorder $(ARGS)

# What is too long for CI; its results are committed under bench/results/.
test-full: $(READY)
	$(BIN)/python -m pytest --timeout 3600 $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/buf format proto --diff --exit-code
	$(BIN)/buf breaking proto --against proto/baseline.binpb
	proto/generate.sh --check
	$(BIN)/python tests/packaging/wheel_names.py
	$(MAKE) --no-print-directory docs

# The documents, in build/docs: open build/docs/index.html. A warning is an error; links are checked without a network.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file fastclust/docs/mkdocs.yml
	$(BIN)/python tests/docs/links.py build/docs

# kill -9 of server and worker, N times a store, at moments that SEED chooses.
N ?= 12
SEED ?= 0
crash: $(READY)
	$(BIN)/python -m tests.crash --rounds $(N) --seed $(SEED)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format -w proto

protos: $(READY)
	proto/generate.sh

# Small sizes of every case and what is made of them: tables, plots, targets, the rows in README.md. bench-full
# takes hours.
bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r bench/requirements.txt
	$(BIN)/python -m bench run all; ended=$$?; $(BIN)/python -m bench report && exit $$ended

bench-full: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r bench/requirements.txt
	$(BIN)/python -m bench run all --size full; ended=$$?; $(BIN)/python -m bench report && exit $$ended

env: $(READY)

# pip would compile all modules of all packages; Python compiles those few that are imported.
$(READY): EXTRAS := cpu,server,files,ray,dev
$(USABLE): EXTRAS := cpu,server,files
$(READY) $(USABLE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "$(PYTHON) lacks venv (Debian: apt-get install python3-venv)"; exit 1; }
	@echo "Making $(VENV): a minute or two, once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
