# Latent Darkroom: `make help` lists the targets.
#
#   PYTHON  the Python that .venv is made with (default: the first of 3.11, 3.12 ... that runs)
#   VENV    where the virtual environment lives
#   ARGS    passed on:  make run ARGS="--port 8000",  make test ARGS="-k samplers"

VENV ?= .venv
ARGS ?=
PY := $(VENV)/bin/python
# two files of tests at a time, each on a core of its own
TWO := -n 2 --dist loadfile
FIND_PYTHON = for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done

.DEFAULT_GOAL := help
.PHONY: help run test test-long test-quick check format bench bench-train train train-small screenshots clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' Makefile

run: $(VENV)/.installed  ## install what the app needs, and start it
	$(PY) app.py $(ARGS)

test: $(VENV)/.installed-dev  ## run the tests (gets a Chromium and an emoji font where there are none)
	PYTHON=$(PY) sh scripts/get_chromium.sh
	$(PY) -m pytest $(TWO) $(ARGS)

test-long: $(VENV)/.installed-dev  ## run the tests that take minutes: they train models
	PYTHON=$(PY) sh scripts/get_chromium.sh
	$(PY) -m pytest $(TWO) -m long $(ARGS)

test-quick: $(VENV)/.installed-dev  ## the tests that need no browser and no training
	$(PY) -m pytest $(TWO) -m "not browser and not train and not slow and not long" $(ARGS)

check: $(VENV)/.installed-dev  ## formatting, lint and types
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

format: $(VENV)/.installed-dev  ## format, and mend what ruff can mend
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: $(VENV)/.installed-dev  ## time this model and its peers, side by side
	$(PY) benchmarks/bench.py $(ARGS)

bench-train: $(VENV)/.installed-dev  ## time training steps of it and of its peers, side by side
	$(PY) benchmarks/train_speed.py $(ARGS)

train: $(VENV)/.installed-train  ## train the model that ships
	$(PY) -m ldm train --config default --out weights/default.safetensors $(ARGS)

train-small: $(VENV)/.installed-train  ## train a small one in minutes, on a CPU
	$(PY) -m ldm train --config small --out runs/small/small.safetensors $(ARGS)

screenshots: $(VENV)/.installed-dev  ## remake docs/screenshots/
	PYTHON=$(PY) sh scripts/get_chromium.sh
	$(PY) scripts/screenshots.py $(ARGS)

clean:  ## remove .venv and the tools' caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

# Each stamp is newer than its requirements once they are installed, so a second run installs nothing.
# The check before pip keeps a .venv that works, whoever made it, and makes one where it does not.
define install
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null 2>&1 || { \
		python="$(PYTHON)"; test -n "$$python" || python=$$($(FIND_PYTHON)); \
		test -n "$$python" || { echo "Python 3.11 or newer is needed; name one with make PYTHON=..." >&2; exit 1; }; \
		echo "$$python -m venv $(VENV)"; "$$python" -m venv --clear $(VENV); }
	$(PY) -m pip install --disable-pip-version-check -r $(1)
endef

$(VENV)/.installed: requirements.txt
	$(call install,requirements.txt)
	@touch $@

$(VENV)/.installed-train: requirements.txt requirements-train.txt
	$(call install,requirements-train.txt)
	@touch $(VENV)/.installed $@

$(VENV)/.installed-dev: requirements.txt requirements-train.txt requirements-dev.txt
	$(call install,requirements-dev.txt)
	@touch $(VENV)/.installed $(VENV)/.installed-train $@
