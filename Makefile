# Two commands do everything on a machine with Python and pip: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
TRAINER := $(VENV)-$(NAME)

.PHONY: demo test test-oldest-hub test-trainer lint profiles data-sheets clean

demo: $(STAMP)
	$(BIN)/dft-stats demo $(ARGS)

test: $(STAMP) lint
	$(BIN)/python -m pytest

# The Hub with the oldest client that the package allows.
test-oldest-hub:
	$(PYTHON) -m venv $(VENV)-oldest-hub
	$(VENV)-oldest-hub/bin/python -m pip install --quiet --editable . 'huggingface_hub==1.30.*' pytest hypothesis
	$(VENV)-oldest-hub/bin/python -m pytest tests/test_hub_push.py tests/test_hub_pull.py tests/test_hub_cli.py tests/test_hub_lock.py tests/test_hub_outage.py

# A trainer that the environment of `make test` does not have, in one of its own: make test-trainer NAME=torchtune, or another of
# tests/trainers/NAME.txt, which says what is installed, torch too if it has to be another. What NAME-alone.txt says is installed after
# it, without what that asks for.
test-trainer:
	@test -f tests/trainers/$(NAME).txt || { echo 'NAME is one of' $(filter-out %-alone,$(basename $(notdir $(wildcard tests/trainers/*.txt)))); exit 2; }
	$(PYTHON) -m venv $(TRAINER)
	$(TRAINER)/bin/python -m pip install --quiet --upgrade pip
	$(TRAINER)/bin/python -m pip install --quiet $(if $(shell grep ^torch== tests/trainers/$(NAME).txt),,--constraint constraints.txt) \
		--editable . pytest hypothesis --requirement tests/trainers/$(NAME).txt
	$(if $(wildcard tests/trainers/$(NAME)-alone.txt),$(TRAINER)/bin/python -m pip install --quiet --no-deps --requirement tests/trainers/$(NAME)-alone.txt)
	$(TRAINER)/bin/python -m pytest tests/trainers/test_$(subst -,_,$(NAME)).py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The official profiles, from a folder of corpora laid out as pipelines/README.md says: make profiles CORPORA=...
profiles: $(STAMP)
	$(BIN)/python -m pipelines.official $(CORPORA)

# Their data sheets with plots, of the same corpora: make data-sheets CORPORA=...
data-sheets: $(STAMP)
	$(BIN)/python -m pipelines.data_sheet $(CORPORA)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,ray]' --group dev
	touch $(STAMP)

clean:
	rm -rf $(VENV) $(VENV)-oldest-hub $(patsubst tests/trainers/%.txt,$(VENV)-%,$(wildcard tests/trainers/*.txt))
