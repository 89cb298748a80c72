# make train   trains a small language model on text that comes with Python: a minute or two, no data needed
# make quick   runs one case of each test that takes less than a second: half a minute
# make test    runs the tests
# make test-all   runs them on every Python from 3.10 to 3.14 that is found; quick-all runs one case of each there
# make examples runs every example for a few seconds, without any download
# make bench   measures every way of using an LSTM beside Chainer, onnxruntime, and torch where it is in .venv: twenty minutes
# make fuzz    compares random uses with Chainer's own code for SECONDS=60, of a fresh SEED or of a given one
# make docs    builds the documentation in build/docs
# make coverage   says which lines and branches the tests do not reach, from a sample of their cases
# make wheels   puts wheels of the package and of Chainer into dist, which install without the constraint on setuptools
# make wheel-check   makes them, and runs the README's programs with them in an empty environment without a compiler
# make sdist   puts the source distribution into dist
# make sanitize   runs a sample of the tests of the C++ engine under AddressSanitizer and UBSan
# Each first makes what it needs: a virtual environment in .venv with this package in it.

PYTHON ?= python3
VENV ?= .venv
OUT ?= result
SECONDS ?= 60
# the processes that tests run in; ARGS='-n 0' for one, in which --pdb works. A file's tests are all in one of them
PROCESSES = -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
VERSIONS = 3.10 3.11 3.12 3.13 3.14
THIS = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
# more requirements for pip, such as 'numpy==1.24.*'
WITH ?=

export PIP_CONSTRAINT := $(CURDIR)/build-constraints.txt
export PIP_BUILD_CONSTRAINT := $(CURDIR)/build-constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PY := $(VENV)/bin/python
# of its own, without Chainer and CuPy: type checkers would take errors from their code
LINT := $(VENV)-lint/bin
SCHEMA = $(LINT)/check-jsonschema --quiet --builtin-schema vendor
NATIVE = $(wildcard chainer_lstm/kernels/native/*.?pp chainer_lstm/cells/*.cuh)
CPP = $(wildcard chainer_lstm/kernels/*/*.?pp chainer_lstm/kernels/*/*.cu chainer_lstm/kernels/*/*.cuh \
  chainer_lstm/cells/*.cuh tests/kernels/*.?pp tests/kernels/*.cuh \
  tests/gpu_stand_in/*.c)
INSTALLED = pyproject.toml setup.py chainer_lstm.pth build-constraints.txt $(NATIVE)

.PHONY: train quick test test-all quick-all examples bench fuzz docs wheels wheel-check sdist coverage sanitize \
  lint clean help

help:
	@sed -n 's/^# \(make \)/\1/p' Makefile

train: $(VENV)/.plot
	$(PY) examples/ptb/train_ptb.py --data stdlib --preset small --epoch 6 --dropout 0.2 --out $(OUT)

quick: $(VENV)/.test
	$(PY) -m pytest $(PROCESSES) -m 'not slow' --sample 1 $(ARGS)

test: $(VENV)/.test
	$(PY) -m pytest $(PROCESSES) $(ARGS)

test-all: $(VERSIONS:%=test-%)
quick-all: $(VERSIONS:%=quick-%)

# a Python on PATH, or one of pyenv's, whose commands on PATH may be of a version that is not there
test-% quick-%:
	@for python in $(if $(filter $*,$(THIS)),$(PYTHON),python$* $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$*.*/bin/python); do \
	  if $$python -c '' 2>/dev/null; then echo "$(@:-$*=) on Python $*"; \
	    exec $(MAKE) $(@:-$*=) PYTHON=$$python VENV=$(VENV)$(if $(filter-out $*,$(THIS)),-$*); fi; done; \
	  echo 'make: there is no Python $*: not tested on it'

examples: $(VENV)/.plot
	$(PY) examples/ptb/train_ptb.py --test --data stdlib --preset small --epoch 2 --out $(OUT)/ptb
	$(PY) examples/ptb/gentxt.py -m $(OUT)/ptb/model.npz
	$(PY) examples/time_machine/train_time_machine.py --test --data README.md --out $(OUT)/time_machine
	$(PY) examples/time_machine/train_time_machine.py --test --data README.md --scratch --out $(OUT)/scratch
	$(PY) examples/reber/train_reber.py --test --out $(OUT)/reber
	$(PY) examples/adding/train_adding.py --test --out $(OUT)/adding

bench: $(VENV)/.bench
	$(PY) benchmarks/goals.py --out $(OUT)
	$(PY) benchmarks/layers.py --out $(OUT) $(ARGS)
	$(PY) benchmarks/options.py --out $(OUT)
	$(PY) benchmarks/trees.py --out $(OUT)
	$(PY) benchmarks/language_model.py --out $(OUT)

fuzz: $(VENV)/.test
	$(PY) -m tests.fuzz --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

docs: $(VENV)/.docs
	$(PY) -m sphinx -q -E -W --keep-going docs build/docs

wheels: | $(PY)
	$(PY) -m pip wheel --quiet --use-pep517 --no-deps --wheel-dir dist . chainer==7.8.1

wheel-check: wheels
	$(PY) -m pip install --quiet auditwheel==6.8.2
	$(PY) -m tests.wheel dist

sdist: $(LINT)/python
	$(LINT)/python -m pip install --quiet build==1.6.1 twine==7.0.0
	$(LINT)/python -m build --sdist --outdir dist .
	$(LINT)/twine check --strict dist/*.tar.gz

coverage: $(VENV)/.test
	$(PY) -m pytest $(PROCESSES) --quiet --sample 3 --cov --cov-report= $(addprefix tests/,compat datasets functions interop \
	  links models optimizers script training) \
	  $(addprefix tests/kernels/test_,abi.py boundary.py native.py native_functions.py native_library.py \
	  persistent_plan.py sequence.py threads.py) \
	  $(addprefix tests/test_,configuration.py initializers.py installation.py security.py)
	$(PY) -m pytest $(PROCESSES) --quiet --cov --cov-append $(wildcard tests/*/test_bad_*.py)

sanitize: $(VENV)/.test build/_native_sanitized.so
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 CHAINER_LSTM_NATIVE=build/_native_sanitized.so \
	$(PY) -m pytest $(PROCESSES) --sample 60 $(addprefix tests/kernels/test_,boundary.py native.py native_functions.py \
	  sequence.py threads.py)

SANITIZED = -g1 -fsanitize=address,undefined -fno-sanitize-recover=undefined
build/_native_sanitized.so: $(patsubst %.cpp,build/sanitized/%.o,$(notdir $(filter %.cpp,$(NATIVE))))
	$(CXX) $(SANITIZED) -shared -pthread $^ -o $@

build/sanitized/%.o: chainer_lstm/kernels/native/%.cpp $(NATIVE) | $(PY)
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -O1 -Wno-psabi $(SANITIZED) -fPIC -pthread \
	  -I$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("include"))') -c $< -o $@

lint: $(VENV)-lint/.lint
	$(LINT)/ruff check .
	$(LINT)/ruff format --check .
	$(LINT)/python tests/lint/style.py
	$(LINT)/clang-format --dry-run --Werror $(CPP)
	$(SCHEMA).github-workflows .github/workflows/*.yml
	$(SCHEMA).dependabot .github/dependabot.yml
	$(SCHEMA).github-issue-forms .github/ISSUE_TEMPLATE/*.yml
	$(SCHEMA).readthedocs .readthedocs.yaml
	$(SCHEMA).citation-file-format CITATION.cff
	$(LINT)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(LINT)/pyright --pythonpath $(LINT)/python

clean:
	rm -rf $(VENV) $(VENV)-lint build dist *.egg-info chainer_lstm/kernels/native/*.so

# the documentation needs no compiled engine
$(VENV)/.docs: export CC = false
$(VENV)/.docs: export CXX = false
$(VENV)/.plot $(VENV)/.test $(VENV)/.bench $(VENV)/.docs: $(VENV)/.%: $(INSTALLED) | $(PY)
	@echo 'installing chainer-lstm[$*] into $(VENV) (first time only)'
	@$(PY) -m pip install --quiet --editable '.[$*]' $(if $(WITH),'$(WITH)') || { \
	  echo 'make: the installation failed; pip says why above. It needs the network, and a Python with wheels of'; \
	  echo 'make: NumPy; another one is chosen by: make clean; make PYTHON=python3.12 $(MAKECMDGOALS)'; exit 1; }
	@touch $@

$(VENV)-lint/.lint: Makefile | $(LINT)/python
	@$(LINT)/python -m pip install --quiet ruff==0.17.6 clang-format==23.1.5 mypy==2.4.1 \
	  'pyright[nodejs]==1.1.414' check-jsonschema==0.39.0 \
	  'numpy==2.2.6; python_version < "3.11"' 'numpy==2.4.6; python_version > "3.10"'
	@touch $@

$(PY) $(LINT)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo 'make: Python 3.10 or newer is needed; choose one by: make PYTHON=python3.12 $(MAKECMDGOALS)'; exit 1; }
	@$(PYTHON) -m venv $(@:/bin/python=) || { rm -rf $(@:/bin/python=); \
	  echo 'make: python cannot make a virtual environment; on Debian or Ubuntu: apt install python3-venv'; exit 1; }
