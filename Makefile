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

.PHONY: help install demo test test-slow test-all lint format bench miniature clean
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

miniature: $(STAMP)  ## Pre-training in miniature, docs/miniature_pretraining.md (more than an hour)
	$(BIN)/python tools/render_persons.py --domain RenderedCampus --root datasets/miniature \
	    --train-identities 80 --test-identities 60 --images-per-identity 16
	for domain in RenderedMall RenderedStation RenderedStreet; do \
	    $(BIN)/python tools/render_persons.py --domain $$domain --root datasets/miniature \
	        --train-identities 200 --test-identities 2 --images-per-identity 10 || exit 1; \
	done
	$(BIN)/python tools/train_net.py --config-file configs/miniature/pretrain.yml --resume
	$(BIN)/python tools/evaluation_matrix.py --config-file configs/miniature/AGW.yml \
	    configs/miniature/AGW_pretrained.yml configs/miniature/BDB.yml \
	    configs/miniature/BDB_pretrained.yml --sources RenderedCampus --targets RenderedCampus \
	    --settings $(foreach kind,few_shot small_scale,$(addprefix $(kind)_,10 30 50 70 90)) \
	    --seeds 0 1 2 --discard-weights --output logs/miniature/matrix

clean:  ## Remove the virtual environment
	rm -rf $(VENV)
