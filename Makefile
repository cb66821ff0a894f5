# `make` alone lists what can be done. Every target sets up what it needs, once.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
REFERENCE ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Neighbours stay in one process, so that what the tests of a file share is made once. (loadfile does, too, but waits for
# ever when a process has died: pytest-xdist's issue 1378.)
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup train ui test test-all test-quantization test-slurm stress-slurm fuzz lint format bench

help: ## list what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## install tinv and its tools into .venv (again only after pyproject.toml or constraints.txt changed)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "tinv needs Python 3.11, 3.12 or 3.13; name one: make setup PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --progress-bar off -e '.[dev]' -c constraints.txt
	@touch $@

train: setup ## learn the cat toy that comes with tinv, offline, on whatever this machine has
	$(BIN)/python train.py +experiment=cat_toy $(ARGS)

ui: setup ## open a page in the browser that shows the runs in outputs/ live and steers them
	$(BIN)/tinv ui --open $(ARGS)

test: setup ## run the quick tests: offline, on the CPU, in minutes
	$(TESTS) -m "not slow and not gpu and not network and not slurm" $(ARGS)

test-all: export TINV_FUZZ_SCALE ?= 0.1
test-all: setup ## run the slow tests too, and a tenth of the cases of make fuzz
	$(TESTS) -m "not gpu and not network and not slurm" $(ARGS)

test-quantization: setup ## run the tests of quantized weights; diffusers imports their packages always, so they lie apart
	$(BIN)/python -m pip install --progress-bar off --no-deps --upgrade --target $(VENV)/quantization torchao bitsandbytes \
		-c constraints.txt
	PYTHONPATH=$(VENV)/quantization OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m quantization $(ARGS)

test-slurm: setup ## run the tests on a Slurm of their own, where its packages are installed
	$(BIN)/python -m pytest -m slurm -rs -n 2 tests/slurm $(ARGS)

stress-slurm: setup ## do to runs what a Slurm can do to them, ten times each
	TINV_STRESS=10 $(BIN)/python -m pytest -m slurm -rs -n 2 tests/slurm $(ARGS)

fuzz: setup ## try hostile files, configurations and signals (10 minutes); TINV_FUZZ_SEED=1 TINV_FUZZ_SCALE=10 for more
	$(TESTS) -m "not gpu and not network and not slurm" tests/fuzz $(ARGS)

lint: setup ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## put the code into style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## measure speed, beside diffusers' script with REFERENCE=path/to/textual_inversion.py
	$(BIN)/python -m bench $(if $(REFERENCE),--reference $(REFERENCE)) $(ARGS)
