"""The direction of the arrows in docs/design.md, read from the imports of the code."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
HEAVY = ["polars", "numpy", "sklearn", "matplotlib", "onnxruntime", "scipy", "boto3", "deltalake"]
"""Not to be imported while Airflow parses DAGs or on the triggerer."""

READERS = {"scan_parquet", "read_parquet", "read_parquet_schema", "scan_csv", "read_csv"}
"""What polars reads files with."""

ADAPTERS = {"dags", "operators", "plugin", "triggers"}
"""The parts that know Airflow. They are at the top of the repository, and links in ``flagfall``."""

ROOMS = [
    "plugin",
    "dags",
    "operators",
    "triggers",
    "cli",
    "pages",
    "report",
    "ledger",
    "verdict",
    "watch",
    "upkeep",
    "stages",
    "sample",
    "rows",
    "inbox",
    "scoring",
    "tables",
    "lake",
    "dataset",
    "publish",
    "landing",
    "stores",
    "concurrency",
    "extras",
    "logs",
    "errors",
]
"""Rooms of ``flagfall``, from the top down: each may import from those below it only."""


def module_of(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources() -> dict[str, Path]:
    """Files of ``flagfall`` by module name, the adapters among them."""
    core = {module_of(path): path for path in (PROJECT / "flagfall").rglob("*.py")}
    files = (path for room in ADAPTERS for path in (PROJECT / room).rglob("*.py"))
    return core | {f"flagfall.{module_of(path)}": path for path in files}


def room_of(module: str) -> str:
    """The room of a module: ``stores`` for ``flagfall.stores.s3``."""
    return module.split(".")[1]


def core() -> dict[str, Path]:
    """Files of ``flagfall`` without the adapters."""
    adapters = tuple(f"flagfall.{room}" for room in ADAPTERS)
    return {name: path for name, path in sources().items() if not name.startswith(adapters)}


@cache
def imports(path: Path) -> frozenset[str]:
    """Everything that a file imports, at the top or in a function."""
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def arrows() -> set[tuple[str, str]]:
    """Pairs of modules of ``flagfall`` in different rooms: who imports, and what."""
    known = {name for name in sources() if name.count(".")}
    return {
        (module, target)
        for module in known
        for target in imports(sources()[module]) & known
        if room_of(module) != room_of(target)
    }


def python(code: str, **environment: str) -> str:
    """What another Python prints, started in the project's folder."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    ran = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


class TestArrowsPointDown:
    def test_every_room_has_its_place(self) -> None:
        rooms = {room_of(module) for module in sources() if module.count(".")} - {"__main__"}
        assert rooms == set(ROOMS), "give the new room a place in ROOMS"

    def test_a_room_imports_nothing_from_above(self) -> None:
        place = {room: depth for depth, room in enumerate([*ROOMS, "__main__"])}
        upward = [
            f"{module} imports {target}"
            for module, target in sorted(arrows())
            if place[room_of(target)] < place[room_of(module)] and module != "flagfall.__main__"
        ]
        assert upward == []

    def test_the_scan_sees_imports(self) -> None:
        assert ("flagfall.operators.work.staging", "flagfall.stages.shard") in arrows()

    def test_stores_know_nothing_of_markers(self) -> None:
        targets = {room_of(target) for module, target in arrows() if room_of(module) == "stores"}
        assert targets <= {"concurrency", "errors", "extras", "logs"}

    @pytest.mark.parametrize("room", ["inbox", "watch", "landing"])
    def test_what_decides_knows_nothing_of_disks_or_buckets(self, room: str) -> None:
        storage = {"os", "pathlib", "shutil", "tempfile", "glob", "io", "aiofiles", "watchfiles"}
        storage |= {"boto3", "botocore", "obstore", "flagfall.stores.local", "flagfall.stores.s3"}
        paths = [path for name, path in core().items() if name.split(".")[1:2] == [room]]
        paths = [path for path in paths if path.stem != "heartbeat"]  # it has its process's id
        assert paths
        assert storage & set().union(*(imports(path) for path in paths)) == set()

    @pytest.mark.parametrize("package", ["airflow", "sandbox", "tests"])
    def test_the_core_never_imports_what_is_built_on_it(self, package: str) -> None:
        for module, path in core().items():
            found = {name for name in imports(path) if name.split(".")[0] == package}
            assert found == set(), module

    def test_adapters_know_no_disk_library_and_no_table_library(self) -> None:
        for module, path in sources().items():
            if module.split(".")[1:2] and room_of(module) in ADAPTERS:
                found = {name.split(".")[0] for name in imports(path)}
                assert found & {*HEAVY, "aiofiles", "watchfiles", "boto3", "obstore"} == set(), (
                    module
                )


def test_no_name_of_a_file_is_a_pattern() -> None:
    """A lake may be called ``team[1]``: polars looks for ``team1`` unless it is told."""
    for module, path in core().items():
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        told = {id(one.func) for one in calls if any(key.arg == "glob" for key in one.keywords)}
        asked = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr in READERS]
        found = {node.attr for node in asked if id(node) not in told}
        of_bytes = {"read_csv"} if module == "flagfall.rows.csv_columns" else set()
        assert found == of_bytes, f"{module}: see flagfall.lake.parquet"


def test_the_whole_core_can_be_imported_without_airflow() -> None:
    modules = [name for name in core() if name != "flagfall.__main__"]
    code = (
        "import importlib, sys\n"
        "sys.modules['airflow'] = None  # importing it fails from here on\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(sum(name.split('.')[0] == 'airflow' for name in sys.modules))\n"
    )
    assert python(code) == "1", "only the one that is blocked"


@pytest.mark.parametrize(
    "modules",
    [
        [
            "flagfall.dataset.schema",
            "flagfall.inbox.inbox",
            "flagfall.watch.loop",
            "flagfall.cli.main",
        ],
        ["flagfall.triggers.markers", "flagfall.operators.stages", "flagfall.operators.sensors"],
        ["flagfall.plugin.plugin"],
    ],
    ids=["core", "Airflow's", "the plugin, which every process loads"],
)
def test_nothing_heavy_is_imported_while_dags_are_parsed_or_on_the_triggerer(
    modules: list[str],
) -> None:
    """``polars`` that was used before a fork hangs in the child; all of them are slow to import."""
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    assert python(code).splitlines()[-1] == "[]"


def test_a_process_that_serves_no_page_imports_none() -> None:
    """Airflow's workers, scheduler and triggerer load plugins, too."""
    unwanted = ["flagfall.plugin.app", "flagfall.pages.render", "jinja2.environment", "fastapi"]
    code = (
        "import sys\n"
        "import airflow.plugins_manager\n"
        "before = set(sys.modules)\n"
        "import flagfall.plugin.plugin\n"
        f"print([name for name in {unwanted!r} if name in set(sys.modules) - before])\n"
    )
    assert python(code).splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "line",
    [
        "from flagfall.operators import MarkerSensor",
        "from flagfall.triggers import MarkerFeedTrigger",
        "import flagfall.dags.feeds",
    ],
    ids=["a sensor", "a trigger", "the pipelines"],
)
def test_a_dag_file_imports_nothing_that_only_the_work_of_tasks_needs(line: str) -> None:
    """It is parsed again by every task."""
    unwanted = [
        "flagfall.inbox.inbox",
        "flagfall.lake.records",
        "flagfall.operators.notices",
        "flagfall.operators.work",
        "flagfall.stages.shard",
        "flagfall.verdict.look",
        "flagfall.watch.loop",
    ]
    code = f"import sys\n{line}\nprint([name for name in {unwanted!r} if name in sys.modules])\n"
    assert python(code).splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "module",
    ["flagfall.operators.notices", "flagfall.operators.work.staging", "flagfall.triggers.waiting"],
)
def test_who_opens_a_lake_in_airflow_goes_by_its_connections(module: str) -> None:
    """The DAG processor calls what is to be told of a dead worker, and has run no task."""
    code = (
        f"import {module}\n"
        "from flagfall.stores import aws\n"
        "from flagfall.triggers import connections\n"
        "print(aws._look_up is connections.account)\n"
    )
    assert python(code).splitlines()[-1] == "True"


def test_every_operator_names_work_that_there_is() -> None:
    """It is looked up by name when a task runs."""
    from flagfall.operators import maintenance, outcomes, stages, tasks, watchman

    named = [
        kind.work
        for module in (maintenance, outcomes, stages, watchman)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, tasks.TaskOperator) and hasattr(kind, "work")
    ]
    assert len(named) == 8
    for module, function in (work.split(".") for work in named):
        work = importlib.import_module(f"flagfall.operators.work.{module}")
        assert callable(getattr(work, function))


class TestDatasetsIsAFolderOfData:
    """``import datasets`` must stay Hugging Face's library, wherever Python is started."""

    def test_the_library_wins_over_the_folder(self, tmp_path: Path) -> None:
        library = tmp_path / "site-packages" / "datasets" / "__init__.py"
        library.parent.mkdir(parents=True)
        library.write_text("def load_dataset(): ...\n")
        where = python(
            "import sys, datasets; assert sys.path[0] == ''; print(datasets.__file__)",
            PYTHONPATH=str(library.parent.parent),
        )
        assert where == str(library)

    def test_there_is_no_python_in_it(self) -> None:
        assert list((PROJECT / "datasets").rglob("*.py")) == []
