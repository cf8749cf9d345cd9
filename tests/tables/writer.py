"""Commits batches of a toy feed to its table without end, in any order, until it is killed.

``python -m tests.tables.writer ROOT BUCKET SEED``: also earlier deliveries, as a worker that was
given up would. With seed 0 it joins the table's files instead, again and again.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from flagfall.dataset.schema import Dataset
from flagfall.errors import StoreUnavailable
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Receipt
from flagfall.tables.frames import EVER
from flagfall.tables.upkeep import commit, open_table
from tests.tables.feed import feed_of


def one_step(
    dataset: Dataset, inbox: Inbox, receipts: Sequence[Receipt], dice: random.Random
) -> None:
    if receipts:
        commit(dataset, inbox.lake, "rows", dice.sample(receipts, dice.randint(1, 4)))
    else:
        open_table(dataset, inbox.lake, "rows").optimize()


def main(root: Path, bucket: str, seed: int) -> None:
    dataset, inbox = feed_of(root, bucket)
    dice = random.Random(seed)
    receipts = inbox.receipts.since(EVER) if seed else []
    parent = os.getppid()
    print("ready", flush=True)
    while os.getppid() == parent:  # it does not outlive a test that was broken off
        try:
            one_step(dataset, inbox, receipts, dice)
        except StoreUnavailable as lost:  # of many who commit at once
            print(lost, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
