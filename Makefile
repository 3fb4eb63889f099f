# make pretrain     a fresh machine: environment, text, training, report
# make check        what a contributor runs all day: lint, types, imports, unit tests; no second process, some four minutes on two cores
# make test         all that must hold at each landing: the check, and tests on real ranks, launchers and SLURM
# make acceptance   what takes longer: grids, kills at random, full examples; its record is tests/acceptance/record.md
# make docs         the site, build/site/index.html, from docs/; a broken link is an error
# make pictures     the pictures of docs/concepts/ and docs/development/ anew, from the code; a test sees when one is old
# make evidence     what growing saves, at the smallest size: 45 minutes on two cores; benchmarks/evidence/README.md
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export DS_ACCELERATOR ?= $(shell nvidia-smi -L >/dev/null 2>&1 || echo cpu)
ifeq ($(DS_ACCELERATOR),)
unexport DS_ACCELERATOR
endif

# pip would compile every file of torch and transformers, for a minute; most are never imported. The others are compiled
# when they are imported first, here, so that their files are there for shells in which Python may not write any.
export PYTHONDONTWRITEBYTECODE :=
EVIDENCE := benchmarks/evidence/order/gpt2-tiny.yaml benchmarks/evidence/factors/gpt2-tiny.yaml
IMPORTED := apollo_ds.engine.engine apollo_ds.training.trainer apollo_ds.experiments.report apollo_ds.finetune.command \
    data_prep.indexed

.PHONY: environment pretrain lint docs pictures check test all-tests acceptance evidence clean

environment: .venv/installed

.venv/installed: constraints.txt setup.py
	@$(or $(PYTHON),python3) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[docs,test]'
	$(BIN)/python -c 'import sys, importlib; [importlib.import_module(name) for name in sys.argv[1:]]' $(IMPORTED)
	touch $@

pretrain: environment
	bash launch/pretrain.sh

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

# Without the notice that MkDocs Material prints of its own future. With --quiet, warnings would not count.
docs: environment
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

pictures: environment
	$(BIN)/python docs/site/draw.py

check: lint
	$(BIN)/pytest --numprocesses auto tests/unit

test: environment
	$(MAKE) --jobs 2 lint docs all-tests

# Files with ranks first, so that short ones fill the end. More than two would need the memory for more ranks.
all-tests: environment
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder tests/distributed tests/unit

acceptance: environment
	$(BIN)/pytest tests/acceptance

evidence: environment
	for grid in $(EVIDENCE); do DS_ACCELERATOR=cpu $(BIN)/apollo-ds sweep $$grid --jobs 2 || exit; done
	$(BIN)/python benchmarks/evidence/evidence.py record --anew $(EVIDENCE)
	$(BIN)/python benchmarks/evidence/evidence.py pages

clean:
	rm -rf .venv data/docs data/docs-wordpiece runs/demo
