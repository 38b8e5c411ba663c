# Two commands matter: `make up` (the main job on this machine) and `make test` (all tests).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
JOBS ?= 4
QUESTION ?= What is the capital of France?

.PHONY: up down test lint fast soak sshd lock bench clean

up: $(VENV)/.installed  ## a real vLLM with a small model on this machine, and one question put to it
	@$(BIN)/gpu up smollm2-135m
	@$(BIN)/gpu chat smollm2-135m --message "$(QUESTION)"

down: $(VENV)/.installed  ## end it
	@$(BIN)/gpu down --all

# Real processes, clocks and ports side by side on few cores: what fails there is run once more with the machine to
# itself. It has to pass then, and is listed either way.
AGAIN := [ $$? -eq 1 ] && $(BIN)/pytest --last-failed

# Those that have any: to collect all tests takes each process ten seconds.
ENGINE_TESTS = $$(grep -rl --include='test_*.py' 'mark\.engine' tests)

test: lint sshd  ## everything, with the real vLLM in it (its engine is installed on first use: some minutes, 3 GB)
	$(BIN)/pytest --cache-clear -n $(JOBS) --dist worksteal -m "not engine" || { $(AGAIN) -m "not engine"; }
	$(BIN)/pytest --cache-clear -n 3 --dist loadfile -m engine $(ENGINE_TESTS) || { $(AGAIN) -m engine; }

fast: lint sshd  ## everything but the real vLLM
	$(BIN)/pytest --cache-clear -n $(JOBS) --dist worksteal -m "not engine" || { $(AGAIN) -m "not engine"; }

soak: lint sshd  ## the proofs that nothing leaks, at length: hours
	GPU_TEST_ALL_KILLS=1 $(BIN)/pytest -n 2 --timeout 3600 tests/simulation/test_kill_points.py tests/simulation/test_kill_supervisors.py
	$(BIN)/python tests/simulation/bad_answers_soak.py --cases 100000
	$(BIN)/python tests/simulation/soak.py --histories 10000

sshd:
	@PATH="$$PATH:/usr/sbin" command -v sshd >/dev/null || { echo "the tests log in to an SSH server of their own: install OpenSSH's sshd (Debian: openssh-server; it need not run)" >&2; exit 1; }

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.test-installed  ## the figures of the README
	$(BIN)/python benchmarks/planner_accuracy.py benchmarks/measurements/*_memory.csv benchmarks/measurements/*_throughput.csv
	$(BIN)/python benchmarks/rank_speed.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/clouds.py
	$(BIN)/python benchmarks/guard_load.py

lock:  ## the versions that the tests run with, resolved anew
	rm -rf .lock-venv && $(PYTHON) -m venv .lock-venv
	.lock-venv/bin/python -m pip --quiet install -e '.[test]'
	{ echo '# Made by `make lock`.'; .lock-venv/bin/python -m pip freeze --exclude-editable; } > tests/requirements.lock
	rm -rf .lock-venv

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("gpu needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	@echo "making $(VENV)" >&2
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml $(VENV)/bin/python
	@echo "installing gpu" >&2
	@$(PIP) install -e .
	@touch $@

$(VENV)/.test-installed: pyproject.toml tests/requirements.lock $(VENV)/bin/python
	@echo "installing gpu and what its tests need" >&2
	@$(PIP) install -r tests/requirements.lock
	@$(PIP) install --no-deps -e .
	@touch $@ $(VENV)/.installed
