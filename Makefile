# `make demo` and `make test` set up a virtual environment by themselves.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: demo test lint clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# Asks the shipped student about a room and scores it; then a teacher speaks, and a student learns on from its records.
demo: $(STAMP)
	mkdir -p demo
	$(BIN)/dollhouse ask rooms:test/3 "How many chairs are there?" "Describe the room." --show demo/answers.png
	$(BIN)/dollhouse scenes show rooms:test/3 --out demo/room.png
	$(BIN)/dollhouse evaluate --scenes rooms:test/0-29 --out demo/shipped
	$(BIN)/dollhouse label --teacher annotations --scenes rooms:train/0-39 --out demo/records
	$(BIN)/dollhouse distill dollhouse/recipes/learn_on.yaml data.records=demo/records --out demo/run
	$(BIN)/dollhouse evaluate demo/run/model --blind dollhouse/models/weights/nano/blind --scenes rooms:test/0-29 --out demo/own
	@echo "Look at demo/answers.png, demo/shipped/report.html (the shipped student) and demo/own/report.html (yours)"

test: $(STAMP) lint
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy dollhouse
	$(BIN)/lint-imports --no-cache

clean:
	rm -rf $(VENV) demo
