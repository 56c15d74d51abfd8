# `make demo` and `make test` do their own set-up and reuse it the second time.
#   PYTHON     the interpreter that makes the environment (3.11 or newer)
#   QT         the Qt binding for the viewer: pyqt6 or pyside6
#   JOBS       how many processes run the tests: each takes a core and up to 2 GB of memory
#   RESOLUTION highest or lowest-direct: which dependency versions to install

PYTHON ?= python3
QT ?= pyqt6
JOBS ?= 2
RESOLUTION ?= highest
# PySide6 6.12.0 loses a reference to None with every call on Python 3.11, until Python aborts.
QT_PACKAGE := $(if $(filter pyside6,$(QT)),pyside6!=6.12.0,$(QT))
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(QT)-$(RESOLUTION)

SYSTEM_PACKAGES := libegl1 libgl1 libglib2.0-0 libdbus-1-3 libfontconfig1 libxkbcommon-x11-0 \
	libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-image0 libxcb-render-util0 \
	libxcb-shape0 libxcb-xinerama0 xvfb

# PyTorch's threads would wait for each other busily, and for the other processes.
PYTEST := OMP_NUM_THREADS=1 $(if $(shell command -v xvfb-run),xvfb-run -a )$(BIN)/python -m pytest -n $(JOBS) --durations=15

.PHONY: help demo test fast coverage check docs package format clean system

help:
	@echo "make demo      run the main job on the shipped sample with the shipped models"
	@echo "make test      run the linters, the type checker, the import contracts and the tests"
	@echo "make fast      the tests that take less than about 5 seconds each"
	@echo "make coverage  the tests, and the lines that none of them runs"
	@echo "make check     the linters, the type checker, import contracts, docstrings, the manifest"
	@echo "make docs      build the site into site/; a broken link or reference fails"
	@echo "make package   build source archive and wheel into dist/, and check them as PyPI does"
	@echo "make format    rewrite the code in the project's format"
	@echo "make clean     remove the environment and all that was made"

# The environment is made by uv, which pip installs into it: it fetches in parallel and keeps
# a cache, so a second environment costs seconds.
$(STAMP): pyproject.toml | system
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11: give a newer one with PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "No virtual environment could be made. On Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode '$(QT_PACKAGE)'
	$(BIN)/uv pip install --quiet --python $(BIN)/python --resolution $(RESOLUTION) \
		--compile-bytecode --group test --group check --editable .
	@rm -f $(VENV)/.installed-*
	@touch $@

# What venv, Qt and Xvfb need from the system; only Debian and its relatives are looked after here.
system:
	@command -v dpkg-query >/dev/null || exit 0; \
	missing=""; $(PYTHON) -m ensurepip --version >/dev/null 2>&1 || missing=" python3-venv"; \
	for p in $(SYSTEM_PACKAGES); do \
		dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' || \
		dpkg-query -W -f '$${Status}' $${p}t64 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
	else echo "System packages are missing: sudo apt-get install$$missing"; fi

demo: $(STAMP)
	$(BIN)/napari-cam-sam demo $(DEMO)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/docstrings.py
	$(BIN)/npe2 validate src/napari_cam_sam/napari.yaml
	$(BIN)/zizmor --offline --quiet .github

# Linters and types are checked against the newest dependencies alone.
test: $(STAMP) $(if $(filter highest,$(RESOLUTION)),check)
	$(PYTEST) $(TESTS)

fast: $(STAMP)
	$(PYTEST) -m "not slow" $(TESTS)

coverage: $(STAMP)
	$(PYTEST) --cov --cov-report=term-missing:skip-covered $(TESTS)

# Strict: see mkdocs.yml. The examples are run for it.
docs: $(STAMP)
	@$(BIN)/python -c 'import mkdocstrings_handlers.python' 2>/dev/null || \
		$(BIN)/uv pip install --quiet --python $(BIN)/python --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

package: $(STAMP)
	rm -rf dist
	$(BIN)/uv build --quiet --out-dir dist
	$(BIN)/twine check --strict dist/*

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo-output dist build site .pytest_cache .mypy_cache .ruff_cache
