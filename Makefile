# Everything runs in .venv, which the first target that needs it creates.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: demo test test-fast soak lint audit docs figures bias bench examples golden clean

demo: $(INSTALLED)
	@$(BIN)/ib-keras --pipeline=information_plane --runner=local --run_dir=runs/demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# For quick checks: skips the tests in tests/slow.txt, which train, run pipelines or use a browser.
test-fast: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml ib_keras components pipelines
	$(BIN)/hadolint Dockerfile

# Repeats the tests of kills, damage, invalid files and properties many times; `test` has a short form.
soak: $(INSTALLED)
	$(BIN)/python -m tests.soak

# Checks the pinned dependencies for known vulnerabilities; needs the network.
audit: $(INSTALLED)
	sh .ci/install $(BIN)/python pip-audit
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

# Builds the site in build/docs; warnings are errors. The variable hides a notice of the theme.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Runs the demo and one neuron anew, and draws the figures of the pages; the other tables stay.
figures: $(INSTALLED)
	$(BIN)/ib-keras --preset=demo --run_dir=runs/demo
	$(BIN)/ib-keras --pipeline=noisy_dnn --preset=neuron-quick --run_dir=runs/neuron
	$(BIN)/python -m benchmarks.papers demo=runs/demo neuron=runs/neuron

# Measures the bias of the estimators, for the figures in docs/estimators.
bias: $(INSTALLED)
	$(BIN)/python -m benchmarks.bias

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks

# Runs the notebooks of examples/; their files are in build/examples.
examples: $(INSTALLED)
	$(BIN)/python examples/run.py

# Rewrites compiled pipelines and components that have changed; check the diff.
golden: $(INSTALLED)
	$(BIN)/python -m pytest --update-golden tests/pipelines/test_golden_ir.py \
	    tests/components/test_component_library.py

# Installs again when a dependency or a pin changes.
$(INSTALLED): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'Installing into $(VENV) (a minute or two) …'
	@sh .ci/install $(BIN)/python --editable '.[dev]'
	@touch $(INSTALLED)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
