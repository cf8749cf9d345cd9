"""What the commands share: how they print, and how they go through datasets."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from flagfall.cli.exit_codes import code_of
from flagfall.dataset.loader import datasets_folder, find_dataset, usable_datasets
from flagfall.dataset.schema import Dataset
from flagfall.errors import FlagfallError, NotThere, printable
from flagfall.stores.os_errors import named_error, translated


class _Lines(Console):
    """Standard output, whose reader may have enough of it before its end."""

    def on_broken_pipe(self) -> None:
        """Where `head` has closed its end, the command goes on; rich would end it with 1."""
        nobody_reads()


def nobody_reads() -> None:
    """What is printed from now on goes nowhere: the reader has enough, as `head` has."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


out = _Lines(markup=False, emoji=False)  # names come from producers
err = Console(markup=False, emoji=False, highlight=False, stderr=True)

SHOWN_AFTER = 2.0
"""Seconds after which a command shows that it is at work."""


def dataset_names(incomplete: str) -> list[str]:
    """Names of datasets that begin so, for the shell to complete."""
    return [path.stem for path in sorted(datasets_folder().glob(f"{incomplete}*.yaml"))]


DatasetName = Annotated[
    str,
    typer.Argument(
        help="Name of a file in datasets/, without .yaml.", autocompletion=dataset_names
    ),
]
AnyDataset = Annotated[
    str,
    typer.Argument(help="A dataset; all of them if left out.", autocompletion=dataset_names),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


def complain(error: FlagfallError) -> None:
    """Print an error."""
    err.print(f"flagfall: {error}", soft_wrap=True)


def for_each(name: str, do: Callable[[Dataset], None]) -> list[FlagfallError]:
    """Do something with one dataset, or with all of them; one that fails does not stop the others.

    Returns:
        What went wrong.

    Raises:
        NotThere: There is none.
        StoreError: Their folder cannot be read.
    """
    _check_readable(datasets_folder())
    usable, broken = ([find_dataset(name)], []) if name else usable_datasets()
    if not usable and not broken:
        raise NotThere("dataset in", str(datasets_folder()), "a feed is one file <name>.yaml there")
    failures: list[FlagfallError] = [*broken]
    for dataset in usable:
        try:
            do(dataset)
        except FlagfallError as error:
            failures.append(error)
        except OSError as error:
            failures.append(named_error(error))
    return failures


def _check_readable(folder: Path) -> None:
    """See that a folder can be listed: looking for files in it says nothing of one that cannot.

    Raises:
        StoreError: It cannot.
    """
    with translated(folder), suppress(FileNotFoundError, NotADirectoryError):
        os.listdir(folder)


def end(failures: list[FlagfallError]) -> None:
    """Print errors. If there is one, end the command."""
    for failure in failures:
        complain(failure)
    if failures:
        raise typer.Exit(code_of(failures))


@contextmanager
def at_work(what: str, after: float = SHOWN_AFTER) -> Iterator[None]:
    """Show on a terminal that something takes its time, and how long it has taken.

    Args:
        what: What is done, such as ``fitting constants``.
        after: Seconds after which it is shown.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    progress = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    progress.add_task(printable(what), total=None)
    begin = threading.Timer(after, progress.start)
    begin.daemon = True
    begin.start()
    try:
        yield
    finally:
        begin.cancel()
        begin.join()
        progress.stop()


def say_columns(
    heads: Sequence[str],
    lines: Sequence[Sequence[str]],
    right: int = 0,
    notes: Sequence[str] = (),
) -> None:
    """Print a table of plain lines. None is ever broken or cut, so it survives a pipe.

    Args:
        heads: Of the columns. The last one may be as wide as it likes.
        lines: What stands in them.
        right: So many columns from the second one on are numbers.
        notes: A note below each line; empty for none.
    """
    rows = [tuple(map(printable, line)) for line in (heads, *lines)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(heads) - 1)]
    for row, note in zip_longest(rows, ("", *notes), fillvalue=""):
        cells = [
            text.rjust(width) if 0 < place <= right else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, [*widths, 0], strict=True))
        ]
        say("  ".join(cells).rstrip())
        if note:
            say(f"    {note}")


def say_json(value: Any) -> None:
    """Print one line for programs."""
    try:
        print(json.dumps(value), flush=True)
    except BrokenPipeError:
        nobody_reads()


def say(line: str) -> None:
    """Print one line as it is, however wide the terminal."""
    out.print(printable(line), highlight=False, soft_wrap=True)
