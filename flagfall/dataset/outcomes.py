"""Whether two dataset files fit together: one whose rows are scored, one that brings outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from math import ceil
from pathlib import Path

from flagfall.dataset.loader import dataset_files, find_dataset, read_dataset
from flagfall.dataset.model import Label
from flagfall.dataset.schema import Dataset
from flagfall.errors import DatasetInvalid, NotThere, Problem

LOOKS_ON = timedelta(days=7)
"""How long batches are looked at after the time of which outcomes count for them: what came in
time is known although Airflow was away for some days."""


def rows_are_kept(label: Label) -> timedelta:
    """How long staged outcomes have to be there: a batch may be joined to them for so long."""
    return 2 * label.within + LOOKS_ON


def outcome_feed(dataset: Dataset, folder: Path | None = None) -> Dataset:
    """The dataset that brings the outcomes of another one.

    Args:
        dataset: Its label names the feed.
        folder: Folder of both files; ``None`` for ``datasets_folder()``.

    Raises:
        NotThere: There is no such dataset.
        DatasetInvalid: Its file cannot be used.
    """
    assert dataset.late_label is not None, "only for datasets with outcomes of another feed"
    return find_dataset(dataset.late_label.feed, folder)


def why_no_feed(dataset: Dataset, folder: Path | None = None) -> list[Problem]:
    """What is wrong with the name of the feed; empty where there is a file of that name."""
    assert dataset.late_label is not None, "only for datasets with outcomes of another feed"
    name = dataset.late_label.feed
    others = [file.stem for file in dataset_files(folder) if file.stem != dataset.name]
    if name in others:
        return []
    known = ", ".join(others) or "none"
    why = f"expected the name of another dataset file of the folder, got {name!r}; there are:"
    return [Problem("label.from", None, f"{why} {known}")]


def misfits(dataset: Dataset, feed: Dataset) -> list[Problem]:
    """What keeps outcomes from being joined; keys are of the scored dataset's file.

    Args:
        dataset: The dataset whose rows are scored.
        feed: The one that brings the outcomes.
    """
    label = dataset.late_label
    assert label is not None, "only for datasets with outcomes of another feed"
    found = list(_of_key(dataset, label)) or list(_of_columns(dataset, feed))
    return found or list(_of_feed_key(dataset, feed))


def joined_to(feed: Dataset, folder: Path | None = None) -> list[Dataset]:
    """The datasets that a feed brings outcomes for; those whose files can be used.

    Args:
        feed: That feed.
        folder: Folder of all files; ``None`` for ``datasets_folder()``.

    Raises:
        DatasetInvalid: The folder cannot be listed.
    """
    found = []
    for file in dataset_files(folder):
        with suppress(DatasetInvalid, NotThere, OSError):
            # the others are not worth reading, and a FIFO would never end
            if file.is_file() and feed.name.encode() in file.read_bytes():
                found.append(read_dataset(file))
    return [one for one in found if one.late_label and one.late_label.feed == feed.name]


def misfits_of_feed(dataset: Dataset, feed: Dataset) -> list[Problem]:
    """The same with keys of the file of the feed: rows have to be there as long as they count."""
    label, keep = dataset.late_label, feed.lake.keep.staged
    assert label is not None, "only for datasets with outcomes of another feed"
    least = rows_are_kept(label)
    if keep is None or keep >= least:
        return []
    why = f"expected {ceil(least / timedelta(days=1))}d or more, or none: twice label.within of"
    why = f"{why} {dataset.name}.yaml, and {LOOKS_ON.days}d; got {keep.days}d"
    return [Problem("lake.keep.staged", None, why)]


def _of_key(dataset: Dataset, label: Label) -> Iterator[Problem]:
    """A prediction is named by its primary key, and by nothing else."""
    key, primary = set(dataset.outcome_key), set(dataset.table.primary_key)
    if not primary:
        why = "expected a primary key: outcomes are joined by it, and predictions keep no other"
        yield Problem("schema.primaryKey", None, f"{why} column of the rows")
    elif key != primary:
        why = f"expected the columns of schema.primaryKey, {sorted(primary)}, got {sorted(key)}"
        remedy = "predictions keep no others, so change schema.primaryKey or leave label.key out"
        yield Problem("label.key" if label.key else "label", None, f"{why}; {remedy}")


def _of_columns(dataset: Dataset, feed: Dataset) -> Iterator[Problem]:
    """Both have the columns of the key, of the same types."""
    ours = {column.name: column.type for column in dataset.table.fields}
    theirs = {column.name: column.type for column in feed.table.fields}
    for name in dataset.outcome_key:
        if name not in theirs:
            why = f"expected a column {name!r} in {feed.name}.yaml, since outcomes are joined by it"
            yield Problem(_place(dataset), None, f"{why}; it has {sorted(theirs)}")
        elif theirs[name] != ours[name]:
            why = f"expected {name!r} to be {ours[name]} in {feed.name}.yaml, too"
            yield Problem(_place(dataset), None, f"{why}, it is {theirs[name]} there")


def _of_feed_key(dataset: Dataset, feed: Dataset) -> Iterator[Problem]:
    """A delivery of outcomes has one outcome for a row."""
    theirs, key = set(feed.table.primary_key), set(dataset.outcome_key)
    if not theirs or not theirs <= key:
        why = f"expected schema.primaryKey of {feed.name}.yaml to be columns of {sorted(key)}"
        remedy = "so that a delivery has no two outcomes for one row"
        yield Problem(_place(dataset), None, f"{why}, {remedy}; it is {sorted(theirs)}")


def _place(dataset: Dataset) -> str:
    label = dataset.late_label
    return "label.key" if label is not None and label.key else "label.from"
