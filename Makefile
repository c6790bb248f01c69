# `make demo` and `make test` need Python 3.10 or later with pip, and nothing else: they set up .venv themselves.
PYTHON ?= $(shell command -v python3 || command -v python)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test slow lint check-wheel bench study demo-weights readme clean

demo: .venv/ready ## write the demo videos, index them, search them
	$(BIN)/vop demo demo --run --overwrite

test: .venv/ready-dev ## the fast tests
	$(BIN)/python -m pytest --cov --cov-report=

slow: .venv/ready-dev ## the tests that take longer, and the coverage of both
	$(BIN)/python -m pytest -m slow --cov --cov-append --cov-report=term:skip-covered

lint: .venv/ready-dev ## format, lint, layers, types, README in step
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/cog --check README.md

check-wheel: .venv/ready-dev ## build the wheel, install it elsewhere, search there
	$(BIN)/python .ci/check_wheel.py

bench: .venv/ready-dev ## measure against the peers; an hour and a half on two cores
	$(PIP) --editable '.[bench]'
	for topic in decode store encode search cold_start train; do $(BIN)/python benchmarks/$$topic.py || exit 1; done

study: .venv/ready-dev ## search learning rates and compare all variants on the demo set; an hour and a half on two cores
	$(BIN)/vop demo demo-study
	$(BIN)/vop extract-frames demo-study/videos demo-study/out.h5 --size 48
	$(BIN)/python benchmarks/learning_rates.py demo-study
	$(BIN)/vop demo demo-study --study
	$(BIN)/python benchmarks/study.py demo-study

demo-weights: .venv/ready ## train demo-tiny again
	$(BIN)/python assets/demo/train.py

readme: .venv/ready-dev ## write the help blocks and tables into the README
	$(BIN)/cog -r README.md

clean:
	rm -rf .venv dist demo

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/ready-dev: .venv/ready
	$(PIP) --editable '.[dev]'
	touch $@
