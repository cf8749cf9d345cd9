"""How commands print: for people on a terminal, for programs behind a pipe."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer import BadParameter

from flagfall.cli import console
from flagfall.cli.console import at_work, say_columns
from flagfall.cli.exit_codes import ExitCode, code_of
from flagfall.cli.status import status_command
from flagfall.errors import NotThere, StoreUnavailable
from flagfall.stages.ingest import ingest
from tests.feeds import make_toy

PAGE = Path(__file__).parents[2] / "docs/command-line.md"


def _standard_error(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> io.StringIO:
    written = io.StringIO()
    shown = Console(file=written, force_terminal=is_terminal, stderr=True)
    monkeypatch.setattr(console, "err", shown)
    return written


def test_what_takes_its_time_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    written = _standard_error(monkeypatch, is_terminal=True)
    with at_work("fitting constants", after=0):
        while "fitting constants" not in written.getvalue():
            pass


def test_what_is_quick_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    written = _standard_error(monkeypatch, is_terminal=True)
    with at_work("fitting constants", after=3600):
        pass
    assert "fitting" not in written.getvalue()


def test_a_pipe_gets_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    written = _standard_error(monkeypatch, is_terminal=False)
    with at_work("fitting constants", after=0):
        pass
    assert written.getvalue() == ""


def test_columns_are_as_wide_as_their_widest_and_the_last_is_never_broken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say_columns(
        ("name", "rows", "batch"), [("a", "1", "x" * 200), ("bcdefg", "1,000", "\x1b[2J")], 1
    )
    assert capsys.readouterr().out.splitlines() == [
        "name     rows  batch",
        f"a           1  {'x' * 200}",
        "bcdefg  1,000  \\x1b[2J",
    ]


def test_errors_that_may_heal_end_otherwise_than_those_that_cannot() -> None:
    may_heal, cannot = StoreUnavailable("/lake", "away"), NotThere("batch", "x")
    assert code_of([]) == ExitCode.DONE
    assert code_of([may_heal, cannot]) == ExitCode.FAILED
    assert code_of([cannot]) == ExitCode.HOPELESS


def test_the_page_lists_every_exit_code() -> None:
    table = PAGE.read_text().split("| exit code |")[1].split("\n\n")[0]
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert listed == {int(code) for code in ExitCode}


def test_the_page_lists_every_key_of_the_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = make_toy(tmp_path)
    toy.drop("2026-11-01")
    monkeypatch.setenv("FLAGFALL_DATASETS", str(tmp_path / "datasets"))
    status_command(as_json=True, last=1)
    found = json.loads(capsys.readouterr().out)
    tables = PAGE.read_text().split("## JSON of status")[1].split("Each of `batches`:")
    listed = [
        {key for row in re.findall(r"^\| (`.*?) \|", table, re.M) for key in row.split("`")[1::2]}
        for table in tables
    ]
    assert listed == [set(found), set(found["batches"][0])]


def test_letters_that_a_terminal_lacks_are_written_out(tmp_path: Path) -> None:
    toy = make_toy(tmp_path)
    ingest(toy.dataset, toy.inbox(), toy.drop("2026-11-01", "größe\n1\n"))
    more = {"FLAGFALL_DATASETS": str(tmp_path / "datasets"), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "flagfall", "status", "toy"]
    done = subprocess.run(command, env={**os.environ, **more}, capture_output=True, check=True)
    assert b"gr\\xf6\\xdfe" in done.stdout


def test_output_that_finds_no_room_is_one_line(tmp_path: Path) -> None:
    make_toy(tmp_path)
    where = {**os.environ, "FLAGFALL_DATASETS": str(tmp_path / "datasets")}
    command = [sys.executable, "-m", "flagfall", "status", "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, env=where, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == ExitCode.FAILED
    assert done.stderr == b"flagfall: the output cannot be written: no space left on the device\n"


def test_one_batch_has_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_toy(tmp_path)
    monkeypatch.setenv("FLAGFALL_DATASETS", str(tmp_path / "datasets"))
    with pytest.raises(BadParameter, match="one batch has none"):
        status_command("toy", "2026-11-01", check=True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("status toy", ExitCode.DONE),
        ("status toy --json", ExitCode.DONE),
        ("status toy --check", ExitCode.ATTENTION),
        ("status toy 2026-11-01 --json", ExitCode.DONE),
        ("rows toy", ExitCode.DONE),
        ("watch {root}/landing --marker date={{date}}/datapackage.json --count 2", ExitCode.DONE),
        ("stage ingest toy 2026-11-01", ExitCode.DONE),
    ],
)
def test_a_reader_that_has_enough_changes_neither_what_is_done_nor_the_exit_code(
    tmp_path: Path, arguments: str, code: ExitCode
) -> None:
    """As `head` has, whose end of the pipe is closed."""
    toy = make_toy(tmp_path)
    ingest(toy.dataset, toy.inbox(), toy.drop("2026-11-01", "nonsense\n"))
    words = arguments.format(root=tmp_path).split()
    environment = {**os.environ, "FLAGFALL_DATASETS": str(tmp_path / "datasets")}
    command = [sys.executable, "-m", "flagfall", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert b"Error" not in said
    assert process.returncode == code
