"""``flagfall init``: from a sample to a dataset file, and on to the first batch."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from flagfall.cli.dataset_check import check_dataset
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset, read_dataset
from flagfall.inbox.inbox import Inbox
from tests.cli.test_cli import CommandLine, flagfall
from tests.sample.test_samples import SAMPLES

__all__ = ["flagfall"]  # a fixture

WEATHER = "origin,time_hour,temp\nEWR,2013-01-01 01:00,39.02\nEWR,2013-01-01 02:00,NA\n"


@pytest.fixture
def weather(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sample in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weather.csv").write_text(WEATHER)
    return tmp_path / "weather.csv"


def test_it_writes_a_dataset_file_that_check_calls_fine(
    flagfall: CommandLine, weather: Path
) -> None:
    ran = flagfall("init", "weather", "--from", weather.name)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("datasets/weather.yaml: 3 columns from 2 rows\nNext:\n")
    checked = flagfall("check", "weather", "--offline")
    assert (checked.code, checked.out) == (0, "weather: fine; 3 columns, no model\n")


@pytest.mark.parametrize("name", ["CSV", "several files", "JSON in gzip", "Parquet"])
def test_the_next_two_commands_work_as_they_are_printed(
    flagfall: CommandLine, weather: Path, name: str
) -> None:
    files, rows, _ = SAMPLES[name]
    folder = weather.parent / "a sample"
    for key, content in files.items():
        folder.mkdir(exist_ok=True)
        (folder / key).write_bytes(content if isinstance(content, bytes) else content.encode())
    sample = folder / next(iter(files)) if len(files) == 1 else folder
    printed = flagfall("init", "feed", "--from", sample).out
    for line in printed.partition("Next:\n")[2].splitlines():
        shell(line, weather.parent)
    (pending,) = Inbox(Feed.of(find_dataset("feed"))).pending()
    (taken,) = flagfall("stage", "ingest", "feed", pending.batch_id).lines
    assert (taken[0]["status"], taken[0]["rows"]) == ("accepted", rows)


def shell(line: str, folder: Path) -> None:
    python = shlex.quote(sys.executable)
    command = f'flagfall() {{ {python} -m flagfall "$@"; }}; {line}'
    subprocess.run(["bash", "-ec", command], cwd=folder, env=os.environ, check=True)


def test_a_file_that_is_there_is_never_changed(flagfall: CommandLine, weather: Path) -> None:
    flagfall("init", "weather", "--from", weather)
    path = weather.parent / "datasets/weather.yaml"
    path.write_text("mine")
    said = flagfall.refused("init", "weather", "--from", weather)
    assert "weather.yaml is there already; use another name, or move the file away" in said
    assert path.read_text() == "mine"


def test_a_file_that_is_there_is_named_before_the_sample_is_read(
    flagfall: CommandLine, weather: Path
) -> None:
    flagfall("init", "weather", "--from", weather)
    assert "is there already" in flagfall.refused("init", "weather", "--from", "nope.csv")


def test_a_file_that_comes_meanwhile_is_not_changed(
    flagfall: CommandLine, weather: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = weather.parent / "datasets/weather.yaml"
    path.parent.mkdir()
    monkeypatch.setattr(Path, "exists", lambda self: self != path and os.path.lexists(self))
    path.write_text("mine")
    assert "is there already" in flagfall.refused("init", "weather", "--from", weather)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["Weather", "9lives", "a-b", "../x", "a b", ""])
def test_a_name_that_no_dataset_has_is_refused_with_the_remedy(
    flagfall: CommandLine, weather: Path, name: str
) -> None:
    said = flagfall.refused("init", name, "--from", weather)
    assert "use lower-case letters, digits and _, a letter first" in said
    assert not (weather.parent / "datasets").exists()


def test_a_sample_that_is_not_there_is_named(flagfall: CommandLine, weather: Path) -> None:
    said = flagfall.refused("init", "weather", "--from", "nope.csv")
    assert "no sample 'nope.csv'; name a data file, or a folder of data files" in said


def test_a_bad_sample_is_one_line_and_leaves_no_folder(
    flagfall: CommandLine, weather: Path
) -> None:
    weather.write_text("a,a\n1,2\n")
    said = flagfall.refused("init", "weather", "--from", weather)
    assert "sample weather.csv: line 1: columns found twice: 'a'; name each once" in said
    assert not (weather.parent / "datasets").exists()


def test_bad_rows_of_the_sample_are_said_before_they_surprise(
    flagfall: CommandLine, weather: Path
) -> None:
    weather.write_text(f"{WEATHER}EWR\n")
    ran = flagfall("init", "weather", "--from", weather)
    assert ran.code == 0
    assert ran.err == "flagfall: weather: 1 of 3 rows are bad: 1 × row: 1 field, expected 3\n"


def test_a_folder_that_cannot_be_made_is_one_line(flagfall: CommandLine, weather: Path) -> None:
    (weather.parent / "datasets").write_text("a file")
    said = flagfall.refused("init", "weather", "--from", weather)
    assert "datasets: not a directory; move it away" in said


def test_without_the_variable_the_folder_is_datasets_here(
    flagfall: CommandLine, weather: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLAGFALL_DATASETS")
    flagfall("init", "weather", "--from", weather)
    assert check_dataset(read_dataset(weather.parent / "datasets/weather.yaml"))


@pytest.mark.parametrize("root", ["s3://bucket/data", "/elsewhere"])
def test_the_place_of_the_data_is_the_environment_s(
    flagfall: CommandLine, weather: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.setenv("FLAGFALL_DATA", root)
    ran = flagfall("init", "weather", "--from", weather)
    dataset = read_dataset(weather.parent / "datasets/weather.yaml")
    assert (dataset.landing.uri, dataset.lake.uri) == (f"{root}/landing/weather", f"{root}/lake")
    assert f"{root}/landing/weather/first" in ran.out
