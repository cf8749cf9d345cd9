"""``flagfall init``: a dataset file from a sample of its data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flagfall.cli.console import at_work, err, out
from flagfall.dataset.loader import datasets_folder
from flagfall.errors import printable
from flagfall.stores.places import is_folder

if TYPE_CHECKING:
    from flagfall.sample.draft import Written
    from flagfall.sample.files import Sample


def init(
    name: Annotated[str, typer.Argument(help="Name of the new dataset.")],
    sample: Annotated[
        Path,
        typer.Option(
            "--from", help="A data file, or a folder of them: CSV, TSV, JSON lines or Parquet."
        ),
    ],
) -> None:
    """Write datasets/NAME.yaml from a sample of the data: columns, types, missing values, key.

    Its comments say what was seen. A file that is there already stays as it is.

    Example: flagfall init weather --from weather.csv
    """
    # polars: the other commands start without
    from flagfall.sample.draft import write_dataset

    with at_work(f"reading {sample}"):
        written = write_dataset(name, sample, datasets_folder())
    for line in _complaints(written):
        err.print(f"flagfall: {printable(line)}", soft_wrap=True)
    for line in (_summary(written), "Next:", *_next_steps(written)):
        out.print(printable(line), highlight=False, soft_wrap=True)


def _summary(written: Written) -> str:
    table = written.dataset.table
    rows = written.typed.rows.height + written.typed.rejected_rows
    key = f", primary key {', '.join(table.primary_key)}" if table.primary_key else ""
    return f"{_short(written.path)}: {len(table.fields)} columns from {rows:,} rows{key}"


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _complaints(written: Written) -> list[str]:
    """What a person should know before the first batch."""
    typed = written.typed
    if not typed.rejected_rows:
        return []
    rows = typed.rows.height + typed.rejected_rows
    reasons = ", ".join(f"{count:,} × {why}" for why, count in list(typed.rejected.items())[:3])
    return [f"{written.dataset.name}: {typed.rejected_rows:,} of {rows:,} rows are bad: {reasons}"]


def _next_steps(written: Written) -> list[str]:
    """The next two commands: check the file, and hand the sample over as a first batch."""
    name, landing = written.dataset.name, written.dataset.landing.uri
    folder = landing if "://" in landing else _short(Path(landing))
    return [f"  flagfall check {name}", f"  {_handed_over(written.sample, f'{folder}/first')}"]


def _handed_over(sample: Sample, batch: str) -> str:
    """The command that makes a batch of the sample: data first, then the marker."""
    source, folder = shlex.quote(str(sample.path)), shlex.quote(batch)
    if is_folder(sample.path):
        return f"flagfall publish {source} {folder} --marker {sample.marker}"
    if "://" in batch:
        publish = f"flagfall publish first {folder} --marker {sample.marker}"
        return f"mkdir first && cp {source} first/ && {publish}"
    return f"mkdir -p {folder} && cp {source} {folder}/ && touch {folder}/{sample.marker}"
