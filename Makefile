# Every target makes what it needs, from nothing, in .venv; a second call starts at once.
# PYTHON=/path/to/python3.11 picks the interpreter; NO_APT=1 keeps everything from calling apt-get.

.DEFAULT_GOAL := help
.PHONY: help demo test quick hosts check format bench soak kills long mutants docs screenshots site clean
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
HOSTS := .venv-hosts
HOSTS_READY := $(HOSTS)/.ready
AIRFLOW_DATABASE := $(HOSTS)/airflow/airflow.db
PACKAGES_READY := $(VENV)/.packages-ready
BENCH_READY := $(VENV)/.bench-ready
MUTANTS_READY := $(VENV)/.mutants-ready
DEBIAN_PACKAGES := nginx-light libpython3.11-testsuite tinyproxy postgresql mariadb-server prometheus chromium-headless-shell
BENCH_PACKAGES := nginx-light curl
ARGS ?=

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1\t\2/' | expand -t 14

demo: $(READY)  ## Fetch a few hundred odd URLs from a server of our own, and look at the results
	@$(BIN)/python examples/demo.py

test: $(READY) $(PACKAGES_READY) hosts  ## Run the tests (ARGS="-k limiter" for some of them)
	@tools/test $(BIN)/python $(ARGS)

quick: $(READY)  ## Run the tests of single modules, which start hardly a process, while changing one
	@$(BIN)/python -m pytest tests/unit tests/property -m "not slow" $(ARGS)

# Where they cannot be installed, as without a network, what needs them is left out, and says why. It fails with CI=true.
hosts: $(READY)  ## Make the environment with Airflow and Dagster, whose examples the tests run
	@$(MAKE) --silent $(AIRFLOW_DATABASE) || echo "Airflow and Dagster could not be installed, so their tests are left out." >&2

check: $(READY)  ## Lint, format, types, dead code, dependencies, spelling, the documentation's site
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/vulture
	@$(BIN)/codespell workerpool tests benchmarks examples tools docs .ci *.md Makefile setup.cfg pyproject.toml
	@tools/dependencies $(BIN)
	@$(MAKE) --silent site

format: $(READY)  ## Format the code, and mend what the linter can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(BENCH_READY)  ## Measure the pool against its peers, in one run (ARGS="--help" for the knobs)
	@$(BIN)/python -m benchmarks.side_by_side $(ARGS)

soak: $(READY)  ## Fetch 200,000 URLs from 200 unruly hosts, and check every outcome (ARGS="--requests 5000")
	@$(BIN)/python benchmarks/soak.py $(ARGS)

kills: $(READY) $(PACKAGES_READY)  ## Kill jobs at hundreds of moments and calls, for every kind of output, and check what they make
	@WORKERPOOL_IN_FULL=1 $(BIN)/python -m pytest tests/integration/test_kills.py tests/contract/test_sinks_killed.py -s $(ARGS)

long: $(READY) $(PACKAGES_READY) hosts  ## Run the tests, whole also where `make test` runs a sample: about an hour
	@WORKERPOOL_IN_FULL=1 tools/test $(BIN)/python $(ARGS)

mutants: $(MUTANTS_READY)  ## Change the code in thousands of small ways, and tell which no test sees (ARGS="limits/bucket")
	@$(BIN)/python -m tools.mutants $(ARGS)

docs: $(READY)  ## Write the tables of options, check every link and name in the documentation, run its snippets, make its site
	@$(BIN)/python -m tools.reference
	@$(BIN)/python -m tools.shipped
	@$(BIN)/python -m pytest tests/test_docs.py tests/test_snippets.py -q $(ARGS)
	@$(MAKE) --silent site
	@echo "The documentation is at build/site/index.html."

screenshots: $(READY) $(PACKAGES_READY)  ## Make the documentation's pictures of a report, of a run that takes place for it
	@$(BIN)/python -m tools.screenshots

site: $(READY)  # With warnings as errors, also of references that lead nowhere.
	@$(BIN)/python -m sphinx -q -W --keep-going -j auto -d build/site-doctrees docs build/site

clean:  ## Remove everything that make made, the environment included
	rm -rf $(VENV) $(HOSTS) build dist demo-out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): setup.cfg setup.py pyproject.toml tools/environment
	@tools/environment $(VENV) all,test,dev,docs
	@touch $@

$(PACKAGES_READY): $(READY) tools/debian-packages
	@tools/debian-packages $(DEBIAN_PACKAGES)
	@touch $@

$(HOSTS_READY): setup.cfg tools/environment
	@UV_COMPILE_BYTECODE=1 tools/environment $(HOSTS) hosts
	@touch $@

# Each test copies it: to make it takes Airflow longer than a test does.
$(AIRFLOW_DATABASE): $(HOSTS_READY)
	@rm -rf $(@D)
	@AIRFLOW_HOME=$(CURDIR)/$(@D) $(HOSTS)/bin/airflow db migrate >/dev/null

# The peers are many, and only this target needs them.
$(BENCH_READY): $(READY) tools/debian-packages
	@tools/debian-packages $(BENCH_PACKAGES)
	@tools/environment $(VENV) all,test,dev,docs,bench
	@touch $@

$(MUTANTS_READY): $(READY)
	@tools/environment $(VENV) all,test,dev,docs,mutants
	@touch $@
