# `make demo` and `make test` are all a newcomer needs. Variables:
#   PYTHON=python3.11   interpreter for the virtual environment
#   VENV=.venv          where to create it
#   TORCH=pinned        "installed": keep the torch (for example a CUDA build) PYTHON already has
#   EXTRAS=dev          of setup.py; "dev,body" adds smplx (licence: non-commercial) to test against
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
TORCH ?= pinned
EXTRAS ?= dev
DEMO_DIR ?= demo

BIN := $(VENV)/bin
# Named after the extras, so that others are installed when they are asked for.
STAMP := $(VENV)/.installed-$(EXTRAS)
ifeq ($(TORCH),installed)
VENV_FLAGS := --system-site-packages
CONSTRAINTS := -c constraints.txt
else
VENV_FLAGS :=
CONSTRAINTS := -c constraints.txt -c constraints-torch.txt
endif

.PHONY: help install demo test test-slow test-all lint format bench clean
.DEFAULT_GOAL := help

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## Create .venv with everything pinned, fastreid included

$(STAMP): setup.py constraints.txt constraints-torch.txt requirements-nodeps.txt
	$(PYTHON) -m venv $(VENV_FLAGS) $(VENV)
	$(BIN)/python -m pip install -q $(CONSTRAINTS) -e '.[$(EXTRAS)]'
	$(BIN)/python -m pip install -q --no-deps -r requirements-nodeps.txt
	touch $(STAMP)

demo: $(STAMP)  ## Render persons, train, evaluate, show: results in demo/ (about 10 minutes on 2 cores)
	$(BIN)/python tools/demo.py --output $(DEMO_DIR)

test: $(STAMP)  ## Run the tests that finish in minutes
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(STAMP)  ## Run the other tests
	$(BIN)/python -m pytest -m slow

test-all: test test-slow  ## Run every test

lint: $(STAMP)  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## Rewrite files in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## Measure ranking, re-ranking, rendering and the training step
	$(BIN)/python tools/benchmark_ranking.py
	$(BIN)/python tools/benchmark_reranking.py
	$(BIN)/python tools/benchmark_rendering.py
	$(BIN)/python tools/benchmark_step.py

clean:  ## Remove the virtual environment
	rm -rf $(VENV)
