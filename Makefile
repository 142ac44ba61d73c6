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

# Distils a student from scratch (too briefly to be of use), scores it and the shipped one, and asks about a room.
demo: $(STAMP)
	$(BIN)/dollhouse distill recipes/nano.yaml name=demo data.scenes=rooms:train/0-799 data.cache=demo/cache \
	    stages.see.steps=90 stages.look.steps=120 stages.compare.steps=60 stages.speak.steps=20 --out demo/run
	$(BIN)/dollhouse evaluate demo/run/model --blind dollhouse/models/nano/blind --scenes rooms:test/0-29 --out demo/own
	$(BIN)/dollhouse evaluate --scenes rooms:test/0-29 --out demo/shipped
	$(BIN)/dollhouse ask rooms:test/3 "How many chairs are there?" "Describe the room." --show demo/answers.png
	$(BIN)/dollhouse scenes show rooms:test/3 --out demo/room.png
	@echo "Look at demo/shipped/report.html (the shipped student), demo/own/report.html (yours) and demo/answers.png"

test: $(STAMP) lint
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check dollhouse tests
	$(BIN)/ruff format --check dollhouse tests
	$(BIN)/mypy dollhouse

clean:
	rm -rf $(VENV) demo
