"""Finds the rows of a batch that repeat an earlier row's key, however large the batch is.

Only rows that keep all other rules are compared. The first row with a key counts; later ones are
repeats. Repeats within a block are found at once, by value. For repeats across blocks, each key's
hash goes to a log on disk. When all blocks are read, the log is split into buckets of about
``BUCKET_ROWS`` rows, and each bucket is searched for hashes that occur twice. Their rows are read
back from the parts and compared **by value**: two keys that only share a hash are both kept.

Memory: one bucket (16 bytes a row, about as much again to sort it), and the keys of the rows whose
hash occurs twice. Disk: 8 bytes a row, and 24 more if there is more than one bucket.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from flagfall.lake.parquet import read_parquet

BUCKET_ROWS = 1 << 19
"""Rows of a bucket, on average."""

BUCKET_LIMIT = 512
"""Most buckets, since each is an open file; beyond 250 million rows buckets grow."""

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_ENTRY = np.dtype([("hash", np.uint64), ("row", np.int64)])


class Hashed(NamedTuple):
    """The keys of some rows.

    Attributes:
        first: Whether no earlier one of these rows has the same key.
        hashes: Of the keys; those of two rows with the same key are the same.
    """

    first: pl.Series
    hashes: pl.Series


class KeyLog:
    """Separates repeated keys from a stream of blocks.

    Args:
        key: Columns of the key; without any, no row is a repeat.
        path: Where the log is written.
        known: A flag for each row that an earlier pass over the same blocks logged, set for
            repeats; ``None`` in the first pass.
    """

    def __init__(self, key: Sequence[str], path: Path, known: Flags | None = None) -> None:
        self._key = list(key)
        self._known = known
        self._rows = 0
        self._blocks = 0
        # Random, so nobody can prepare keys that share hashes.
        self._seed = secrets.randbits(64)
        self._log = path.open("wb")

    def hashed(self, rows: pl.DataFrame) -> Hashed | None:
        """The keys of a block; ``None`` without a key. May be called by several threads."""
        if not self._key:
            return None
        key = pl.struct(self._key)
        hashes = rows.select_seq(key.hash(self._seed)).to_series()
        if hashes.n_unique() == len(hashes):
            return Hashed(pl.repeat(True, len(hashes), eager=True), hashes)
        return Hashed(rows.select_seq(key.is_first_distinct()).to_series(), hashes)

    def split(self, rows: pl.DataFrame, keys: Hashed | None) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows of the next block to keep, and those that repeat an earlier one."""
        if keys is None:
            return rows, rows.clear()
        first, hashes = keys
        if self._known is not None:
            first = first & ~self._repeats_of_earlier_blocks(first)
        self._blocks += 1
        if first.all():
            kept, repeated = rows, rows.clear()
        else:
            kept, repeated, hashes = rows.filter(first), rows.filter(~first), hashes.filter(first)
        self._log.write(hashes.to_numpy().tobytes())
        return kept, repeated

    def _repeats_of_earlier_blocks(self, first: pl.Series) -> pl.Series:
        assert self._known is not None
        places = np.flatnonzero(first.to_numpy())
        repeats = np.zeros(len(first), np.bool_)
        repeats[places] = self._known[self._rows : self._rows + len(places)]
        self._rows += len(places)
        return pl.Series(repeats)

    def finish(self) -> None:
        """The blocks are over: the flags of an earlier pass were of the same rows."""
        if self._known is not None:
            assert self._rows == len(self._known), f"{self._rows} rows, not {len(self._known)}"

    def close(self) -> None:
        """Close the log. It is empty where no key can be in two blocks."""
        with self._log:  # closed also where a full disk takes no more
            if self._blocks < 2:
                self._log.truncate(0)


def find_repeats(
    log: Path, parts: Sequence[Path], part_rows: Sequence[int], key: Sequence[str]
) -> Flags | None:
    """Return which of the logged rows repeat the key of an earlier row.

    Args:
        log: Hashes of the rows' keys, 8 bytes each.
        parts: Parquet files with these rows, in the same order.
        part_rows: Rows of each.
        key: Their key columns.

    Returns:
        One flag per row, in a file beside the log; ``None`` if there are no repeats.
    """
    rows = log.stat().st_size // 8
    flags: Flags | None = None
    if not rows:
        return flags
    for entries in _buckets(log, rows):
        repeats = _repeats(_suspects(entries), parts, part_rows, key)
        if not len(repeats):
            continue
        if flags is None:
            flags = np.memmap(log.with_suffix(".flags"), np.bool_, "w+", shape=rows)
        flags[repeats] = True
    return flags


def _buckets(log: Path, rows: int) -> Iterator[npt.NDArray[np.void]]:
    """The log as (hash, row), rows with the same hash in the same bucket."""
    if rows <= BUCKET_ROWS:
        yield _entries(np.fromfile(log, np.uint64), 0)
        return
    count = min(BUCKET_LIMIT, -(-rows // BUCKET_ROWS))
    paths = [log.with_suffix(f".bucket{number}") for number in range(count)]
    _deal(log, rows, paths)
    for path in paths:
        yield np.fromfile(path, _ENTRY)
        path.unlink()


def _entries(hashes: Hashes, first_row: int) -> npt.NDArray[np.void]:
    entries = np.empty(len(hashes), _ENTRY)
    entries["hash"] = hashes
    entries["row"] = np.arange(first_row, first_row + len(hashes))
    return entries


def _deal(log: Path, rows: int, paths: Sequence[Path]) -> None:
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for offset in range(0, rows, BUCKET_ROWS):
            hashes = np.fromfile(log, np.uint64, BUCKET_ROWS, offset=8 * offset)
            bucket = (hashes % len(files)).astype(np.uint16)
            order = np.argsort(bucket, kind="stable")
            entries = _entries(hashes, offset)[order]
            edges = np.searchsorted(bucket[order], np.arange(len(files) + 1))
            for file, start, end in zip(files, edges, edges[1:], strict=False):
                file.write(entries[start:end].tobytes())


def _suspects(entries: npt.NDArray[np.void]) -> Rows:
    """Rows whose hash occurs more than once, in order."""
    hashes = np.sort(entries["hash"])
    twice = hashes[1:][hashes[1:] == hashes[:-1]]
    rows: Rows = entries["row"][np.isin(entries["hash"], twice)]
    return rows


def _repeats(
    suspects: Rows, parts: Sequence[Path], part_rows: Sequence[int], key: Sequence[str]
) -> Rows:
    """Return the rows whose key an earlier row has."""
    if not len(suspects):
        return suspects
    starts = np.concatenate([[0], np.cumsum(part_rows)])
    edges = np.searchsorted(suspects, starts)
    keys = pl.concat(
        read_parquet(part, key)[suspects[begin:end] - start]
        for part, start, begin, end in zip(parts, starts, edges, edges[1:], strict=False)
        if begin < end
    )
    first = keys.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    repeats: Rows = suspects[~first]
    return repeats
