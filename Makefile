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
# Processes of `make test`; files stay whole, since their tests share fixtures. Slow tests may move
# to an idle process: some files take ten minutes.
TEST_PROCESSES ?= $(shell nproc 2>/dev/null || echo 2)
PYTEST := -m pytest --numprocesses $(TEST_PROCESSES)
# The miniature replications were made on sets with steady cameras.
EASY := --difficulty easy

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

.PHONY: miniature-unsupervised miniature-dapg miniature-long help install demo test test-slow test-all lint format bench parity miniature miniature-robust miniature-base miniature-diffusion miniature-pretrained miniature-data miniature-campus miniature-dcac miniature-dcac-base miniature-diff-id clean
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
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) --dist loadfile -m "not slow"

test-slow: $(STAMP)  ## Run the other tests
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) --dist worksteal --durations 30 -m slow

test-all: test test-slow  ## Run every test

lint: $(STAMP)  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## Rewrite files in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## Measure ranking, rendering, corruptions, loading, the training step, generating persons
	$(BIN)/python tools/benchmarks/ranking.py
	$(BIN)/python tools/benchmarks/reranking.py
	$(BIN)/python tools/benchmarks/clustering.py
	$(BIN)/python tools/benchmarks/rendering.py
	$(BIN)/python tools/benchmarks/condition_maps.py
	$(BIN)/python tools/benchmarks/step.py
	$(BIN)/python -m pip install -q --no-deps --target $(VENV)/imaug imagecorruptions-imaug==1.1.5
	$(BIN)/python tools/benchmarks/corruptions.py --imaug $(VENV)/imaug
	$(BIN)/python tools/benchmarks/augmix.py
	$(BIN)/python tools/benchmarks/dapg_views.py
	$(BIN)/python tools/benchmarks/loading.py
	for part in captions filter; do \
	    $(BIN)/python tools/benchmarks/captions_and_filter.py --device cpu --size miniature \
	        --dtype float32 --parts $$part || exit 1; \
	done
	for part in fine-tuning sampling; do \
	    $(BIN)/python tools/benchmarks/generation.py --device cpu --size miniature \
	        --dtype float32 --parts $$part || exit 1; \
	done
	$(BIN)/python tools/benchmarks/pose_guided.py --device cpu --size miniature --dtype float32

parity: miniature-campus  ## fastreid's own training loop against ours, docs/parity.md (three hours of one core)
	OMP_NUM_THREADS=1 $(BIN)/python tools/benchmarks/parity.py

miniature: miniature-pretrained  ## Pre-training in miniature, docs/miniature_pretraining.md (more than an hour)
	$(BIN)/python tools/evaluation_matrix.py --config-file configs/miniature/AGW.yml \
	    configs/miniature/AGW_pretrained.yml configs/miniature/BDB.yml \
	    configs/miniature/BDB_pretrained.yml --sources RenderedCampus --targets RenderedCampus \
	    --settings $(foreach kind,few_shot small_scale,$(addprefix $(kind)_,10 30 50 70 90)) \
	    --seeds 0 1 2 --discard-weights --output logs/miniature/matrix

miniature-long: miniature-pretrained  ## Longer schedules, docs/miniature_pretraining.md (an hour)
	for run in "15 few_shot_50 few_shot_90" "30 few_shot_50"; do \
	    set -- $$run; epochs=$$1; shift; \
	    $(BIN)/python tools/evaluation_matrix.py --config-file configs/miniature/AGW.yml \
	        configs/miniature/AGW_pretrained.yml --sources RenderedCampus --targets RenderedCampus \
	        --settings $$* --seeds 0 1 2 --discard-weights \
	        --output logs/miniature/matrix_$$epochs SOLVER.MAX_EPOCH $$epochs || exit 1; \
	done

miniature-robust: miniature-pretrained  ## CIL and DAPG in miniature, projects/CIL and projects/DAPG (two hours)
	for seed in 0 1 2; do \
	    for model in robust_AGW robust_AGW_CIL; do \
	        $(BIN)/python tools/train_net.py --config-file configs/miniature/$$model.yml --resume \
	            SEED $$seed OUTPUT_DIR logs/miniature/$${model}_seed$$seed || exit 1; \
	        $(BIN)/python tools/evaluate_corruption.py --config-file configs/miniature/$$model.yml --grid \
	            --weights logs/miniature/$${model}_seed$$seed/model_final.pth \
	            --index logs/miniature/RenderedCampus-C.jsonl \
	            --output logs/miniature/$${model}_seed$$seed/corruption || exit 1; \
	    done; \
	    for start in random simclr dapg_stage1; do \
	        weights=logs/miniature/$${start}_seed$$seed; model=AGW_pretrained; \
	        if [ $$start = random ]; then model=AGW; else \
	            $(BIN)/python tools/train_net.py --config-file configs/miniature/$$start.yml --resume \
	                SEED $$seed OUTPUT_DIR $$weights || exit 1; \
	        fi; \
	        $(BIN)/python tools/train_net.py --config-file configs/miniature/$$model.yml --resume \
	            MODEL.BACKBONE.PRETRAIN_PATH $$weights/model_final.pth \
	            SEED $$seed OUTPUT_DIR $${weights}_AGW || exit 1; \
	        $(BIN)/python tools/evaluate_corruption.py --config-file configs/miniature/AGW.yml \
	            --weights $${weights}_AGW/model_final.pth --index logs/miniature/RenderedCampus-C.jsonl \
	            --output $${weights}_AGW/corruption || exit 1; \
	    done; \
	done
	$(BIN)/python tools/compare_corruption.py --output logs/miniature/CIL \
	    --model AGW $(foreach s,0 1 2,logs/miniature/robust_AGW_seed$(s)/corruption) \
	    --model AGW+CIL $(foreach s,0 1 2,logs/miniature/robust_AGW_CIL_seed$(s)/corruption)
	$(BIN)/python tools/compare_corruption.py --output logs/miniature/self_supervised \
	    $(foreach start,random simclr dapg_stage1,--model $(start) \
	        $(foreach s,0 1 2,logs/miniature/$(start)_seed$(s)_AGW/corruption))

# 0.4 million parameters; without these words the reasons have ResNet-18 and take five times as long.
SMALL_NETWORK := MODEL.BACKBONE.NAME build_timm_backbone MODEL.BACKBONE.TIMM_NAME test_resnet \
    MODEL.BACKBONE.FEAT_DIM 0

miniature-dapg: miniature-data  ## Why stage 1 of DAPG helps or not, and the compared pre-trainings (hours)
	$(BIN)/python -m projects.DAPG.miniature.starts reasons $(SMALL_NETWORK)
	$(BIN)/python -m projects.DAPG.miniature.posed_persons \
	    $(addprefix datasets/miniature/Rendered,Mall Station Street)
	$(BIN)/python tools/render_persons.py --domain RenderedVI --root datasets/miniature $(EASY) \
	    --train-identities 300 --test-identities 60 --images-per-identity 12
	$(BIN)/python -m projects.DAPG.miniature.starts pretrainings --corrupted

miniature-unsupervised: miniature-data  ## Methods without labels of the target, projects/Unsupervised (hours)
	$(BIN)/python -m projects.Unsupervised.miniature.compare

miniature-diffusion: miniature-base  ## Diffusion-ReID in miniature, projects/DiffusionReID (hours)
	$(BIN)/python -m projects.DiffusionReID.miniature.replicate --seeds 0 1 2

DCAC := logs/miniature/dcac
DCAC_CONFIGS := projects/DCAC/miniature/configs
DOMAINS := RenderedCampus RenderedMall RenderedStation RenderedStreet
SINGLE := --sources $(DOMAINS) --targets $(DOMAINS)
MATRIX := $(BIN)/python tools/evaluation_matrix.py --discard-weights
DCAC_REPORT := $(BIN)/python -m projects.DCAC.miniature.report

miniature-dcac: miniature-dcac-base  ## DCAC in miniature, projects/DCAC (hours)
	$(MATRIX) --output $(DCAC)/single_source --config-file $(DCAC_CONFIGS)/baseline.yml \
	    $(DCAC_CONFIGS)/DCAC.yml $(SINGLE) --seeds 0 1 2
	$(MATRIX) --output $(DCAC)/controls --config-file $(DCAC_CONFIGS)/scratch.yml \
	    $(DCAC_CONFIGS)/latent.yml $(DCAC_CONFIGS)/lambda_300.yml $(SINGLE) --seeds 0 1 2
	$(MATRIX) --output $(DCAC)/leave_one_out --config-file $(DCAC_CONFIGS)/baseline.yml \
	    $(DCAC_CONFIGS)/DCAC.yml --protocol rendered_leave_one_out --seeds 0 1 2
	$(MATRIX) --output $(DCAC)/ablations --seeds 0 1 2 --sources RenderedCampus \
	    --targets $(DOMAINS) --config-file $(DCAC_CONFIGS)/baseline.yml $(DCAC_CONFIGS)/DCAC.yml \
	    $(sort $(wildcard $(DCAC_CONFIGS)/unet_*.yml $(DCAC_CONFIGS)/condition_*.yml \
	        $(DCAC_CONFIGS)/bottleneck_*.yml))
	$(MATRIX) --output $(DCAC)/resnet18 --config-file $(DCAC_CONFIGS)/resnet18_baseline.yml \
	    $(DCAC_CONFIGS)/resnet18_DCAC.yml $(SINGLE) --seeds 0
	$(DCAC_REPORT) $(addprefix $(DCAC)/,single_source controls) \
	    --json docs/miniature_dcac.json --picture docs/miniature_dcac.png
	for part in leave_one_out ablations; do \
	    $(DCAC_REPORT) $(DCAC)/$$part --json docs/miniature_dcac_$$part.json || exit 1; \
	done
	$(DCAC_REPORT) $(DCAC)/resnet18 --baseline resnet18_baseline \
	    --json docs/miniature_dcac_resnet18.json
	$(BIN)/python -m projects.DCAC.miniature.feedback --config-file $(DCAC_CONFIGS)/DCAC.yml

miniature-dcac-base: $(STAMP)  ## A tiny Stable Diffusion and CLIP of other people, and four domains
	for domain in $(filter-out RenderedCampus,$(DOMAINS)); do \
	    $(BIN)/python tools/render_persons.py --domain $$domain --root datasets/miniature_other $(EASY) \
	        --train-identities 400 --test-identities 2 --images-per-identity 5 --seed 1 || exit 1; \
	done
	for domain in $(DOMAINS); do \
	    $(BIN)/python tools/render_persons.py --domain $$domain --root datasets/miniature_domains $(EASY) \
	        --train-identities 80 --test-identities 40 --images-per-identity 12 || exit 1; \
	done
	$(BIN)/python -m projects.DiffusionReID.miniature.train_base --data datasets/miniature_other \
	    --domains $(filter-out RenderedCampus,$(DOMAINS)) --stages autoencoder clip denoiser \
	    --steps autoencoder=700 clip=1200 denoiser=3000 --output $(DCAC)/base

DIFF_ID := logs/miniature/diff_id
OTHERS := $(filter-out RenderedCampus,$(DOMAINS))

miniature-diff-id: $(STAMP)  ## Diff-ID in miniature, projects/DiffID (three hours of two cores)
	$(BIN)/python tools/render_persons.py --domain RenderedCampus --root datasets/diff_id $(EASY) \
	    --train-identities 80 --test-identities 60 --images-per-identity 12 \
	    --unusual-poses 0.3 --front-walkers
	for domain in $(OTHERS); do \
	    $(BIN)/python tools/render_persons.py --domain $$domain --root datasets/diff_id $(EASY) \
	        --train-identities 300 --test-identities 2 --images-per-identity 8 \
	        --unusual-poses 0.3 --seed 1 || exit 1; \
	done
	$(BIN)/python -m projects.DiffusionReID.miniature.train_base --data datasets/diff_id \
	    --domains $(OTHERS) --stages autoencoder clip denoiser \
	    --steps autoencoder=700 clip=600 denoiser=1 --output $(DIFF_ID)/base
	$(BIN)/python -m projects.DiffID.miniature.replicate --seeds 0 1 2
	cp $(DIFF_ID)/table.json docs/miniature_diff_id.json
	cp $(DIFF_ID)/table.png docs/miniature_diff_id.png
	$(BIN)/python -c "from PIL import Image; \
	    Image.open('$(DIFF_ID)/strips.png').save('docs/miniature_diff_id_strips.jpg', quality=85)"

miniature-base: miniature-data  ## A tiny Stable Diffusion, CLIP and captioner (an hour of one core)
	for domain in RenderedMall RenderedStation RenderedStreet; do \
	    $(BIN)/python tools/render_persons.py --domain $$domain --root datasets/miniature_base $(EASY) \
	        --train-identities 1200 --test-identities 2 --images-per-identity 5 --seed 1 || exit 1; \
	done
	$(BIN)/python tools/render_persons.py --domain RenderedCampus --root datasets/miniature_base $(EASY) \
	    --train-identities 80 --test-identities 60 --images-per-identity 16
	$(BIN)/python -m projects.DiffusionReID.miniature.train_base --data datasets/miniature \
	    datasets/miniature_base --output logs/miniature/diffusion/base

miniature-pretrained: miniature-data
	$(BIN)/python tools/train_net.py --config-file configs/miniature/pretrain.yml --resume

miniature-campus: $(STAMP)
	$(BIN)/python tools/render_persons.py --domain RenderedCampus --root datasets/miniature $(EASY) \
	    --train-identities 80 --test-identities 60 --images-per-identity 16

miniature-data: miniature-campus
	for domain in RenderedMall RenderedStation RenderedStreet; do \
	    $(BIN)/python tools/render_persons.py --domain $$domain --root datasets/miniature $(EASY) \
	        --train-identities 200 --test-identities 2 --images-per-identity 10 || exit 1; \
	done

clean:  ## Remove the virtual environment
	rm -rf $(VENV)
