# Everything a developer runs. Needs only Python >= 3.10 (with venv), g++ and make: the rest is
# installed into .venv (and .venv-peer for the comparisons with other libraries).
#
#   make demo     train the digits network and draw the pictures
#   make test     formatting, lint, types, build, all tests; make test-cuda only those of GPUs;
#                 make test-cudnn asks the real cuDNN, without a GPU
#   make bench    our times beside PyTorch's, NumPy's and JAX's; make bench-cuda the same on a GPU
#   make parity   our values beside PyTorch's
#   make wheel    dist/flambeau-*.whl
#   make build, make lint, make format, make stubs, make clean

PYTHON ?= python3
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
VENV := $(CURDIR)/.venv
PEER := $(CURDIR)/.venv-peer
PEER_CUDA := $(CURDIR)/.venv-peer-cuda
BIN := $(VENV)/bin
# Only PyTorch's own index has the build without CUDA.
TORCH_INDEX := https://download.pytorch.org/whl/cpu

PROGRAM_TESTS := $(addprefix tests/test_,program.py elementwise.py layers.py reductions.py \
  optim_optimizers.py nn_losses.py)

.PHONY: demo test test-cuda test-cudnn lint format stubs bench bench-cuda parity wheel build clean
.DELETE_ON_ERROR:

demo: build $(VENV)/.has-demo
	$(BIN)/python examples/digits.py

# The operators' tests run twice: with machine code for every program, then as users run them.
# Those of GPUs run in a process of their own, on an emulated GPU where there is no other.
test: lint test-cuda
	FLAMBEAU_EMITTER=always $(BIN)/python -m pytest $(PROGRAM_TESTS)
	$(BIN)/python -m pytest

test-cuda: build $(VENV)/.has-test
	$(BIN)/python -m pytest tests/cuda

# What NVIDIA's cuDNN says of our descriptions; downloads it (700 MB) the first time, needs no GPU.
test-cudnn: build $(VENV)/.has-test $(VENV)/.has-cudnn
	$(BIN)/python -m pytest tests/real_cudnn

lint: build $(VENV)/.has-test $(VENV)/.has-lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	find core tests/emulated_cuda tests/real_cudnn -name '*.h' -o -name '*.cpp' | xargs $(BIN)/clang-format --dry-run -Werror
	$(BIN)/mypy
	$(BIN)/python tools/lengths.py

format: $(VENV)/.has-lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	find core tests/emulated_cuda tests/real_cudnn -name '*.h' -o -name '*.cpp' | xargs $(BIN)/clang-format -i

stubs: build $(VENV)/.has-lint
	$(BIN)/python tools/stubs.py
	$(BIN)/python tools/operator_page.py
	$(BIN)/python tools/compile_pictures.py

bench: build $(PEER)/.has-bench
	$(PEER)/bin/python -m benchmarks

# Needs an NVIDIA GPU; downloads PyTorch with CUDA (3 GB) the first time.
bench-cuda: build $(PEER_CUDA)/.has-bench-cuda
	$(PEER_CUDA)/bin/python -m benchmarks --suite cuda --output bench-output/cuda

parity: build $(PEER)/.has-parity
	$(PEER)/bin/python -m pytest tests/parity

wheel: $(VENV)/bin/python
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

build: build/build.ninja
	$(BIN)/ninja -C build -j $(JOBS)

build/build.ninja: CMakeLists.txt $(VENV)/.has-build $(VENV)/.linked
	PATH="$(BIN):$$PATH" $(BIN)/cmake -S . -B build -G Ninja \
	  -DPython_EXECUTABLE=$(BIN)/python

$(VENV)/bin/python $(PEER)/bin/python $(PEER_CUDA)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python >= 3.10 is needed: make PYTHON=/path/to/python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(@D)/..

# The package is imported from this folder, so nothing is reinstalled after a change.
$(VENV)/.linked $(PEER)/.linked $(PEER_CUDA)/.linked: %/.linked: tools/link.py | %/bin/python
	$*/bin/python tools/link.py
	touch $@

# .has-NAME: the run-time requirements and the group NAME of pyproject.toml are installed.
$(VENV)/.has-%: pyproject.toml tools/requirements.py | $(VENV)/bin/python
	$(BIN)/python tools/requirements.py runtime $* | xargs -d '\n' $(BIN)/pip install --quiet
	touch $@

$(PEER)/.has-%: pyproject.toml tools/requirements.py $(PEER)/.linked | $(PEER)/bin/python
	$(PEER)/bin/python tools/requirements.py runtime $* | \
	  xargs -d '\n' $(PEER)/bin/pip install --quiet --extra-index-url $(TORCH_INDEX)
	touch $@

$(PEER_CUDA)/.has-%: pyproject.toml tools/requirements.py $(PEER_CUDA)/.linked | $(PEER_CUDA)/bin/python
	$(PEER_CUDA)/bin/python tools/requirements.py runtime $* | \
	  xargs -d '\n' $(PEER_CUDA)/bin/pip install --quiet
	touch $@

clean:
	rm -rf build dist demo-output $(VENV) $(PEER) $(PEER_CUDA) flambeau/_core*.so
