# Two commands do everything on a fresh machine: `make demo` (lean, no torch) and `make test` (everything).
PYTHON ?= python3
VENV := .venv
DEMO_VENV := .venv-demo
VENV_310 := .venv-310
# Processes of pytest, each with one thread (tests/conftest.py)
JOBS ?= 2
PYTEST := python -m pytest -q -n $(JOBS) --dist worksteal
PIP_FLAGS := --quiet --disable-pip-version-check -c constraints-dev.txt
TILES_PACKAGE := bigearthnet-common==2.8.0
# Python 3.10 (JetPack 6) on the PATH, or behind a version manager's shim of that name
PYTHON_310 := $(shell shim=$$(command -v python3.10); for p in $$shim $${shim%/shims/*}/versions/3.10*/bin/python3.10; do \
	"$$p" -c "import venv" 2>/dev/null && echo "$$p" && break; done)

.PHONY: help setup test test-whole lint test-310 demo reference measure faults networks stream peers docs system-deps clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(VENV)/ready: setup.cfg setup.py constraints-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install $(PIP_FLAGS) -e ".[train,export,c,openvino,tensorrt-rtx,dev]"
	touch $@

$(VENV)/native: $(VENV)/ready setup.py $(wildcard runtime/native/*.c runtime/native/*.h)
	$(VENV)/bin/python setup.py build_native
	touch $@

setup: $(VENV)/native ## full environment in .venv

lint: setup ## ruff, and mypy in strict mode
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: lint test-310 ## everything: lint, types, all tests (runtime also on Python 3.10 where there is one)
	$(VENV)/bin/$(PYTEST)

test-whole: setup ## the four networks of the paper that `make test` takes in part (some minutes)
	$(VENV)/bin/$(PYTEST) -m whole

# After the other one: two editable installs at once would write the same files
$(VENV_310)/ready: setup.cfg setup.py constraints-dev.txt | $(VENV)/ready
	$(PYTHON_310) -m venv $(VENV_310)
	$(VENV_310)/bin/pip install $(PIP_FLAGS) -e ".[watch,mqtt]" pytest pytest-xdist hypothesis pyogrio rio-cogeo prometheus-client
	touch $@

ifeq ($(PYTHON_310),)
test-310:
	@echo "no Python 3.10 here: the runtime's tests run on $$($(PYTHON) --version) only"
else
test-310: $(VENV_310)/ready $(VENV)/native ## the runtime's tests on Python 3.10, but for slow ones and those of C code and drawn pages
	$(VENV_310)/bin/$(PYTEST) -m "not (slow or compiler or qemu or chromium)" tests/runtime
endif

$(DEMO_VENV)/ready: setup.cfg setup.py constraints-dev.txt
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/pip install $(PIP_FLAGS) .
	touch $@

demo/tiles: $(DEMO_VENV)/ready
	$(DEMO_VENV)/bin/pip download $(PIP_FLAGS) --no-deps --dest demo/package $(TILES_PACKAGE)
	$(DEMO_VENV)/bin/python -m zipfile --extract demo/package/*.whl demo/package
	rm -rf $@ demo/unpacked
	mkdir -p demo/unpacked
	for archive in demo/package/bigearthnet_common/*-Example.tar.bz2; do tar -xjf $$archive -C demo/unpacked || exit 1; done
	mv demo/unpacked $@

demo: demo/tiles ## lean environment, six real Sentinel-1/2 pairs through the reference bundle
	$(DEMO_VENV)/bin/lsd-run bundles/reference demo/tiles --output demo/products --overwrite
	@echo "demo environment: $$(du -sm $(DEMO_VENV) | cut -f1) MB, torch $$($(DEMO_VENV)/bin/python -c 'import torch' 2>/dev/null && echo installed || echo absent)"

LSD_DATA ?= ../shared/data
TABLE = $(LSD_DATA)/zindi-landslide/features.csv.gz
TRAIN = $(VENV)/bin/lsd-train forest --table $(TABLE) --data-name "$(DATA_NAME)" --licence "CC-BY-SA 4.0" --overwrite
DATA_NAME := feature table of the multi-modal landslide detection challenge (Zindi), 7,147 patches

CONFIGURATIONS = $(shell $(VENV)/bin/python -c "from lsd.train.groups import *; print(*CONFIGURATIONS)")

reference: setup ## train bundles/reference again from the real feature table (LSD_DATA), about 15 minutes on one core
	for bands in $(CONFIGURATIONS); do \
		$(TRAIN) --bands $$bands --recipe $$([ $$bands = all ] && echo default || echo partial) -o runs/$$(echo $$bands | tr , +) || exit 1; \
	done
	$(VENV)/bin/lsd-export build $$(for bands in $(CONFIGURATIONS); do echo runs/$$(echo $$bands | tr , +); done) \
		-o bundles/reference --overwrite --licence "CC-BY-SA 4.0" \
		--description "Forests for every combination of Sentinel-1 and Sentinel-2 bands that arrives, trained on real patches."

measure: setup ## accuracy on the real table: recipes beside the paper's settings, every configuration (two hours)
	$(VENV)/bin/python -m lsd.benchmarks.real_table --table $(TABLE) --network $(LSD_DATA)/zindi-landslide/network_oof.csv \
		--cache runs/oof -o benchmarks/results/real_table.json --commit $$(git rev-parse --short HEAD)
	$(VENV)/bin/python -m lsd.benchmarks.configurations --table $(TABLE) --cache runs/oof \
		-o benchmarks/results/configurations.json --commit $$(git rev-parse --short HEAD)

faults: setup ## faults through the ingest, and how often clean scenes are flagged (about 20 minutes)
	$(VENV)/bin/python -m lsd.benchmarks.faults --rounds 300 --table $(TABLE) --real $(LSD_DATA) --folder runs/faults \
		-o benchmarks/results/faults.json --commit $$(git rev-parse --short HEAD)
	$(VENV)/bin/python -m lsd.benchmarks.plausibility --table $(TABLE) \
		-o benchmarks/results/plausibility.json --commit $$(git rev-parse --short HEAD)

SURROGATE_RUN = $(VENV)/bin/lsd-train encoder --patches runs/surrogates --recipe small-convnet --epochs 6 --threads 1 --overwrite \
	--data-name "surrogates of the feature table" --licence "CC-BY-SA 4.0"
RESULT = --commit $$(git rev-parse --short HEAD) -o benchmarks/results

networks: setup ## ensembles on the real table; networks, student and kills on surrogates of it (three hours on one core)
	for bands in all optical sar; do $(TRAIN) --bands $$bands --recipe $$([ $$bands = all ] && echo default || echo partial) -o runs/$$bands || exit 1; done
	$(TRAIN) --bands all --recipe paper-lightgbm-table -o runs/lightgbm
	$(TRAIN) --bands all --recipe paper-xgboost-table -o runs/xgboost
	$(VENV)/bin/python -m lsd.benchmarks.ensembles runs/all runs/xgboost runs/lightgbm \
		--network $(LSD_DATA)/zindi-landslide/network_oof.csv $(RESULT)/ensembles.json
	$(VENV)/bin/lsd-train ensemble forest=runs/all --external network=$(LSD_DATA)/zindi-landslide/network_oof.csv:eva_oof_prob -o runs/ensemble --overwrite
	$(VENV)/bin/python -m lsd.benchmarks.cascade runs/ensemble $(RESULT)/cascade.json
	$(VENV)/bin/lsd-train surrogate --table $(TABLE) -o runs/surrogates --jobs 2 --licence "CC-BY-SA 4.0" --overwrite
	$(SURROGATE_RUN) -o runs/surrogate-convnet
	$(SURROGATE_RUN) --teacher runs/ensemble -o runs/surrogate-student
	$(VENV)/bin/python -m lsd.benchmarks.surrogate_network --network runs/surrogate-convnet \
		--forest all=runs/all --forest optical=runs/optical --forest sar=runs/sar $(RESULT)/surrogate_network.json
	$(VENV)/bin/python -m lsd.benchmarks.student --teacher runs/ensemble --student runs/surrogate-student --untaught runs/surrogate-convnet \
		--forest runs/all --patches runs/surrogates $(RESULT)/student.json
	$(VENV)/bin/python -m lsd.benchmarks.paper_networks --patches runs/surrogates $(RESULT)/paper_networks.json
	$(VENV)/bin/lsd-train surrogate --table $(TABLE) -o runs/surrogates-few --rows 180 --licence "CC-BY-SA 4.0" --overwrite
	$(VENV)/bin/python -m lsd.benchmarks.kills --patches runs/surrogates-few --recipe small-convnet --folder runs/kills $(RESULT)/kills.json

stream: setup ## kills, power cuts and memory of lsd-run, and what the acquisition checks find (an hour on one core)
	rm -rf runs/stream && mkdir -p runs/stream
	$(VENV)/bin/python -m lsd.benchmarks.run_kills bundles/reference --folder runs/stream/kills $(RESULT)/run_kills.json
	$(VENV)/bin/python -m lsd.benchmarks.power_cuts bundles/reference --jobs 2 --folder runs/stream/cuts $(RESULT)/power_cuts.json
	$(VENV)/bin/python -m lsd.benchmarks.stream_memory bundles/reference --folder runs/stream/memory $(RESULT)/stream_memory.json
	$(VENV)/bin/python -m lsd.benchmarks.acquisition --table $(TABLE) --real $(LSD_DATA) --folder runs/stream/acquisition --every 3 --tiles 4 \
		$(RESULT)/acquisition.json

PEERS = $(VENV)/bin/python -m lsd.benchmarks.peers

peers: setup ## side by side with other libraries: statistics, forests, networks, accuracy against time, start-up (an hour on two cores)
	$(PEERS) statistics $(RESULT)/peers_statistics.json
	$(PEERS) forests --cache runs/peers $(RESULT)/peers_forests.json
	$(PEERS) encoders $(RESULT)/peers_encoders.json
	$(PEERS) frontier --cache runs/peers $(RESULT)/peers_frontier.json
	$(PEERS) start-up $(RESULT)/peers_start_up.json

docs: setup ## write docs/commands.md from --help
	$(VENV)/bin/python docs/commands.py > docs/commands.md

system-deps: ## tools that some tests need, by apt (root)
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends gcc libc6-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user chromium mosquitto strace

clean: ## remove environments and everything generated
	rm -f runtime/native/*.so runtime/native/library.json
	rm -rf $(VENV) $(VENV_310) $(DEMO_VENV) demo build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
