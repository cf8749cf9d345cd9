# Every command, the same for a person and for CI. `make demo KEEP=1` leaves Airflow's UI up, DAYS=2 is over sooner,
# `make demo STORE=s3` has landing zone and lake on S3 (moto's server, over HTTP), and so has
# `make demo EXECUTOR=celery`: two workers that share nothing but S3, two schedulers and triggerers.
# `make rehearse` is `make demo EXECUTOR=kubernetes`: the KubernetesExecutor with what deploy/ ships, on a stand-in.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
INSTALL := $(UV) pip install --quiet --python $(BIN)/python --compile-bytecode --no-deps

.PHONY: airflow-3.2 chart demo executors rehearse docs image test test-slow simulate bench campaign check format lock model readers servers zoo clean

demo: $(VENV)/.run $(if $(STORE)$(EXECUTOR),$(VENV)/.s3) $(if $(EXECUTOR),$(VENV)/.cluster)
	$(strip $(BIN)/python -m sandbox.demo $(if $(KEEP),--keep) $(if $(STORE),--store $(STORE)) \
		$(if $(EXECUTOR),--executor $(EXECUTOR)) $(if $(DAYS),--days $(DAYS)))

rehearse:
	$(MAKE) demo EXECUTOR=kubernetes

# The demo on S3 with each executor in turn, and one table of all: tasks, pods, seconds. ARGS="celery kubernetes" for some.
executors: $(VENV)/.dev
	$(BIN)/python -m sandbox.executors $(ARGS)

# Side by side: most tests wait. Those of one file share what they start, such as an Airflow. In the order of their
# names the longest files, of dags/, faults/ and live/, are not the last, which one process would do alone. Bytecode
# is kept, also where an image says not to: each of hundreds of processes would compile the project again.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses $(or $(JOBS),4) --dist loadfile --no-loadscope-reorder
test: $(VENV)/.dev
	$(PYTEST) -m "not slow" $(ARGS)

# Minutes each: the campaign, the cluster, the demo's variants, the image, fresh environments. With SERVERS=1
# also MLServer, Triton, readers of tables, Airflow 3.2 and the zoo of models, 3.8 GB of disk; without them
# their tests are skipped.
test-slow: JOBS := 2
test-slow: $(VENV)/.dev $(if $(SERVERS),servers readers airflow-3.2 zoo)
	$(if $(SERVERS),FLAGFALL_REQUIRE_SERVERS=1) $(PYTEST) -m slow $(ARGS)

# The intake on a simulated store, clock and schedule, each from one seed. SEED=7 shows what happened in one;
# MUTANTS=1 puts faults back into the code, and shows how many seeds find each.
simulate: $(VENV)/.dev
	$(BIN)/python -m tests.simulation $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(MUTANTS),--mutants) $(ARGS)

# Render every values file with Airflow's chart, which you have: make chart CHART=airflow-1.22.0.tgz. Each object
# is validated and checked against ours; no cluster is asked.
chart: $(VENV)/.dev
	@test -n "$(CHART)" || { echo "make chart CHART=airflow-1.22.0.tgz: name the chart's file"; exit 1; }
	@test -f "$(CHART)" || { echo "make chart: there is no file $(CHART)"; exit 1; }
	$(BIN)/python -m tests.deploy.chart $(CHART)

# Build the image with podman or docker and run it as the policies want it; BASE=name takes another base of Python.
ENGINE ?= $(firstword $(shell command -v podman docker))
image:
	@test -n "$(ENGINE)" || { echo "make image needs podman or docker"; exit 1; }
	$(ENGINE) build --file deploy/Dockerfile $(if $(BASE),--build-arg PYTHON=$(BASE)) $(BUILD) --tag flagfall:0.1.0 .
	$(ENGINE) run --rm --read-only --cap-drop ALL --network none --tmpfs /tmp --tmpfs /opt/airflow:mode=1777 \
		$(RUN) flagfall:0.1.0 sh -c 'id -u && airflow version && flagfall --help >/dev/null && echo runs'

# Harm to a real Airflow, most of an hour; writes docs/reliability.md. ARGS=kills does one part again; partitions
# and kubernetes, which take hours, are done only when they are named.
campaign: $(VENV)/.dev
	$(BIN)/python -m tests.faults.campaign $(ARGS)

# Beside what others use, on this machine, over an hour; writes docs/benchmarks.md. ARGS="sweeps parse"
# does some parts again, ARGS=page none of them.
bench: $(VENV)/.dev $(if $(filter page,$(ARGS)),,servers .flagfall/stock/.done .flagfall/analyst/.done)
	$(BIN)/python benchmarks/bench.py $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Where uv finds PyTorch without CUDA: in pip's folder of wheels if the machine has one, else with its makers.
WHEELS = $(or $(PIP_FIND_LINKS),$(shell python3 -m pip config get global.find-links 2>/dev/null))
TORCH = $(if $(WHEELS),--find-links $(WHEELS),--torch-backend cpu)

# Compile the pinned requirements from pyproject.toml; UPGRADE=1 takes newer versions.
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url $(if $(UPGRADE),--upgrade)
lock: $(UV)
	$(LOCK) pyproject.toml --extra all -o requirements.txt
	$(LOCK) pyproject.toml --extra all --group dev -c requirements.txt -o requirements/dev.txt
	for group in s3 cluster image docs; do \
		$(LOCK) --group pyproject.toml:$$group -c requirements/dev.txt -o requirements/$$group.txt || exit; done
	$(LOCK) --group pyproject.toml:build -o requirements/build.txt
	$(LOCK) pyproject.toml requirements/airflow-3.2.in --extra all -o requirements/airflow-3.2.txt \
		--exclude-newer 2026-07-01 $(patsubst %,--exclude-newer-package %=2026-12-01,obstore polars polars-runtime-32 watchfiles)
	for tool in model mlserver triton zoo; do \
		$(LOCK) requirements/$$tool.in -o requirements/$$tool.txt || exit; done
	$(LOCK) $(TORCH) requirements/zoo-torch.in -c requirements/zoo.txt -o requirements/zoo-torch.txt
	$(LOCK) requirements/analyst.in -c requirements/model.txt -o requirements/analyst.txt
	$(LOCK) requirements/readers.in -c requirements/dev.txt -o requirements/readers.txt

# The pages of docs/ as a site with search, in .flagfall/site. A broken link is an error.
docs: .flagfall/docs/.done
	.flagfall/docs/bin/sphinx-build --quiet --fail-on-warning --keep-going docs .flagfall/site

.flagfall/docs/.done: requirements/docs.txt $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) .flagfall/docs
	$(UV) pip install --quiet --python .flagfall/docs/bin/python --require-hashes --no-deps -r $<
	touch $@

# Train the model again, in an environment of its own; ARGS=--check only compares.
model: $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) .flagfall/train
	$(UV) pip install --quiet --python .flagfall/train/bin/python --require-hashes --no-deps \
		-r requirements/model.txt -r requirements/demo.txt
	PYTHONPATH=. .flagfall/train/bin/python models/flights_delay/train.py $(ARGS)

# Airflow with its asynchronous S3 client, which needs an older botocore: to measure against.
.flagfall/stock/.done: $(UV) requirements.txt requirements/dev.txt
	$(UV) venv --quiet --clear --python $(PYTHON) .flagfall/stock
	$(UV) pip install --quiet --compile-bytecode --python .flagfall/stock/bin/python $$(sed -nE \
		-e 's/^(apache-airflow==[0-9.]+).*/\1/p' \
		-e 's/^(apache-airflow-providers-amazon)(==[0-9.]+).*/\1[aiobotocore]\2/p' requirements.txt) \
		$$(sed -nE -e 's/^((asyncpg|psycopg2-binary)==[0-9.]+).*/\1/p' requirements/dev.txt)
	touch $@

# What the analyst's script of the benchmark needs: Airflow brings neither pandas nor scikit-learn's model.
.flagfall/analyst/.done: requirements/analyst.txt $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) .flagfall/analyst
	$(UV) pip install --quiet --python .flagfall/analyst/bin/python --require-hashes --no-deps \
		--compile-bytecode -r $< -r requirements/demo.txt
	touch $@

# MLServer and NVIDIA's Triton, on which the tests score: each in an environment of its own, of a Python
# that MLServer has a release for. They take about 210 MB from the registry, and 660 MB of disk.
SERVER_FILES := $(patsubst %,.flagfall/%/.done,mlserver triton)
servers: $(SERVER_FILES)

$(SERVER_FILES): .flagfall/%/.done: requirements/%.txt | $(UV)
	$(UV) venv --quiet --clear --python '>=3.11,<3.13' .flagfall/$*
	$(UV) pip install --quiet --python .flagfall/$*/bin/python --require-hashes --no-deps -r $<
	touch $@

# Others who read the tables: DuckDB, pandas and PyArrow, in an environment of their own.
readers: .flagfall/readers/.done
.flagfall/readers/.done: requirements/readers.txt | $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) .flagfall/readers
	$(UV) pip install --quiet --python .flagfall/readers/bin/python --require-hashes --no-deps -r $<
	touch $@

# Airflow 3.2, in an environment of its own.
airflow-3.2: .flagfall/airflow-3.2/.done
.flagfall/airflow-3.2/.done: requirements/airflow-3.2.txt pyproject.toml | $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) .flagfall/airflow-3.2
	$(UV) pip install --quiet --python .flagfall/airflow-3.2/bin/python --require-hashes --no-deps \
		--compile-bytecode -r $<
	$(UV) pip install --quiet --python .flagfall/airflow-3.2/bin/python --no-deps --editable .
	touch $@

# Models of the usual kinds as their exporters write them, and broken ones, for the tests; in an environment
# of its own, which takes 1.7 GB of disk, of the Python that the locked PyTorch without CUDA is for.
ZOO := .flagfall/zoo-models
zoo: $(ZOO)/.done
$(ZOO)/.done: .flagfall/zoo/.done $(wildcard tests/models/zoo/*.py tests/models/zoo/python/*.py)
	.flagfall/zoo/bin/python -W ignore -m tests.models.zoo $(ZOO)/good
	.flagfall/zoo/bin/python -W ignore -m tests.models.zoo --broken $(ZOO)/broken
	touch $@

.flagfall/zoo/.done: requirements/zoo.txt requirements/zoo-torch.txt | $(UV)
	$(UV) venv --quiet --clear --python 3.11 .flagfall/zoo
	$(UV) pip install --quiet --python .flagfall/zoo/bin/python --require-hashes --no-deps \
		-r requirements/zoo.txt
	$(UV) pip install --quiet --python .flagfall/zoo/bin/python --require-hashes --no-deps $(TORCH) \
		-r requirements/zoo-torch.txt
	touch $@

clean:
	rm -rf $(VENV) .flagfall

$(UV):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check uv==0.13.9

$(VENV)/.run: $(UV) requirements.txt requirements/demo.txt pyproject.toml
	$(INSTALL) --require-hashes -r requirements.txt
	$(INSTALL) --require-hashes -r requirements/demo.txt
	$(INSTALL) --editable .
	touch $@

$(VENV)/.s3: $(VENV)/.run requirements/s3.txt
	$(INSTALL) --require-hashes -r requirements/s3.txt
	touch $@

$(VENV)/.cluster: $(VENV)/.run requirements/cluster.txt
	$(INSTALL) --require-hashes -r requirements/cluster.txt
	touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	$(INSTALL) --require-hashes -r requirements/dev.txt
	touch $@
