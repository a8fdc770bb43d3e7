# `make demo` and `make test` set up all that they need: .venv, a CPU build of torch, the package with its extras, data.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# With two threads each, two busy processes slow one another down 20 to 100 times.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-all faults bench check docs clean
.DELETE_ON_ERROR:

# torch first and by itself: the plain name, pulled in by another package, would bring gigabytes of CUDA
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) install "$(TORCH)"
	$(PIP) install -e ".[ray,test,docs]"
	touch $@

demo: .venv/installed
	rm -rf runs/demo
	$(BIN)/python -m studies.digit_pairs --out runs/demo

# a file of tests is one process's; those of Ray and of whole sweeps each want to be alone in it
test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-all: .venv/installed
	$(BIN)/python -m pytest -m "not gpu and not bench"

# the rows of docs/faults.md, and how many tests each has
faults: .venv/installed
	$(BIN)/python -m tests.fault_matrix

# ratios of run times, side by side in one run; best on a quiet machine
bench: .venv/installed
	$(BIN)/python -m pytest tests/bench -m "bench and not gpu" -s -q --jaxtyping-packages=

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: .venv/installed
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv site runs build dist
