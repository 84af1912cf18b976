# Everything happens in a .venv of this checkout. torch is pinned: a loose pin pulls gigabytes of CUDA.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: install demo test lint bench figures clean
install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "relusweep needs Python 3.11 or newer"'
	@$(PYTHON) -c 'import ensurepip' || { echo 'make: Python has no ensurepip; expected the package python3-venv. apt install python3-venv'; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/relusweep run demo
	$(BIN)/relusweep report results/demo

test: install
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 15

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

.PHONY: docs
docs: install # the site: open site/index.html; for its search, python3 -m http.server -d site
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

RUNS ?= 100000 # of the stores that are measured: `make bench RUNS=1000000`
bench: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r bench/requirements.txt
	$(BIN)/python bench/throughput.py
	$(BIN)/python bench/shapes.py
	$(BIN)/python bench/tiles.py
	$(BIN)/python bench/sharpness.py
	$(BIN)/python bench/measures.py
	$(BIN)/python bench/sweeps.py
	$(BIN)/python bench/expand.py
	$(BIN)/python bench/gpu.py
	$(BIN)/python bench/stores.py $(RUNS)
	$(BIN)/python bench/slurm_overhead.py
	$(BIN)/python bench/simulated_cluster.py
	$(BIN)/python bench/ray_overhead.py

figures: install # the pictures of the docs; of the long sweeps only those whose stores are in results/
	$(BIN)/python docs/figures.py

clean:
	rm -rf .venv results build *.egg-info
