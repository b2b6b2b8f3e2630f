# make demo | make test | make lint | make benchmark | make clean
# Each target sets itself up: a virtual environment in .venv with pinned versions. Needed beforehand: Python 3.10 or newer, with venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SETUP  := pyproject.toml constraints.txt

.PHONY: help demo test lint benchmark clean
help:
	@sed -n 1,2p Makefile

# One mark per set of extras, so that nothing is installed again while nothing has changed.
$(VENV)/.ready-%: $(SETUP)
	@test -x $(BIN)/python || $(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and \
	  'Python ' + sys.version.split()[0] + ' is too old; 3.10 or newer is needed: make PYTHON=/path/to/python3.11 ...')"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e ".[$*]"
	@touch $@

demo: $(VENV)/.ready-demo
	$(BIN)/python Testing/Demo/demo.py demo_output

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/mypy

# Files of tests side by side, on up to four processors. --maxprocesses: each process holds PyTorch or a scene of Slicer.
PYTEST := $(BIN)/python -m pytest
BESIDE := --numprocesses logical --maxprocesses 4 --dist loadfile
test: lint
	$(BIN)/python Testing/qt_libraries.py
	@# Not in the core's process, so that they see whether Slicer loads PyTorch. 5: no tests, because Qt's libraries are missing.
	QT_QPA_PLATFORM=offscreen $(PYTEST) Testing/Slicer -m timing || [ $$? -eq 5 ]
	QT_QPA_PLATFORM=offscreen $(PYTEST) Testing/Slicer -m "not timing" $(BESIDE) || [ $$? -eq 5 ]
	$(PYTEST) Testing/Core $(BESIDE)

benchmark: $(VENV)/.ready-benchmark
	$(BIN)/python Testing/Benchmarks/compare.py --budget quick

clean:
	rm -rf $(VENV) build dist demo_output .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info C2SDenoise/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
