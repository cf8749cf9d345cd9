"""What the commands share: how they print, and how they go through datasets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console

from flagfall.dataset.loader import datasets_folder, find_dataset, usable_datasets
from flagfall.dataset.schema import Dataset
from flagfall.errors import HOPELESS, HOPELESS_EXIT, FlagfallError, NotThere

out = Console(markup=False, emoji=False)  # names come from producers
err = Console(markup=False, emoji=False, highlight=False, stderr=True)

DatasetName = Annotated[str, typer.Argument(help="Name of a file in datasets/, without .yaml.")]
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
    """
    usable, broken = ([find_dataset(name)], []) if name else usable_datasets()
    if not usable and not broken:
        raise NotThere("dataset in", str(datasets_folder()), "a feed is one file <name>.yaml there")
    failures: list[FlagfallError] = [*broken]
    for dataset in usable:
        try:
            do(dataset)
        except FlagfallError as error:
            failures.append(error)
    return failures


def end(failures: list[FlagfallError]) -> None:
    """Print errors. If there is one, end the command: with 65 where trying again cannot help."""
    for failure in failures:
        complain(failure)
    if failures:
        is_hopeless = all(isinstance(failure, HOPELESS) for failure in failures)
        raise typer.Exit(HOPELESS_EXIT if is_hopeless else 1)
