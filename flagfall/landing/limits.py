"""Limits: bounds on what a producer may cause, and on what one run takes on."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from flagfall.errors import shown


def _bytes(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int):
        example = f"{20 << 30} for 20 GiB"
        raise ValueError(f"expected a number of bytes, such as {example}, got {shown(value)}")
    return value


Bytes = Annotated[int, BeforeValidator(_bytes)]


class Limits(BaseModel):
    """Bounds on what a producer may cause, and on what one run takes on.

    Attributes:
        marker_bytes: Largest marker that is read; the names of a batch's files take no more either.
        files: Most data files that one marker may vouch for.
        batch_bytes: Most bytes of a batch, as its files lie there and as they unpack: what it may
            take of the disk.
        row_bytes: Longest row of a text file, and longest text in Parquet, in bytes.
        columns: Most columns of a text file.
        expand_bytes: Bytes to which any data file may unpack, however small it is.
        expand_ratio: A larger one may unpack to this many times its size.
        parquet_memory: Bytes of memory that reading a Parquet file may take (on Linux).
        rejected_bytes: Rejected rows are kept up to this many bytes, and only counted beyond.
        reasons: Most different reasons that rejected rows are counted by; beyond, they are counted
            together.
        batches_per_run: Most batches that one run claims; the rest waits for the next. With 5,000,
            the list of their markers is about 2 MB of XCom.
        backlog_per_run: Most batches of the backlog (replays, and batches of an earlier time) that
            a run claims: what is new waits for no more than this.
        active_tasks: Most tasks of the pipeline that run at once; ``claim`` deals its shards out to
            as many. 0 for Airflow's ``[core] max_active_tasks_per_dag``.
        shard_batches: Most batches in a shard.
        shard_bytes: A shard is closed when its batches reach this many bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    marker_bytes: Bytes = Field(default=4 << 20, gt=0, le=16 << 20)
    files: int = Field(default=10_000, gt=0, le=100_000)
    batch_bytes: Bytes = Field(default=64 << 30, gt=0)
    row_bytes: Bytes = Field(default=1 << 20, gt=0, le=1 << 30)
    columns: int = Field(default=10_000, gt=0)
    expand_bytes: Bytes = Field(default=64 << 20, gt=0)
    expand_ratio: int = Field(default=200, gt=0)
    parquet_memory: Bytes = Field(default=1 << 30, gt=0, le=1 << 40)
    rejected_bytes: Bytes = Field(default=64 << 20, gt=0)
    reasons: int = Field(default=1_000, gt=0, le=10_000)
    batches_per_run: int = Field(default=5_000, gt=0)
    backlog_per_run: int = Field(default=500, gt=0)
    active_tasks: int = Field(default=4, ge=0)
    shard_batches: int = Field(default=500, gt=0)
    shard_bytes: Bytes = Field(default=1 << 30, gt=0)

    @property
    def why_batch_bytes(self) -> str:
        """What the limit of a batch follows from, for who is turned away."""
        return "limits.batch_bytes"
