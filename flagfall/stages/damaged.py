"""Which rows in the lake are damaged or gone, once something that read them has failed.

polars says what is wrong with a file, and not which one it is. So the files are read one by one.
"""

from __future__ import annotations

import polars as pl

from flagfall.lake.output import Lake
from flagfall.lake.records import Challenged, Featured, Predicted, Staged
from flagfall.tables.legible import legible, read_through

WithParts = Staged | Featured | Predicted | Challenged


def _check_parts(lake: Lake, record: WithParts | None) -> None:
    """Read all rows of a record, a few at a time; ``None`` has none.

    Raises:
        StoreRefused: They are damaged or gone.
        StoreUnavailable: The disk cannot be read.
    """
    if record is None:
        return
    with lake.scratch() as folder:
        files = lake.parts(record, folder)
        for part in record.parts:
            with legible(f"{lake.uri(type(record), record.batch_id)}/{part.name}"):
                read_through(pl.scan_parquet(next(files)))


def check_output(lake: Lake, batch_id: str) -> None:
    """The same for all that stages wrote for a batch.

    Raises:
        StoreRefused, StoreUnavailable: They are damaged or gone; the disk cannot be read.
    """
    _check_parts(lake, lake.find(Staged, batch_id))
    _check_parts(lake, lake.find(Featured, batch_id))
    _check_parts(lake, lake.find(Predicted, batch_id))
    _check_parts(lake, lake.find(Challenged, batch_id))
