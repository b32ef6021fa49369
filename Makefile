# Stillhouse from a bare machine: Python 3.11 or newer with pip, and make.  `make` lists the targets.

PYTHON ?= python3
PYTEST_ARGS ?=
ARGS ?=

# PyTorch's threads that wait for one another sleep. Spinning, as they do by default, the worker and
# the API on the same cores starve each other: one picture then takes seconds instead of milliseconds.
export OMP_WAIT_POLICY ?= PASSIVE

# Everything lives in .venv; nothing outside the checkout is touched.
BIN := .venv/bin
UV := $(BIN)/uv

# A stamp is as new as the last installation from its lock, so a second run installs nothing.
# `uv pip install` only adds: the runtime and the development set live side by side.
UV_READY := .venv/.installed-uv
RUNTIME_READY := .venv/.installed-runtime
DEV_READY := .venv/.installed-dev
PEERS_READY := .venv-peers/.installed
# Bytecode now, not at the first import: importing torch takes 3 s with it and 5.5 s without.
INSTALL := $(UV) pip install --python $(BIN)/python --require-hashes --compile-bytecode
# The command `stillhouse`, which runs this checkout; what it needs is installed from the lock.
INSTALL_COMMAND := $(UV) pip install --python $(BIN)/python --quiet --offline --no-deps --editable .

.DEFAULT_GOAL := help
.PHONY: help run test check lint types layers locks advisories lock audit release bench-accuracy bench-train bench-arms bench-predict bench-serve chaos soak hostile browser tour smoke smoke-compose clean

help: ## list what make can do here
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-22s %s\n", $$1, $$2}'

# `exec`: the launcher is make's own child, so a SIGTERM sent to make reaches it, and make waits
# until it has stopped its processes.  Ctrl-C reaches it from the terminal.
run: $(RUNTIME_READY) ## set up what is missing and serve on http://127.0.0.1:8000 (STILLHOUSE_PORT=…)
	@exec $(BIN)/python -m app.up

test: $(DEV_READY) ## set up what is missing and run the tests (PYTEST_ARGS="-k words")
	@exec $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: lint types layers locks advisories ## lint, formatting, types, layers, locks: current, without flaws known here

lint: $(DEV_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV_READY)
	$(BIN)/mypy

layers: $(DEV_READY)
	$(BIN)/lint-imports

locks: $(DEV_READY)
	@$(BIN)/python ops/locks.py check

advisories: $(DEV_READY)
	@$(BIN)/python -m ops.audit

lock: $(UV_READY) ## write the locks from pyproject.toml (LOCK_ARGS=--upgrade takes the newest)
	$(BIN)/python ops/locks.py write $(LOCK_ARGS)

# --strict: a package about which nothing is said is no package without flaws.
audit: $(UV_READY) ## known flaws of the locked versions; needs a network and published advisories
	@$(UV) tool run pip-audit@2.10.1 --strict --require-hashes --disable-pip -r requirements.lock

release: $(DEV_READY) ## train what ships with the code (ARGS="--data … --store …"); hours, resumable
	@exec $(BIN)/python -m ops.release $(ARGS)

bench-accuracy: $(DEV_READY) ## the release on CIFAR-100's test pictures (ARGS="--data …")
	@exec $(BIN)/python -m benchmarks.accuracy $(ARGS)

bench-train: $(DEV_READY) ## training against the seed's loop; memory of 2 and of 10 members; ratios last
	@exec $(BIN)/python -m benchmarks.train $(ARGS)

bench-arms: $(DEV_READY) ## recipes compared at small scale (ARGS="--data … --store …"); an hour
	@exec $(BIN)/python -m benchmarks.arms $(ARGS)

bench-predict: $(DEV_READY) ## latency and throughput of the service that `make run` started
	@exec $(BIN)/python -m benchmarks.predict $(ARGS)

bench-serve: $(DEV_READY) $(PEERS_READY) ## the service against LitServe, BentoML and mosec, ratios last; 20 minutes (ARGS="--quick")
	@exec $(BIN)/python -m benchmarks.serve $(ARGS)

chaos: $(DEV_READY) ## disturbed jobs have to end right (ARGS="--runs 30 --seed 0 --only 'kill all'")
	@exec $(BIN)/python -m tests.chaos $(ARGS)

soak: $(DEV_READY) ## mixed work for half an hour, after which nothing may have grown (ARGS="--minutes 5")
	@exec $(BIN)/python -m tests.chaos.soak $(ARGS)

hostile: $(DEV_READY) ## hostile input for ten minutes (ARGS="--examples … --pictures … --requests … --fuzz-seconds … --seed …")
	@exec $(BIN)/python -m tests.hostile $(ARGS)

browser: $(DEV_READY) ## the pages in Chromium, every size, with axe-core (Debian: apt-get install chromium)
	@exec $(BIN)/python -m pytest tests/browser --every-size $(PYTEST_ARGS)

tour: $(DEV_READY) ## take the pictures of docs/tour.md anew, minutes (ARGS="--data …", a folder with cifar100)
	@exec $(BIN)/python -m tests.browser.tour $(ARGS)

smoke: $(DEV_READY) ## a real job through `make run`, minutes (ARGS="--data …", a folder with cifar100)
	@exec $(BIN)/python -m tests.smoke.first_light $(ARGS)

smoke-compose: ## build the images, run the compose file, lose nothing over down and up
	@exec $(PYTHON) -m tests.smoke.compose

clean: ## remove .venv, .venv-peers and the tools' caches; store, data and logs stay
	rm -rf .venv .venv-peers .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One command to a line: a signal to make then ends the very process that works.
$(RUNTIME_READY): requirements.lock $(UV_READY)
	@echo 'Installing what Stillhouse runs on, hashes checked. Most of it is PyTorch: on Linux about'
	@echo '3 GB to download and 5.3 GB on disk, a minute on a fast line; later runs skip this.'
	@$(INSTALL) -r requirements.lock
	@$(INSTALL_COMMAND)
	@touch $@

$(DEV_READY): requirements-dev.lock requirements.lock $(UV_READY)
	@echo 'Installing what Stillhouse runs on and its tests need, hashes checked. Most of it is PyTorch:'
	@echo 'on Linux about 3 GB to download and 5.3 GB on disk, a minute on a fast line; later runs skip this.'
	@$(INSTALL) -r requirements-dev.lock
	@$(INSTALL_COMMAND)
	@touch $(RUNTIME_READY) $@

# The servers to compare with, away from what we ship. PyTorch is not installed again: the .pth file
# puts our packages last on their path, so what they ask for themselves stays theirs.
$(PEERS_READY): benchmarks/requirements-peers.lock $(DEV_READY)
	@echo 'Installing the servers to compare with into .venv-peers, hashes checked: 170 MB on disk.'
	@rm -rf .venv-peers
	@$(BIN)/python -m venv --without-pip .venv-peers
	@$(UV) pip install --python .venv-peers/bin/python --require-hashes --compile-bytecode -r $<
	@site=$$(cd .venv-peers && ls -d lib/python3*/site-packages) && \
	  echo "../../../../.venv/$$site" >".venv-peers/$$site/torch-of-ours.pth"
	@touch $@

$(UV_READY): requirements-uv.lock | $(BIN)/python
	@echo 'Fetching uv, which installs the rest …'
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@touch $@

# No pip inside .venv: the machine's own puts uv there, so Debian's python3-venv is not needed.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Stillhouse needs Python 3.11 or newer, and "$(PYTHON)" is not. Name another: make … PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import venv, pip' || \
	  { echo '"$(PYTHON)" lacks pip or venv. On Debian and Ubuntu: apt-get install python3-pip python3-venv' >&2; exit 1; }
	@echo 'Setting up .venv …'
	@rm -rf .venv
	@$(PYTHON) -m venv --without-pip .venv
