# Each target sets up a virtual environment by itself.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# One thread a process: two busy thread pools on two cores wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test test-slow test-all fuzz lint docs paper clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# Ask and evaluate the shipped student, then run a teacher once and distil on from its records.
demo: $(STAMP)
	mkdir -p demo
	$(BIN)/dollhouse ask example "Is there a sofa?" "Which is bigger, the sofa or the picture?" --views 3,4 --show demo/answers.png
	$(BIN)/dollhouse scenes show rooms:test/3 --out demo/room.png
	$(BIN)/dollhouse evaluate --scenes rooms:test/0-29 --out demo/shipped
	$(BIN)/dollhouse annotate --teacher annotations --scenes rooms:train/0-39 --out demo/records
	$(BIN)/dollhouse distill learn_on data.records=demo/records --out demo/run
	$(BIN)/dollhouse evaluate demo/run/model --blind dollhouse/models/weights/nano/blind --scenes rooms:test/0-29 --out demo/own
	@echo "Look at demo/answers.png, demo/shipped/report.html (the shipped student) and demo/own/report.html (yours)"

# The quick tests: a few minutes on two cores.
test: $(STAMP) lint
	$(PYTEST) -m "not slow"

test-slow: $(STAMP)
	$(PYTEST) -m slow

test-all: test test-slow

# Kill small runs of every command at random moments and run them again: make chaos N=20 SEED=3.
N ?= 200
SEED ?= 0
chaos: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos.kill_at_random --kills $(N) --seed $(SEED)

# Damaged files for every reader; INPUTS, FIRST (the number of the first) and READERS (names, by commas) change the run.
fuzz: $(STAMP)
	OMP_NUM_THREADS=1 FUZZ_INPUTS=$(or $(INPUTS),20000) FUZZ_FIRST=$(or $(FIRST),0) FUZZ_READERS="$(READERS)" \
	$(BIN)/python -m tests.fuzz.run

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy dollhouse
	$(BIN)/lint-imports --no-cache

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open build/site/index.html"

# The paper's tables at nano size, within BUDGET minutes; the same call continues and says what it left out. ONLY=II makes
# one; MODELS='--model rooms_nano=FOLDER' gives models that are not shipped (docs/guides). The results: runs/paper/results.
MODELS ?= --model nano=dollhouse/models/weights/nano
BUDGET ?= 60
paper: $(STAMP)
	$(BIN)/python -m experiments.paper $(if $(ONLY),--only $(ONLY)) --budget $(BUDGET) $(MODELS) --out runs/paper

clean:
	rm -rf $(VENV) demo build
