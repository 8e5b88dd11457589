# The two commands of a fresh machine are `make demo` and `make test`; both set up .venv first.
# Needs git, make and Python 3.10 to 3.13; everything else is installed into .venv.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo demo-data test lint types docs peers clean

VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
# Pythons to make .venv with, the first that fits; `make PYTHONS=/opt/python/bin/python3` names one.
PYTHONS := python3.13 python3.12 python3.11 python3.10 python3
# Processes that run tests; each imports TensorFlow (3 s, 1 GB).
TEST_WORKERS := 2

# What stands in the user's shell or home must not decide what runs here.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONDONTWRITEBYTECODE PYTEST_ADDOPTS PYTEST_PLUGINS TF_USE_LEGACY_KERAS
export PYTHONNOUSERSITE := 1
export KERAS_BACKEND := tensorflow
export KERAS_HOME := $(CURDIR)/$(VENV)/keras

# --- the demo: phantoms, or the images in IMAGES -------------------------------------------------

ifdef IMAGES
ifneq ($(shell test -d "$(IMAGES)" && echo found),found)
$(error IMAGES=$(IMAGES): no such folder; expected one with a folder for each class)
endif
space := $(subst ,, )
NAME := demo-$(notdir $(patsubst %/,%,$(subst $(space),_,$(IMAGES))))
FOLDER := $(IMAGES)
IMAGE_SIZE := 224
# With ImageNet weights, where they are installed: one epoch is its default. Without them, 12.
PRETRAINED := efficientnet_lite0
EPOCHS :=
SHARDS := data/$(NAME)-shards
# A test split of the folder's own is kept as it is; else one is drawn, like validation, by patient.
# (At depth 2 too: the public set is often unpacked into a folder within a folder.)
HAS_TEST := $(shell find -L "$(IMAGES)" -mindepth 1 -maxdepth 2 -type d -iname test 2>/dev/null)
FRACTIONS := --validation-fraction 0.1 $(if $(HAS_TEST),,--test-fraction 0.1)
else
NAME := demo
FOLDER := data/phantoms
IMAGE_SIZE := 128
EPOCHS := 8
TRAIN_FLAGS := --global-batch-size 32
SHARDS := data/phantoms-shards
FRACTIONS := --validation-fraction 0.1
endif
RUN := saved_models/$(NAME)
PREDICTIONS := $(RUN)/evaluation/test/predictions.csv

help:
	@echo 'make demo               phantoms, shards, training, evaluation, a few predictions'
	@echo 'make demo IMAGES=dir    the same on a folder of images, one folder per class'
	@echo '                        (EPOCHS=n and IMAGE_SIZE=n set how long and how fine); starts'
	@echo '                        from ImageNet weights where the extra [pretrained] is installed'
	@echo 'make setup              .venv, which the others set up too'
	@echo 'make test               lint, types, tests'
	@echo 'make lint, make types   one of them'
	@echo 'make docs               writes what is generated in docs/ and the measured tables'
	@echo 'make peers              .venv-peers, what the benchmarks are compared with'
	@echo 'make clean              removes caches and what the demo made of phantoms; keeps .venv'
	@echo
	@echo 'The first of them sets up .venv: some minutes, about 2 GB.'

setup: $(INSTALLED)

demo: demo-data
	$(PYTHON) -m engine.build_tfrecords "$(FOLDER)" $(SHARDS) --image-size $(IMAGE_SIZE) \
	    $(FRACTIONS) --group-by patient
	@if [ -f $(RUN)/model.keras ] && [ -f $(RUN)/training.json ]; then \
	    echo '$(RUN): trained already; to train again: rm -r $(RUN)'; \
	else \
	    model='--epochs $(or $(EPOCHS),12)'; \
	    if [ -n '$(PRETRAINED)' ] && $(PYTHON) -c 'import $(PRETRAINED)_pytorch_model' 2>/dev/null; then \
	        model='--model $(PRETRAINED) $(addprefix --epochs ,$(EPOCHS))'; \
	    fi; \
	    set -- $(PYTHON) -m engine.train $(SHARDS) --workdir $(RUN) $$model $(TRAIN_FLAGS) --resume; \
	    echo "$$*"; "$$@"; \
	fi
	$(PYTHON) -m engine.evaluate $(RUN) $(SHARDS) --split test --name test
	@# Six images of the test split, evenly spaced.
	@$(PYTHON) -c 'import csv, sys; rows = csv.DictReader(open(sys.argv[1], encoding="utf-8", newline="")); \
	    paths = [row["path"] for row in rows]; n = len(paths); \
	    print(*(paths[(2 * i + 1) * n // 12] for i in range(min(6, n))), sep="\n")' \
	    $(PREDICTIONS) | ( set --; \
	    while IFS= read -r path; do set -- "$$@" "$(FOLDER)/$$path"; done; \
	    set -- $(PYTHON) -m engine.predict $(RUN) "$$@"; echo "$$*"; "$$@" )
	$(PYTHON) -m engine.demo_summary $(RUN)

demo-data: $(INSTALLED)
ifndef IMAGES
	$(PYTHON) -m engine.phantoms $(FOLDER)
endif

# --- checks --------------------------------------------------------------------------------------

# Files in the order of their names: those of most tests first would leave the longest file, which has
# two tests, to one process at the end.
test: lint types
	$(PYTHON) -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: $(INSTALLED)
	$(PYTHON) -m mypy

docs: $(INSTALLED)
	$(PYTHON) docs/generate_api.py
	$(PYTHON) docs/generate_architecture.py
	$(PYTHON) -m benchmarks.readme_table

# One peer after the other: some bring a PyTorch of several GB or want headers (benchmarks/peers), and
# one that does not install must not keep the rest away.
PEERS := torch simplejpeg grain array_record webdataset litdata mosaicml-streaming \
    nvidia-dali-cuda120 ffcv

peers: $(INSTALLED)
	$(PYTHON) -m venv $(VENV)-peers
	@for peer in $(PEERS); do \
	    $(VENV)-peers/bin/python -m pip install --disable-pip-version-check --quiet $$peer pillow \
	        && echo "installed $$peer" || echo "NOT installed: $$peer"; \
	done

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .coverage build *.egg-info
	rm -rf data/phantoms data/phantoms-shards saved_models/demo
	find engine tuning benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up --------------------------------------------------------------------------------------

# Installed again only when what is to be installed changes. A candidate is run, not looked up: a
# `python3.13` on the path may be a stub of a version manager that has no such version.
$(INSTALLED): setup.cfg pyproject.toml
	@fits='import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'; \
	if $(PYTHON) -c "$$fits" 2>/dev/null; then exit 0; fi; \
	for python in $(PYTHONS); do \
	    if "$$python" -c "$$fits" 2>/dev/null; then \
	        echo "$$python -m venv $(VENV)"; \
	        exec "$$python" -m venv --clear $(VENV); \
	    fi; \
	done; \
	for python in $(PYTHONS); do \
	    "$$python" -c 'import sys; print("found", sys.executable, sys.version.split()[0])' 2>/dev/null; \
	done >&2; \
	echo 'No Python fits: 3.10 to 3.13 with the venv and ensurepip modules is needed' \
	    '(on Debian and Ubuntu: apt install python3-venv); make PYTHONS=/path/to/python3 names one.' >&2; \
	exit 1
	@echo 'Installing into $(VENV); the first time takes some minutes ...'
	$(PYTHON) -m pip install --disable-pip-version-check --quiet --editable '.[test]'
	@touch $@
