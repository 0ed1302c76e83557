# Everything happens in .venv, made on first use; PYTHON is any Python from 3.11 on.
PYTHON ?= python3
BIN := .venv/bin
.PHONY: demo test check pictures site clean install lock audit sbom wheel wheel-smoke

demo: .venv/.brittle
	$(BIN)/brittle run demo --devices 0

test: .venv/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/deptry src
	$(BIN)/mkdocs build --quiet

site: .venv/.dev
	$(BIN)/mkdocs build

pictures: .venv/.dev demo
	PYTHONPATH=tests/reports $(BIN)/python docs/pictures.py runs/demo/report/report.html

# for releases, see CONTRIBUTING.md
lock: .venv/.release
	$(BIN)/python release/lock.py

audit: .venv/.release
	$(BIN)/python release/audit.py requirements.lock
	$(BIN)/python release/audit.py requirements-dev.lock

sbom: .venv/.release
	mkdir -p build
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible -o build/brittle.cdx.json

wheel: .venv/.dev
	rm -rf dist
	$(BIN)/python -m build --no-isolation

wheel-smoke: wheel
	$(BIN)/python release/smoke.py dist

install: .venv/.brittle

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "brittle needs Python 3.11 or newer; run make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

.venv/.brittle: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/.dev: .venv/.brittle
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

.venv/.release: .venv/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[release]'
	touch $@

clean:
	rm -rf .venv dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
