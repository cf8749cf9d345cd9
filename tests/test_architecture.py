"""The direction of the arrows in docs/design.md, read from the imports of the code."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
HEAVY = ["polars", "numpy", "sklearn", "matplotlib", "onnxruntime", "scipy", "boto3"]
"""Not to be imported while Airflow parses DAGs or on the triggerer."""

LAYERS = [
    {"cli", "demo"},
    {"local_airflow", "local_cluster", "local_postgres", "local_redis", "local_s3", "machine"},
    {"check", "cost", "status", "stages"},
    {"drift", "engines", "features", "flights", "plots", "summary", "tables", "threads"},
    {"claim", "health", "lookout", "watch"},
    {"inbox"},
    {"receipts", "lake", "landing", "manifest", "publish"},
    {"kept", "records", "dataset", "marker_formats"},
    {"marker"},
    {"stores", "tokens"},
    {"errors"},
]
"""Parts of ``flagfall``, from the top down: each may import from its own layer and those below."""


def module_of(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources(package: str) -> dict[str, Path]:
    """Files of a package by module name."""
    return {module_of(path): path for path in sorted((PROJECT / package).rglob("*.py"))}


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


def part_of(module: str) -> str:
    """The part of ``flagfall`` that a module belongs to: ``stores`` for ``flagfall.stores.s3``."""
    return module.split(".")[1]


def parts() -> dict[str, set[str]]:
    """What each part of ``flagfall`` imports of ``flagfall``."""
    found: dict[str, set[str]] = {}
    known = set(sources("flagfall"))
    for module, path in sources("flagfall").items():
        if module != "flagfall":
            targets = {part_of(name) for name in imports(path) if name in known - {"flagfall"}}
            found.setdefault(part_of(module), set()).update(targets)
    return found


PARTS = parts()
LAYER = {name: depth for depth, names in enumerate(LAYERS) for name in names}


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
    def test_every_part_of_flagfall_has_its_place(self) -> None:
        assert set(PARTS) <= set(LAYER), "give the new module a place in LAYERS"

    @pytest.mark.parametrize("part", sorted(PARTS))
    def test_a_part_imports_nothing_from_above(self, part: str) -> None:
        above = {other for other in PARTS[part] if LAYER[other] < LAYER[part]}
        assert above == set()

    def test_no_two_parts_need_each_other(self) -> None:
        waiting = {part: targets - {part} for part, targets in PARTS.items()}
        while ready := [part for part, targets in waiting.items() if not targets & set(waiting)]:
            for part in ready:
                del waiting[part]
        assert waiting == {}, "these go round in a circle"

    def test_stores_know_nothing_of_markers(self) -> None:
        assert PARTS["stores"] <= {"stores", "errors"}

    def test_errors_know_nothing_at_all(self) -> None:
        assert PARTS["errors"] == set()

    @pytest.mark.parametrize(
        "part", ["inbox", "watch", "claim", "receipts", "landing", "manifest", "marker_formats"]
    )
    def test_what_decides_knows_nothing_of_disks_or_buckets(self, part: str) -> None:
        storage = {"os", "pathlib", "shutil", "tempfile", "glob", "io", "aiofiles", "watchfiles"}
        storage |= {"boto3", "botocore", "obstore", "flagfall.stores.local", "flagfall.stores.s3"}
        known = sources("flagfall").items()
        paths = [path for module, path in known if module.split(".")[1:2] == [part]]
        assert paths
        assert storage & set().union(*(imports(path) for path in paths)) == set()

    @pytest.mark.parametrize("package", ["airflow", "triggers", "operators", "dags", "tests"])
    def test_the_core_never_imports_what_is_built_on_it(self, package: str) -> None:
        for module, path in sources("flagfall").items():
            found = {name for name in imports(path) if name.split(".")[0] == package}
            assert found == set(), module

    def test_triggers_and_operators_know_no_disk_library_and_no_table_library(self) -> None:
        for package in ("triggers", "operators", "dags"):
            for module, path in sources(package).items():
                found = {name.split(".")[0] for name in imports(path)}
                assert found & {*HEAVY, "aiofiles", "watchfiles", "boto3", "obstore"} == set(), (
                    module
                )


def test_the_whole_core_can_be_imported_without_airflow() -> None:
    modules = list(sources("flagfall"))
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
        ["flagfall.dataset", "flagfall.inbox", "flagfall.watch", "flagfall.cli"],
        ["triggers.markers", "operators.stages", "operators.sensors"],
    ],
    ids=["core", "Airflow's"],
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


def test_a_dag_file_that_only_waits_for_markers_imports_nothing_that_takes_batches_in() -> None:
    """It is parsed again in every task, also in the one that a marker wakes."""
    unwanted = ["flagfall.inbox", "flagfall.stages", "flagfall.watch", "operators.stages"]
    code = (
        "import sys\n"
        "from operators import MarkerSensor\n"
        f"print([name for name in {unwanted!r} if name in sys.modules])\n"
    )
    assert python(code).splitlines()[-1] == "[]"


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
