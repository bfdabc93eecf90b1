# make help lists the targets. Everything runs in .venv, which is made from requirements.lock on first use.
PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell command -v $(name) 2>/dev/null)) python3)

# What a user types reaches the launcher as it is: not expanded by make, one word for the shell.
define newline


endef
REQUEST = $(foreach name,PROFILE SEEDS TASKS VARIANTS CORES GPUS SLURM DRY,$(call given,$(name)))
given = $(1)=$(call quoted,$(1))
quoted = '$(subst $(newline), ,$(subst ','\'',$(value $(1))))'
unexport FROM PROFILE SEEDS TASKS VARIANTS CORES GPUS SLURM DRY

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help venv reproduce sweep search bench test soak test-slurm test-colab docs lab text sync refresh export clean-nbs verify cards crate

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s%s\n", $$1, $$2}' Makefile

venv: $(STAMP) ## make the virtual environment from the lock file

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else "error: Python 3.11 or newer is needed, this is %d.%d: name a newer one with make PYTHON=..." % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@if git rev-parse --git-dir >/dev/null 2>&1; then git config --local diff.notebook.textconv '$(BIN)/jupytext --quiet --opt notebook_metadata_filter=-all --to py:percent --output -'; fi
	@touch $@

reproduce: ## redraw figures and tables; FROM=traces|checkpoints|training|sweep PROFILE=smoke|laptop|gpu|paper, and what sweep takes
	@$(PYTHON) workflow/launch.py --check reproduce $(call given,FROM) $(REQUEST)
	@$(MAKE) --no-print-directory venv
	@$(BIN)/python workflow/launch.py reproduce $(call given,FROM) $(REQUEST)

sweep: ## train and trace what is not shipped; SEEDS=0-4 TASKS=mano VARIANTS=online CORES=2 GPUS=1 SLURM=1; DRY=1 prints the plan
	@$(PYTHON) workflow/launch.py --check sweep $(REQUEST)
	@$(MAKE) --no-print-directory venv
	@$(BIN)/python workflow/launch.py sweep $(REQUEST)

search: $(STAMP) ## try settings around those of PROFILE=laptop, for each variant apart; shipped trials are not touched
	@$(BIN)/python workflow/launch.py --check search $(call given,PROFILE)
	@$(BIN)/python -m anira.tuning --profile $(if $(value PROFILE),$(call quoted,PROFILE),laptop)

bench: $(STAMP) ## measure the benchmarks anew, in place, and redraw benchmarks/
	@$(BIN)/python -m anira.reproduce refresh $$(find nbs/benchmarks -name '*.ipynb' -not -path '*/.*' | sort)

test: $(STAMP) ## run the tests
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(BIN)/python -m pytest -n 2 --dist worksteal -q --basetemp="$$folder/tests"

soak: $(STAMP) ## kill a training at random, KILLS=500 times, and check that nothing is lost
	@$(BIN)/python tests/soak.py --kills $(if $(value KILLS),$(call quoted,KILLS),500)

test-slurm: $(STAMP) ## a sweep on a real SLURM of one node, started here and stopped again (needs slurmctld, munged and root)
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(BIN)/python -m pytest -q -rs -s -m slurm --basetemp="$$folder/tests" tests/test_slurm.py

test-colab: $(STAMP) ## every experiment and guide on the versions that Colab brings along, in a fresh environment
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(BIN)/python -m pytest -q -m colab --basetemp="$$folder/tests" tests/test_colab.py

docs: $(STAMP) ## build the site into _docs, from the notebooks as they are
	@$(BIN)/python docs/build.py

lab: $(STAMP) ## open JupyterLab
	$(BIN)/jupyter lab

text: $(STAMP) ## write the text twin of every notebook into text/ (the newer side wins)
	@$(BIN)/jupytext --quiet --sync $$(find nbs -name '*.ipynb' -not -path '*/.*')

sync: text ## text to notebooks, execute what changed, clean, export
	@$(BIN)/jupytext --quiet --sync $$(find text -name '*.py' -not -path '*/.*')
	@$(BIN)/nbdev_clean && $(BIN)/nbdev_export
	@$(BIN)/python -m anira.reproduce refresh --changed
	@$(BIN)/jupytext --quiet --sync $$(find nbs -name '*.ipynb' -not -path '*/.*')

refresh: $(STAMP) ## execute every notebook but the benchmarks in place with its defaults
	@$(BIN)/python -m anira.reproduce refresh

export: $(STAMP) ## write anira/*.py from the notebooks
	@$(BIN)/nbdev_export

clean-nbs: $(STAMP) ## strip metadata from the notebooks
	@$(BIN)/nbdev_clean

verify: $(STAMP) ## check every shipped folder: bytes, configuration, code version
	@$(BIN)/python -m anira.provenance verify

cards: $(STAMP) ## write the model cards beside the shipped models
	@$(BIN)/python -m anira.provenance cards

crate: $(STAMP) ## export the whole reproduction as an RO-Crate into runs/crate
	@rm -rf runs/crate && $(BIN)/python -m anira.provenance crate runs/crate
