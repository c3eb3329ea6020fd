# Every target does its own set-up (.ci/setup): Python 3.11, git and make are enough.
# `make demo` N=3 for three computers, ONCE=1 to check itself and end. `make test` JOBS=4, ARGS="-k name". `make prove` ONLY=name.
.PHONY: help demo test test-long lint format prove fuzz simulate bench setup clean docs schema man package
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

help:
	@echo "make demo      two daemons on this machine keep a folder equal; N=3, ONCE=1"
	@echo "make test      the tests, at most 8 minutes on two cores; ARGS=... goes to pytest"
	@echo "make test-long those that take longer: 200 random stories, the page in a browser, 100,000 files"
	@echo "make lint      ruff format --check, ruff check, mypy --strict"
	@echo "make prove     the long proofs, each by name, resumable; results in docs/proof.md; ONLY=name"
	@echo "make fuzz      every way in from outside, SECONDS=600 in all; ONLY=name for one"
	@echo "make simulate  whole daemons through random troubles on virtual time; SEEDS=20 JOBS=2 FIRST=1"
	@echo "make bench     syncd beside Syncthing, rsync and unison, workload by workload; W=large1 RUNS=5"
	@echo "make docs      the site of docs/ in build/docs"
	@echo "make schema    docs/schema.json: what --json prints"
	@echo "make man       manual pages in build/man"
	@echo "make package   wheel, sdist, .deb and bill of materials in dist/"
	@echo "make format    let ruff format the tree"
	@echo "make clean     remove .venv and all caches"

setup:
	@.ci/setup

demo: setup
	@N="$(or $(N),2)" ONCE="$(ONCE)" .venv/bin/python -m tests.demo.demo

test: setup
	@.ci/test $(ARGS)

test-long: setup
	@WHICH="long or slowest" .ci/test $(ARGS)

lint: setup
	@.ci/lint

format: setup
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

prove: setup
	@.venv/bin/python -m tests.prove.run $(ONLY)

fuzz: setup
	@.venv/bin/python -c "import atheris" 2>/dev/null || .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt atheris 2>/dev/null || true
	@SECONDS_="$(SECONDS)" .venv/bin/python -m tests.fuzz.run $(ONLY)

simulate: setup
	@SEEDS="$(SEEDS)" JOBS="$(JOBS)" FIRST="$(FIRST)" PYTHONHASHSEED=0 .venv/bin/python -m tests.simulation.run

bench: setup
	@.venv/bin/python -m tests.benchmarks.run $(W) --runs $(or $(RUNS),1)

docs: setup
	@.venv/bin/sphinx-build -q -W --keep-going -b html docs build/docs && echo "build/docs/index.html"

schema: setup
	@.venv/bin/python -m release.schema

man: setup
	@.venv/bin/python -m release.man build/man

package: setup
	@.venv/bin/python -m release.build dist

clean:
	rm -rf .venv .fuzz .demo .prove .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
