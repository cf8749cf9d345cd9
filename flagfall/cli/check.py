"""``flagfall check``: dataset files, as far as they can be checked without data."""

from __future__ import annotations

from typing import Annotated

import typer

from flagfall.cli.console import end, for_each, out
from flagfall.dataset.schema import Dataset


def check(
    dataset: Annotated[str, typer.Argument(help="A dataset; all of them if left out.")] = "",
) -> None:
    """Check dataset files: keys, feature expressions, and that the model fits.

    Example: flagfall check flights
    """
    end(for_each(dataset, _check))


def _check(dataset: Dataset) -> None:
    from flagfall.cli.dataset_check import check_dataset  # polars: the other commands start without

    out.print(f"{dataset.name}: {check_dataset(dataset)}", highlight=False, soft_wrap=True)
