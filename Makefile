# Every target needs Python 3.10 or later with pip, and nothing else: it sets up .venv first.
PYTHON ?= $(shell command -v python3 || command -v python)
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE  # else each process compiles the package and the tests again
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: setup demo test coverage slow lint docs check-wheel bench gpu reliability study demo-weights clean

setup: .venv/ready-dev ## the development environment

demo: .venv/ready ## write the demo videos, index them, search them
	$(BIN)/vop demo demo --run --overwrite

test: .venv/ready-dev ## the fast tests
	$(PYTEST)

coverage: .venv/ready-dev ## the fast tests, and what of the package they run; takes half as long again
	$(PYTEST) --cov --cov-report=term:skip-covered

slow: .venv/ready-dev ## the tests that take longer
	$(PYTEST) -m slow

lint: .venv/ready-dev ## format, lint, layers, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

docs: .venv/ready-dev ## the documentation, into build/site; broken links fail
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

check-wheel: .venv/ready-dev ## build the wheel, install it elsewhere, search there
	$(BIN)/python .ci/check_wheel.py

bench: .venv/ready-dev ## measure against the peers; two and a half hours on two cores
	$(PIP) --editable '.[bench]'
	for topic in decode store encode search cold_start train long; do $(BIN)/python benchmarks/$$topic.py || exit 1; done

gpu: .venv/ready-dev ## the tests that need a GPU, and speed and memory there; 15 minutes
	$(PIP) --editable '.[bench]'
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python benchmarks/gpu.py

reliability: .venv/ready-dev ## kill, fill disks, flip bits, give hostile files and damaged videos; 20 minutes on two idle cores
	$(BIN)/python benchmarks/reliability/kills.py --runs 15
	$(BIN)/python benchmarks/reliability/full_disk.py --runs 5
	$(BIN)/python benchmarks/reliability/flips.py --flips 250
	$(BIN)/python benchmarks/reliability/hostile.py --files 24
	$(BIN)/python benchmarks/reliability/videos.py --files 400

study: .venv/ready-dev ## search learning rates and compare all variants on the demo set; an hour and a half on two cores
	$(BIN)/vop demo demo-study
	$(BIN)/vop extract-frames demo-study/videos demo-study/out.h5 --size 48
	$(BIN)/python benchmarks/learning_rates.py demo-study
	$(BIN)/python benchmarks/study.py demo-study

demo-weights: .venv/ready ## train demo-tiny again
	$(BIN)/python assets/demo/train.py

clean:
	rm -rf .venv build dist demo

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/ready-dev: .venv/ready
	$(PIP) --editable '.[dev]'
	touch $@
