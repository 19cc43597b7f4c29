# make demo: tracks of simulated events, from a fresh clone.   make test: everything that must hold.
# Both make the virtual environment first, if there is none. VENV=folder puts it elsewhere, PYTHON=... chooses the interpreter;
# pip's own settings (PIP_INDEX_URL and so on) are respected.

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := $(VENV)/bin
STAMP := $(VENV)/.trkx-installed
DEMO_OUT ?= demo-out

.DEFAULT_GOAL := help
.PHONY: help demo test lint clean

help:
	@echo "make demo    tracks of simulated events: table, efficiencies, event display in $(DEMO_OUT)/"
	@echo "make test    ruff, mypy, pytest"
	@echo "make lint    ruff and mypy only"
	@echo "make clean   remove what was made here, the virtual environment included"

demo: $(STAMP)
	$(BIN)/export-models --reference --out $(DEMO_OUT)/bundle --overwrite
	$(BIN)/trkx run $(DEMO_OUT)/bundle tests/data/pileup50 --out $(DEMO_OUT)/tracks --plot
	$(BIN)/trkx evaluate $(DEMO_OUT)/tracks tests/data/pileup50 --out $(DEMO_OUT)/evaluation
	@echo
	@echo "Look at $(DEMO_OUT)/tracks/*.png and $(DEMO_OUT)/evaluation/*.png. Your own events: $(BIN)/trkx simulate --help"

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --benchmark-disable

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(DEMO_OUT) build dist trkx.egg-info .mypy_cache .ruff_cache .hypothesis .benchmarks
	find src export runtime models tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# pip 23, which comes with Python 3.11, knows no dependency groups: the pinned pip goes in first.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "trkx needs Python 3.11 or newer, found $$($(PYTHON) --version); set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip setuptools
	$(BIN)/python -m pip install --constraint constraints.txt --no-build-isolation --group dev --editable ".[all]"
	touch $@
