# Two commands for everybody: `make demo` and `make test`. The others are for those who change the code.
# Each starts with scripts/bootstrap.sh, which takes a moment once everything is installed.

VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
export VENV

# pytest loads every plugin that is installed, and two of them load napari and Qt, which the engine must do without.
ENGINE_TESTS := -p no:napari -p no:pytest-qt tests/engine

# Runs a command on a virtual screen with software GL where there is one to be had (Linux), else on the real screen.
define on_screen
on_screen() { \
	if command -v xvfb-run >/dev/null; then \
		env QT_QPA_PLATFORM=xcb LIBGL_ALWAYS_SOFTWARE=1 xvfb-run -a -s '-screen 0 1600x1000x24' "$$@"; \
	else "$$@"; fi; \
}; on_screen
endef

.PHONY: help demo test test-engine test-viewer lint types imports docs screenshots dist bootstrap bootstrap-display clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

bootstrap:
	@scripts/bootstrap.sh

bootstrap-display:
	@scripts/bootstrap.sh --display

demo: bootstrap ## run the whole loop on small images; the last line is the path of the report
	@$(BIN)/medssl demo --out demo-report

# napari on software GL and torch in one process crash: hence two processes, side by side, as either keeps one core busy.
# What each printed comes in one piece at its end.
test: bootstrap-display ## run all tests; takes a while without a word
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target test-engine test-viewer

test-engine: bootstrap ## run the tests that need no screen; ARGS="-k name" picks some
	$(PYTEST) $(ENGINE_TESTS) $(ARGS)

test-viewer: bootstrap-display ## run the tests of the viewer, on a virtual screen
	@$(on_screen) $(PYTEST) tests/viewer $(ARGS)

lint: bootstrap ## ruff: rules and format; the page on the command line is up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/command_reference.py --check

types: bootstrap ## mypy, strict, on src
	$(BIN)/mypy

imports: bootstrap ## imports point down only (import-linter)
	$(BIN)/lint-imports

docs: bootstrap ## build the documentation into site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

screenshots: bootstrap-display ## make the pictures of README and docs anew
	@$(on_screen) $(BIN)/python scripts/screenshots.py

dist: bootstrap-display ## build wheel and sdist, install each in a clean environment, look for the plugin
	$(BIN)/python scripts/check_dist.py

clean: ## remove the environment and everything built or cached
	rm -rf $(VENV) build dist site demo-report htmlcov .coverage* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	rm -f src/napari_medssl/_version.py
