"""Which rows in the lake are damaged or gone, once a stage that read them has failed."""

from __future__ import annotations

from flagfall.lake.output import Lake
from flagfall.lake.records import Challenged, Featured, Predicted, Staged
from flagfall.tables.legible import check_parts


def check_output(lake: Lake, batch_id: str) -> None:
    """Read all rows that stages wrote for a batch.

    Raises:
        StoreRefused: They are damaged or gone.
        StoreUnavailable: The disk cannot be read.
    """
    records = (
        lake.find(Staged, batch_id),
        lake.find(Featured, batch_id),
        lake.find(Predicted, batch_id),
        lake.find(Challenged, batch_id),
    )
    for record in records:
        if record is not None:
            with lake.scratch() as scratch:
                check_parts(lake, record, scratch)
