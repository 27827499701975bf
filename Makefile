# Everything lives in .venv/; .venv/bin/segue is the command.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The products of a step are small: a second thread spends its time waiting for the first, all the more where other work runs.
export OMP_NUM_THREADS ?= 1
MARKERS := not gpu and not prove
# Tests at a time: three for two cores, since many wait for brokers and children. Those of a whole live system run by themselves, from
# files of their own: to read all takes half a minute.
# To pytest, 5 means that nothing was selected.
JOBS ?= 3
ALONE = $(shell grep -rl --include='*.py' mark.alone tests)
NONE := 5

.DEFAULT_GOAL := help
.PHONY: install run test check bench prove gpu golden help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## set up .venv/ with every dependency (quick when nothing changed)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Segue needs Python 3.11 or newer; name one: make install PYTHON=python3.12" >&2; exit 2; }
	@echo "setting up $(VENV) …" >&2  # stdout belongs to the command: make run ARGS=--json
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[embedded,dev]' >&2
	@touch $@

run: install  ## broker, worker, learner, listeners and a live panel on this machine; ARGS="--seconds 60 --json"
	@exec $(BIN)/segue run $(ARGS)

test: install  ## every test but the long proofs and those that need a GPU; ARGS="-k words -x"
	@$(BIN)/python -m pytest -m "$(MARKERS) and not alone" -n $(JOBS) --dist loadfile $(ARGS) || [ $$? -eq $(NONE) ]
	@$(BIN)/python -m pytest -m "$(MARKERS) and alone" $(if $(filter tests/%,$(ARGS)),,$(ALONE)) $(ARGS) || [ $$? -eq $(NONE) ]

check: install  ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: install  ## benchmarks
	@exec $(BIN)/python -m benchmarks $(ARGS)

prove: install  ## the statistical and long acceptance lines in full, into benchmarks/RESULTS.md; NAME=kills for some, ARGS=--co lists them
	@$(BIN)/python -m pytest -m "prove and not gpu" --verbose --durations=0 $(if $(NAME),-k "$(NAME)") $(ARGS)

gpu: install  ## the tests that need a CUDA device; their figures into benchmarks/RESULTS.md
	@$(BIN)/python -m pytest -m gpu $(ARGS)

golden: install  ## remake the golden files of formats; review the diff
	@REMAKE_GOLDEN=1 $(BIN)/python -m pytest -m "$(MARKERS)" -k golden $(ARGS)
