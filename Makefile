# Each target sets up all that it needs: .venv, a CPU build of torch, the package with its extras, data.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# With two threads each, two busy processes slow one another down 20 to 100 times.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-docs test-browser test-cluster test-integrations test-all test-floors faults mutants bench
.PHONY: check picture methods docs dist clean
.DELETE_ON_ERROR:

# torch first and by itself: the plain name, pulled in by another package, would bring gigabytes of CUDA. On Linux the
# default index has CUDA builds alone; for a CPU build give the index that torch's installation page names for "CPU":
# `make test TORCH_INDEX=https://…/whl/cpu`. Elsewhere the default index has CPU builds. TORCH=torch takes the newest.
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	$(PIP) install -e ".[ray,studies,test,docs]"
	touch $@

demo: .venv/installed
	rm -rf runs/demo
	$(BIN)/python -m studies.demo --out runs/demo

# The tests are in lanes, by what they need; tests/conftest.py says which test is in which.
PYTEST := $(BIN)/python -m pytest
NEVER := slow or gpu or bench
# a file of tests is one process's: its fixtures are made once
TWO := -n 2 --dist loadfile --no-loadscope-reorder

# what a developer runs
test: .venv/installed
	$(PYTEST) $(TWO) -m "not (docs or browser or cluster or integrations or $(NEVER))"

# every block of the README and of the docs, the demo in small, and the wheel
test-docs: .venv/installed
	$(PYTEST) -n 2 --dist loadgroup -m "docs and not ($(NEVER))"

# the explorer page; skipped without a Chromium, unless PARETOMTL_BROWSER_TESTS=1 says that there must be one
test-browser: .venv/installed
	$(PYTEST) -m "browser and not ($(NEVER))"

# sweeps on Ray, whose workers take the other core
test-cluster: .venv/installed
	$(PYTEST) tests/cluster -m "not ($(NEVER))"

# TorchJD, beside the torch that is there, and what its methods need; these are no requirements of it
.venv/torchjd: .venv/installed
	$(PIP) install --no-deps torchjd==0.18.0 quadprog qpsolvers ecos
	touch $@

# ours against those of TorchJD
test-integrations: .venv/torchjd
	$(PYTEST) tests/integrations -m "not ($(NEVER))"

# all of these and the slow ones
test-all: .venv/installed
	$(PYTEST) -m "not (gpu or bench)"

# Weekly: the quick lane and Ray's, with the oldest version of each dependency that pyproject.toml allows.
# But for torch, which stays at TORCH: its older CPU builds have no place that every machine can reach, and its plain
# ones bring gigabytes of CUDA. `make test-floors TORCH_FLOOR=torch==2.4.0` takes it to its bound as well.
TORCH_FLOOR ?= $(TORCH)
FLOORS := build/floors
# the old are warned by what is newer around them, and an old Ray leaves files and processes to the end
AGED := -W ignore::DeprecationWarning -W ignore::PendingDeprecationWarning -W ignore::FutureWarning
LEFT := -W ignore::ResourceWarning -W ignore::pytest.PytestUnraisableExceptionWarning
test-floors:
	$(PYTHON) -m venv --clear $(FLOORS)
	$(PYTHON) tests/floors.py > $(FLOORS)/constraints.txt
	$(FLOORS)/bin/python -m pip --quiet --disable-pip-version-check install "$(TORCH_FLOOR)" -c $(FLOORS)/constraints.txt
	$(FLOORS)/bin/python -m pip --quiet --disable-pip-version-check install -e ".[ray,studies,test]" -c $(FLOORS)/constraints.txt
	$(FLOORS)/bin/python -m pytest $(AGED) $(TWO) -m "not (docs or browser or cluster or integrations or $(NEVER))"
	$(FLOORS)/bin/python -m pytest $(AGED) $(LEFT) tests/cluster -m "not ($(NEVER))"

# the rows of docs/faults.md, and how many tests each has
faults: .venv/installed
	$(BIN)/python -m tests.fault_matrix

# faults planted in the code, and whether the tests catch them; an hour
mutants: .venv/installed
	$(BIN)/python -m tests.mutants --jobs 2

# ratios of run times, side by side in one run, without the shape checker; best on a quiet machine
bench: .venv/torchjd
	JAXTYPING_DISABLE=1 $(PYTEST) tests/bench -m "bench and not gpu" -s -q

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# the layers of the code, as docs/architecture.md shows them
picture: .venv/installed
	$(BIN)/python docs/draw_tower.py

# docs/method-list.md from the methods' classes, and docs/papers.md from docs/papers.csv
methods: .venv/installed
	$(BIN)/python docs/list_methods.py

docs: .venv/installed
	$(BIN)/mkdocs build --strict

# sdist and wheel, checked as a package index would
dist: .venv/installed
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf .venv site runs build dist
