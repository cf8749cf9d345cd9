"""A toy feed with tables, on a disk or on S3, and what a stranger sees in them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl

from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from flagfall.stores.object_options import object_options
from flagfall.tables.frames import Kind
from tests.feeds import S3Feed, ToyFeed, make_s3_toy, make_toy


def with_table(feed: ToyFeed | S3Feed) -> Dataset:
    """The dataset of a feed, with tables."""
    lake = feed.dataset.lake.model_copy(update={"table": "delta"})
    return feed.dataset.model_copy(update={"lake": lake})


def feed_of(root: Path, bucket: str = "") -> tuple[Dataset, Inbox]:
    """The toy feed below a folder, or in a bucket; made, or as it is there."""
    feed = make_s3_toy(root, bucket) if bucket else make_toy(root)
    return with_table(feed), feed.inbox()


def uri_of(inbox: Inbox, kind: Kind = "rows") -> str:
    return f"{inbox.lake.store.uri}/tables/{kind}"


def read(inbox: Inbox, kind: Kind = "rows") -> pl.DataFrame:
    """What a stranger reads."""
    uri = uri_of(inbox, kind)
    return pl.read_delta(uri, storage_options=object_options(uri, ""))


def batches(inbox: Inbox, kind: Kind = "rows") -> dict[str, int]:
    """Rows by batch, as a stranger counts them."""
    return dict(Counter(read(inbox, kind)["batch"].to_list()))
