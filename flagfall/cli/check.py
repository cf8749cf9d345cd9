"""``flagfall check``: dataset files, as far as they can be checked without data, and the lake."""

from __future__ import annotations

from typing import Annotated

import typer

from flagfall.cli.console import AnyDataset, at_work, end, err, for_each, out
from flagfall.dataset.schema import Dataset
from flagfall.errors import printable


def check(
    dataset: AnyDataset = "",
    offline: Annotated[bool, typer.Option("--offline", help="Leave the storage alone.")] = False,
) -> None:
    """Check dataset files: keys, expressions, model, notifiers, and that the lake can be one.

    It writes to the lake whether two can create one object, and removes what it wrote.

    Example: flagfall check flights
    """
    end(for_each(dataset, lambda one: _check(one, offline)))


def _check(dataset: Dataset, offline: bool) -> None:
    # polars: the other commands start without
    from flagfall.cli.dataset_check import check_dataset, check_lake, check_landing

    with at_work(f"checking {dataset.name}"):
        found = check_dataset(dataset)
    if not offline:
        check_lake(dataset)
        if note := check_landing(dataset):
            err.print(f"flagfall: {printable(f'{dataset.name}: {note}')}", soft_wrap=True)
    out.print(printable(f"{dataset.name}: {found}"), highlight=False, soft_wrap=True)
