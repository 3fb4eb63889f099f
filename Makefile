# make pretrain   a fresh machine: environment, text, training, report
# make test       a fresh machine: environment, the checks and the test suite
# make evidence   what growing saves, at the smallest size: half an hour on two cores; benchmarks/evidence/README.md
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export DS_ACCELERATOR ?= $(shell nvidia-smi -L >/dev/null 2>&1 || echo cpu)
ifeq ($(DS_ACCELERATOR),)
unexport DS_ACCELERATOR
endif

.PHONY: environment pretrain test lint evidence clean

environment: .venv/installed

.venv/installed: constraints.txt setup.py
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

pretrain: environment
	bash launch/pretrain.sh

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

evidence: environment
	$(BIN)/python benchmarks/evidence/evidence.py --again order/gpt2-tiny factors/gpt2-tiny

clean:
	rm -rf .venv data/docs runs/demo
