# Every target works from a bare clone: the virtual environment is made on the first call. pip compiles bytecode on one
# core, and left to the imports every process would do it anew where PYTHONDONTWRITEBYTECODE is set.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-all lint docs bench clean

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	-cd "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" && \
		$(abspath $(BIN))/python -m compileall -q -j 0 -x '/tests?/|torch/testing/' .
	touch $(READY)

demo: $(READY)  ## the whole way on the embedded synthetic survey, into demo/
	$(BIN)/geoprospect demo --out demo

test: $(READY)  ## what the CI runs
	$(BIN)/pytest -n auto --dist loadfile -m 'not slow'

test-all: $(READY)  ## what is too long for the CI, too
	$(BIN)/pytest -n auto --dist loadfile

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)  ## into docs/_build/html; warnings are errors
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

bench: $(READY)  ## a table for every figure that the README gives; gdal_grid is Debian's gdal-bin
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	for name in gridding screening honesty arabian_shield training inference inference_disk; do \
		$(BIN)/python benchmarks/$$name.py || exit 1; done

clean:
	rm -rf $(VENV) demo docs/_build docs/_generated .pytest_cache .mypy_cache .ruff_cache
