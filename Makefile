# Everything happens in a .venv of this checkout, with the versions of constraints.txt.
PYTHON ?= python3
BIN = .venv/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Where torch comes from. The package index has the build for GPUs, with 6 GB of CUDA. A machine that shows no GPU gets
# the build for CPUs where nothing speaks against it: on Linux, without SLURM, whose nodes may have GPUs, and where pip
# is not configured to look elsewhere than usual. `uv` knows the address. To choose by hand:
#     make install TORCH_INDEX=<address of PyTorch's index of CPU builds>    or of another of its indices
#     make install TORCH_INDEX=                                              the package index, so with CUDA
TORCH = torch==2.13.0
TORCH_INDEX ?= auto
NVIDIA_DEVICE = /dev/nvidiactl
UV = $(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend cpu --no-deps $(TORCH)

.PHONY: install demo check test lint docs bench chaos figures clean
install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "relusweep needs Python 3.11 or newer"'
	@$(PYTHON) -c 'import ensurepip' || { echo 'make: Python has no ensurepip; expected the package python3-venv. apt install python3-venv'; exit 1; }
	$(PYTHON) -m venv .venv
ifeq ($(TORCH_INDEX),auto)
	@if [ "$$(uname -sm)" = 'Linux x86_64' ] && [ ! -e $(NVIDIA_DEVICE) ] \
	  && ! command -v nvidia-smi >/dev/null && ! command -v sbatch >/dev/null \
	  && ! $(BIN)/python -m pip config list | grep -qE '^[^=]*(index|find-links)'; then \
	  if $(PIP) uv && UV_HTTP_TIMEOUT=5 UV_HTTP_RETRIES=0 timeout 30 $(UV) --dry-run && $(UV); then \
	    echo 'make: no GPU and no SLURM here, so torch is the build for CPUs. For GPUs: make install TORCH_INDEX='; \
	  else \
	    echo 'make: no index of CPU builds of torch answers; taking what pip finds, perhaps with 6 GB of CUDA'; \
	  fi; \
	fi
else ifneq ($(TORCH_INDEX),)
	$(PIP) --no-deps --index-url $(TORCH_INDEX) $(TORCH)
endif
	$(PIP) $(TORCH)
	$(PIP) --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/relusweep run demo
	$(BIN)/relusweep report results/demo

check: lint # what a change is tried with first: no cluster, no browser, nothing that takes long
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m 'not cluster and not browser and not slow'

test: install
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 15

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: install # the site: open site/index.html; for its search, python3 -m http.server -d site
	$(PIP) --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

RUNS ?= 100000 # of the stores that are measured: `make bench RUNS=1000000`
bench: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r bench/requirements.txt
	$(BIN)/python bench/throughput.py
	$(BIN)/python bench/shapes.py
	$(BIN)/python bench/settings.py
	$(BIN)/python bench/tiles.py
	$(BIN)/python bench/sharpness.py
	$(BIN)/python bench/measures.py
	$(BIN)/python bench/sweeps.py
	$(BIN)/python bench/expand.py
	$(BIN)/python bench/own_data.py
	$(BIN)/python bench/extra.py
	$(BIN)/python bench/longer.py
	$(BIN)/python bench/gpu.py
	$(BIN)/python bench/many.py
	$(BIN)/python bench/stores.py $(RUNS)
	$(BIN)/python bench/slurm_overhead.py
	$(BIN)/python bench/simulated_cluster.py
	$(BIN)/python bench/ray_overhead.py

chaos: install # half an hour of faults; every sweep that met some must have the table of an undisturbed one
	$(BIN)/python -m chaos --page docs/reference/chaos.md

figures: install # the pictures of the docs; of the long sweeps only those whose stores are in results/
	$(BIN)/python docs/figures.py

clean:
	rm -rf .venv results build site *.egg-info
