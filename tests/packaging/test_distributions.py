"""What is built: one top-level package, which harms nobody who has packages of the same names."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OF_THIS_REPOSITORY = {
    "flagfall/dags/.airflowignore",
    "flagfall/dags/dataset_errors.py",
    "flagfall/dags/feeds.py",
}

PACKAGE = ("flagfall", "dags", "operators", "plugin", "triggers")


def built(source: Path, target: str, folder: Path) -> Path:
    """The file that the build back end makes of a source tree."""
    folder.mkdir()
    command = [sys.executable, "-m", "hatchling", "build", "--target", target]
    subprocess.run([*command, "--directory", str(folder)], cwd=source, check=True)
    return next(path for path in folder.iterdir() if path.name.startswith("flagfall"))


def names_in(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT, "wheel", tmp_path_factory.mktemp("wheel") / "dist")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT, "sdist", tmp_path_factory.mktemp("sdist") / "dist")


def files_of_the_repository() -> set[str]:
    """Every file of the package, through its links to dags, operators, plugin and triggers."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *PACKAGE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    files = [name for name in listed if not (ROOT / name).is_symlink()]
    return {f if f.startswith("flagfall/") else f"flagfall/{f}" for f in files} - OF_THIS_REPOSITORY


def test_a_wheel_installs_one_package(wheel: Path) -> None:
    assert {name.split("/")[0] for name in names_in(wheel)} == {
        "flagfall",
        "flagfall-0.1.0.dist-info",
    }


def test_a_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    ours = {name for name in names_in(wheel) if name.startswith("flagfall/")}
    assert ours == files_of_the_repository()


def test_a_wheel_that_is_built_from_the_sdist_is_the_same(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    again = built(tmp_path / "flagfall-0.1.0", "wheel", tmp_path / "dist")
    ours = {name for name in names_in(again) if name.startswith("flagfall/")}
    assert ours == files_of_the_repository()


def test_airflow_is_told_of_the_provider(wheel: Path) -> None:
    entry_points = zipfile.ZipFile(wheel).read("flagfall-0.1.0.dist-info/entry_points.txt").decode()
    assert "[apache_airflow_provider]" in entry_points
