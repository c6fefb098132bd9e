# Parley's commands. Each first installs the lock file into .venv, if it is not installed. EXTRAS=mcp,litellm
# adds packages for agents: docs/agents.md.

PYTHON ?= python3
VENV_PYTHON = .venv/bin/python

# Packages are installed without bytecode, which saves a third of the time. Python compiles each on its first
# import, and stores the result unless PYTHONDONTWRITEBYTECODE is set.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONHOME

.PHONY: help run test bench lint structure format docs lock fixture-large screenshots set-up set-up-dev

help:
	@echo "make run      serve Parley on HOST:PORT (127.0.0.1:8000), with everything it needs"
	@echo "make test     all tests, on SQLite, and with PostgreSQL, Redis, nginx and Chromium where available"
	@echo "make bench    the costs beside a bare ADK Runner and other servers; QUICK=1, AGAINST=COMMIT, ROUNDS=3"
	@echo "make lint     format, lint, types, templates, scripts, styles, imports, names, commit subjects; needs Node.js"
	@echo "make structure   figures of the code's structure; AT=COMMIT compares"
	@echo "make format   apply the format that make lint checks"
	@echo "make fixture-large   fill an empty database with a million messages"
	@echo "make screenshots     make the images in docs/images again"
	@echo "make docs     write the tables of docs/settings.md again from the settings' fields"
	@echo "make lock     write requirements*.txt again from requirements*.in"

run: set-up
	@$(VENV_PYTHON) manage.py prepare
	@exec $(VENV_PYTHON) manage.py serve

fixture-large: set-up
	@$(VENV_PYTHON) manage.py prepare
	@exec $(VENV_PYTHON) -m benchmarks.fixture_large

test: set-up-dev
	@exec $(VENV_PYTHON) -m nox

# QUICK=1 is rough and takes two minutes. AGAINST=COMMIT measures Parley of that commit too. WRITE=1 writes the
# figures into docs/performance.md.
bench: set-up-dev
	@exec $(VENV_PYTHON) -m benchmarks $(if $(QUICK),--quick) $(if $(AGAINST),--against $(AGAINST)) \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(STREAMS),--streams $(STREAMS)) $(if $(WRITE),--write)

# AT="COMMIT …" adds a column for each of these commits.
structure: set-up-dev
	@exec $(VENV_PYTHON) -m tools.structure $(AT)

lint: set-up-dev node_modules/.package-lock.json
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m mypy
	$(VENV_PYTHON) -m djhtml --check templates
	node_modules/.bin/biome lint --error-on-warnings
	node_modules/.bin/tsc --project jsconfig.json
	.venv/bin/lint-imports
	$(VENV_PYTHON) -m tools.lint

format: set-up-dev
	$(VENV_PYTHON) -m ruff format .
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m djhtml templates

docs: set-up-dev
	@exec $(VENV_PYTHON) -m tools.settings_docs

# Keeps locked versions that are still allowed; UPGRADE=1 takes the newest ones. Each lock is for all platforms,
# with the hash of each file, without paths or index addresses. The developers' lock is resolved first and holds
# all packages. The other locks take their versions from it, so any EXTRAS can be installed together.
LOCK = $(VENV_PYTHON) -m uv pip compile --universal --python-version 3.11 --generate-hashes --quiet \
	--only-binary=:all: --no-header --no-emit-index-url --no-emit-find-links

# The peers of `make bench` have packages of Parley's versions. A dependency of Chainlit has no wheel.
PEER_LOCK = $(filter-out --only-binary=:all:,$(LOCK))

screenshots: set-up-dev
	@exec $(VENV_PYTHON) -m tests.browser.screenshots

lock: set-up-dev
	$(LOCK) $(if $(UPGRADE),--upgrade) requirements-dev.in -o requirements-dev.txt
	$(LOCK) -c requirements-dev.txt requirements.in -o requirements.txt
	for extra in $(filter-out dev,$(patsubst requirements-%.in,%,$(wildcard requirements-*.in))); do \
		$(LOCK) -c requirements-dev.txt requirements-$$extra.in -o requirements-$$extra.txt || exit 1; done
	for peer in $(wildcard benchmarks/peers/*/requirements.in); do \
		$(PEER_LOCK) -c requirements.txt $$peer -o $${peer%.in}.txt || exit 1; done

set-up:
	@$(call set-up-from,requirements.txt)

set-up-dev:
	@$(call set-up-from,requirements-dev.txt)

# Node.js only checks the page's scripts and styles: docs/decisions/0028. npm writes this file last.
node_modules/.package-lock.json: package.json package-lock.json .npmrc
	@command -v npm >/dev/null 2>&1 || { \
		echo "make lint needs Node.js 16.20 or newer with npm, and there is no npm. On Debian or Ubuntu: apt install nodejs npm" >&2; \
		exit 1; }
	npm ci
	@touch $@

define set-up-from
command -v $(PYTHON) >/dev/null 2>&1 || { \
	echo "Parley needs Python 3.11 or newer, and there is no $(PYTHON). On Debian or Ubuntu: apt install python3 python3-venv" >&2; \
	exit 1; }; \
exec $(PYTHON) -I config/bootstrap.py $(1)
endef
