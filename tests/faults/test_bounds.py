"""Every bound of ``limits`` that protects memory or disk, from both sides."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.inbox.inbox import Inbox
from flagfall.lake.output import RECORD_LIMIT
from flagfall.lake.records import Receipt
from flagfall.landing.limits import Limits
from flagfall.rows.output import OTHER_REASONS
from flagfall.stages.ingest import ingest
from flagfall.stages.scratch_size import ScratchSizeInvalid, within_scratch
from flagfall.stages.shard import Delivery, run_stage
from tests.faults.bad_inputs import (
    GOOD,
    HEADER,
    MARKER,
    Write,
    beside,
    dataset_file,
    file,
    in_turn,
    package,
    parquet,
    says,
    table,
)
from tests.s3 import S3Server


def take_in(root: Path, write: Write, **limits: int) -> Receipt:
    """Drop a batch into a feed with these limits, and take it in."""
    datasets, folder = root / "datasets", root / "landing/date=1"
    datasets.mkdir()
    folder.mkdir(parents=True)
    settings = json.dumps({"limits": limits})[1:-1]
    text = dataset_file(str(root / "landing"), str(root / "lake"), f"{settings}\n")
    (datasets / "bad.yaml").write_text(text)
    dataset = read_dataset(datasets / "bad.yaml")
    write(folder)
    inbox = Inbox(Feed.of(dataset))
    (marker,) = inbox.pending()
    return ingest(dataset, inbox, marker)


@dataclass(frozen=True)
class Bound:
    """A setting, what is just within it, and what is just beyond.

    Attributes:
        name: Of the setting.
        value: What it is set to.
        within: A batch that is accepted.
        beyond: A batch that is turned away.
        reason: Why.
    """

    name: str
    value: int
    within: Write
    beyond: Write
    reason: str


def padded(size: int) -> str:
    """A descriptor of so many bytes."""
    text = '{"resources": [{"path": "rows.csv"}]}'
    return text + " " * (size - len(text))


def repeated(count: int) -> Write:
    names = [f"{n}.csv" for n in range(count)]
    each = [beside(name, f"{HEADER}{n},1,,\n") for n, name in enumerate(names)]
    return in_turn(*each, package(*({"path": name} for name in names)))


def row_of(size: int) -> Write:
    start = "3,1,,"
    return file(f"{GOOD}{start}{'x' * (size - len(start))}\n")


def text_of(size: int) -> Write:
    return file(parquet(table(note=["a", "x" * size])), "rows.parquet")


def columns(count: int) -> Write:
    more = [f"c{n}" for n in range(count - 4)]
    return file(",".join(["id", "value", "day", "note", *more]) + "\n")


def unpacks_to(size: int) -> Write:
    """Packed; each line is unlike the others, so that the ratio is not what it meets."""
    text = HEADER.encode()
    last = b"9,1,,"
    while len(text) < size - 40:
        text += b"%d,1,,\n" % len(text)
    text += last + b"x" * (size - len(text) - len(last) - 1) + b"\n"
    assert len(text) == size
    return file(gzip.compress(text, mtime=0), "rows.csv.gz")


def bytes_of(size: int) -> Write:
    """Two files of so many bytes together; what is promised is less."""
    first = f"{HEADER}1,1,,\n"
    start = f"{HEADER}2,1,,"
    second = f"{start}{'x' * (size - len(first) - len(start) - 1)}\n"
    marker = says(json.dumps({"resources": [{"path": "a.csv"}, {"path": "b.csv"}]}))
    return in_turn(marker, beside("a.csv", first), beside("b.csv", second))


def pages(size: int) -> Write:
    notes = [f"{'x' * 20_000}{number}" for number in range(3_000)]
    frame = pl.DataFrame({"id": range(3_000), "value": 1.0, "note": notes})
    frame = frame.with_columns(pl.lit("2026-11-01").str.to_date().alias("day"))
    return lambda at: file(
        parquet(frame, data_page_size=size, row_group_size=3_000), "rows.parquet"
    )(at)


REPEATED = gzip.compress(f"{HEADER}1,1,,{'x' * 100_000}\n".encode(), mtime=0)
"""A file that unpacks to some 500 times its size."""
RATIO = (100_000 + len(HEADER) + 6) // len(REPEATED)

BOUNDS = [
    Bound("marker_bytes", 300, says(padded(300)), says(padded(301)), "marker-too-large"),
    Bound("files", 3, repeated(3), repeated(4), "too-many-files"),
    Bound("batch_bytes", 400, bytes_of(400), bytes_of(401), "batch-too-large"),
    Bound("batch_bytes", 2_000, unpacks_to(2_000), unpacks_to(2_001), "expands"),
    Bound("row_bytes", 500, row_of(500), row_of(501), "long-line"),
    Bound("row_bytes", 500, text_of(500), text_of(501), "long-line"),
    Bound("columns", 50, columns(50), columns(51), "columns"),
    Bound("parquet_memory", 200 << 20, pages(1 << 20), pages(1 << 30), "parquet"),
]


@pytest.mark.invariant(7)
@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: f"{bound.name} {bound.reason}")
def test_what_is_at_a_bound_is_accepted_and_what_is_beyond_is_turned_away(
    tmp_path: Path, bound: Bound
) -> None:
    for name in ("within", "beyond"):
        (tmp_path / name).mkdir()
    within = take_in(tmp_path / "within", bound.within, **{bound.name: bound.value})
    assert (within.status, within.message) == ("accepted", "")
    beyond = take_in(tmp_path / "beyond", bound.beyond, **{bound.name: bound.value})
    assert (beyond.status, beyond.reason) == ("rejected", bound.reason)
    assert f"limits.{bound.name}" in beyond.message, "a producer must know what to ask for"


@pytest.mark.invariant(7)
@pytest.mark.parametrize(("ratio", "status"), [(RATIO + 1, "accepted"), (RATIO, "rejected")])
def test_a_file_may_unpack_to_so_many_times_its_size(
    tmp_path: Path, ratio: int, status: str
) -> None:
    receipt = take_in(tmp_path, file(REPEATED, "rows.csv.gz"), expand_ratio=ratio, expand_bytes=1)
    assert (receipt.status, receipt.reason) == (status, "expands" if status == "rejected" else "")


@pytest.mark.invariant(7)
@pytest.mark.parametrize(("missing", "status"), [(0, "accepted"), (1, "rejected")])
def test_a_small_file_may_unpack_to_so_many_bytes(
    tmp_path: Path, missing: int, status: str
) -> None:
    size = len(gzip.decompress(REPEATED))
    write = file(REPEATED, "rows.csv.gz")
    receipt = take_in(tmp_path, write, expand_ratio=1, expand_bytes=size - missing)
    assert (receipt.status, receipt.reason) == (status, "expands" if status == "rejected" else "")


@pytest.mark.invariant(7)
def test_all_files_of_a_batch_unpack_to_so_many_bytes_together(tmp_path: Path) -> None:
    packed, other = (gzip.compress(f"{HEADER}{n},1,,{'x' * 1_000}\n".encode()) for n in (1, 2))
    two = in_turn(beside("a.csv.gz", packed), file(other, "b.csv.gz"))
    size = len(gzip.decompress(packed))
    for name, most in (("within", 2 * size), ("beyond", 2 * size - 1)):
        (tmp_path / name).mkdir()
        receipt = take_in(tmp_path / name, two, batch_bytes=most)
        assert receipt.reason == ("" if name == "within" else "expands")
    assert "b.csv.gz: with this file the batch unpacks to more than" in receipt.message


@pytest.mark.invariant(7)
@pytest.mark.parametrize("lines", [10, 11])
def test_rejected_rows_are_kept_to_the_byte_and_counted_beyond(tmp_path: Path, lines: int) -> None:
    """Each takes as many bytes as the others."""
    write = file(HEADER + "".join(f"{n},1,,\n" for n in range(30)) + "x,1,,\n" * lines)
    probe = take_in(_made(tmp_path / "probe"), write)
    size = len(_kept(tmp_path / "probe", probe)[0]) + 1
    receipt = take_in(_made(tmp_path / "bound"), write, rejected_bytes=10 * size)
    assert (receipt.status, receipt.rejected_rows) == ("accepted", lines)
    assert len(_kept(tmp_path / "bound", receipt)) == 10


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _kept(root: Path, receipt: Receipt) -> list[str]:
    path = root / "lake/bad/rejected" / receipt.batch_id / "rows.jsonl"
    return path.read_text().splitlines()


@pytest.mark.invariant(7)
def test_so_many_reasons_are_told_apart_and_further_ones_counted_together(tmp_path: Path) -> None:
    widths = [",".join("1" * n) for n in (1, 2, 3, 5, 6)]
    write = file(HEADER + "".join(f"{n},1,,\n" for n in range(30)) + "\n".join(widths) + "\n")
    within = take_in(_made(tmp_path / "within"), write, reasons=5)
    assert len(within.reasons) == 5
    assert OTHER_REASONS not in within.reasons
    beyond = take_in(_made(tmp_path / "beyond"), write, reasons=4)
    assert len(beyond.reasons) == 5
    assert beyond.reasons[OTHER_REASONS] == 1
    assert sum(beyond.reasons.values()) == beyond.rejected_rows == 5


@pytest.mark.invariant(7)
def test_names_of_a_batch_may_have_as_many_bytes_as_a_marker(tmp_path: Path) -> None:
    """They stand in the receipt, each with its hash."""
    names = [f"{n}{'x' * 40}.csv" for n in range(5)]
    each = [beside(name, f"{HEADER}{n},1,,\n") for n, name in enumerate(names)]
    write = in_turn(*each, lambda at: (at / MARKER).touch())
    size = sum(len(json.dumps(f"date=1/{name}")) for name in names)
    assert take_in(_made(tmp_path / "within"), write, marker_bytes=size).status == "accepted"
    beyond = take_in(_made(tmp_path / "beyond"), write, marker_bytes=size - 1)
    assert beyond.reason == "names-too-long"
    assert "limits.marker_bytes" in beyond.message


# ------------------------------------------------------------------------- what the bounds are for


@pytest.mark.invariant(7)
def test_a_file_that_is_larger_than_its_marker_promises_is_not_copied_whole(tmp_path: Path) -> None:
    """Sparse, a terabyte long: to copy it would fill any disk."""

    def terabyte(folder: Path) -> None:
        says('{"resources": [{"path": "huge.csv", "bytes": 10}]}')(folder)
        with (folder / "huge.csv").open("wb") as endless:
            endless.truncate(1 << 40)

    receipt = take_in(tmp_path, terabyte, batch_bytes=10 << 20)
    assert receipt.reason == "batch-too-large"
    assert "huge.csv: with this file the batch has too many bytes" in receipt.message
    assert not list((tmp_path / "lake/bad/.scratch").iterdir())


@pytest.mark.invariant(7)
def test_on_s3_copying_stops_at_the_bound_too(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    s3.fill(bucket, "landing/date=1/rows.csv", content=bytes(30 << 20))
    s3.fill(bucket, "landing/date=1/datapackage.json", content=b"")
    (tmp_path / "datasets").mkdir()
    limits = "limits: {batch_bytes: 1000000}\n"
    text = dataset_file(f"s3://{bucket}/landing", f"s3://{bucket}/lake", limits)
    (tmp_path / "datasets/bad.yaml").write_text(text)
    dataset = read_dataset(tmp_path / "datasets/bad.yaml")
    inbox = Inbox(Feed.of(dataset))
    (marker,) = inbox.pending()
    run_stage("ingest", dataset, inbox, [Delivery(marker)])
    receipt = inbox.receipts.find(marker)
    assert receipt is not None
    assert receipt.reason == "batch-too-large"


@pytest.mark.invariant(7)
def test_a_batch_that_the_pods_volume_does_not_bear_gets_a_receipt_that_says_so(
    tmp_path: Path, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.fill(bucket, "landing/date=1/rows.csv", content=bytes(30 << 20))
    s3.fill(bucket, "landing/date=1/datapackage.json", content=b"")
    (tmp_path / "bad.yaml").write_text(
        dataset_file(f"s3://{bucket}/landing", f"s3://{bucket}/lake")
    )
    dataset = read_dataset(tmp_path / "bad.yaml")
    inbox = Inbox(Feed.of(dataset))
    (marker,) = inbox.pending()
    monkeypatch.setenv("FLAGFALL_SCRATCH_SIZE", "32Mi")
    run_stage("ingest", dataset, inbox, [Delivery(marker)])
    receipt = inbox.receipts.find(marker)
    assert receipt is not None
    assert receipt.reason == "batch-too-large"
    assert "rows.csv: with this file" in receipt.message
    assert "the scratch volume, which has 32Mi: enlarge the volume" in receipt.message


def test_a_lake_on_a_disk_has_its_scratch_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAGFALL_SCRATCH_SIZE", "1Mi")
    receipt = take_in(
        tmp_path, file(HEADER + "".join(f"{n},1,,{'x' * 99}\n" for n in range(8_000)))
    )
    assert receipt.status == "accepted"


@pytest.mark.parametrize("given", ["16", "16GB", "much"])
def test_a_size_of_the_volume_that_is_none_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, bucket: str
) -> None:
    (tmp_path / "bad.yaml").write_text(
        dataset_file(f"s3://{bucket}/landing", f"s3://{bucket}/lake")
    )
    dataset = read_dataset(tmp_path / "bad.yaml")
    monkeypatch.setenv("FLAGFALL_SCRATCH_SIZE", given)
    with pytest.raises(ScratchSizeInvalid, match="such as 512Mi or 16Gi"):
        within_scratch(dataset, Inbox(Feed.of(dataset)).lake)


@pytest.mark.invariant(5)
def test_files_of_many_widths_make_no_receipt_that_cannot_be_read_back(tmp_path: Path) -> None:
    """Each row of another width has a reason of its own."""

    def write(folder: Path) -> None:
        for width in range(200, 260):
            header = ",".join(["id", "value", "day", "note", *(f"c{n}" for n in range(width - 4))])
            rows = "".join("," * n + "\n" for n in range(1, 2 * width))
            beside(f"{width}.csv", f"{header}\n{rows}")(folder)
        (folder / MARKER).touch()

    receipt = take_in(tmp_path, write)
    assert receipt.reason == "too-many-bad-rows"
    assert receipt.rejected_rows > 20_000
    assert len(receipt.reasons) == Limits().reasons + 1
    assert len(receipt.to_json()) < 100_000


@pytest.mark.invariant(5)
def test_no_setting_makes_a_record_that_cannot_be_read_back() -> None:
    """The largest receipt that the largest settings allow, in bytes."""
    most = Limits(marker_bytes=16 << 20, files=100_000, reasons=10_000)
    a_file = (
        len('  "": "",\n') + 64 + len('"path": "bytes": 1000000000000, "sha256": "" { },\n' * 2)
    )
    a_reason = len('  "": 1000000000000,\n') + 1_000
    assert 2 * most.marker_bytes + a_file * most.files + a_reason * most.reasons < RECORD_LIMIT
    for name, value in (("marker_bytes", 16 << 20), ("files", 100_000), ("reasons", 10_000)):
        with pytest.raises(ValidationError):
            Limits.model_validate({name: value + 1})


@pytest.mark.parametrize("name", Limits.model_fields)
def test_a_bound_is_a_whole_number_and_at_least_one(name: str) -> None:
    """``active_tasks`` may be 0: Airflow's own setting holds."""
    refused = [-1, 1.5, "many", None] + [0] * (name != "active_tasks")
    for value in refused:
        with pytest.raises(ValidationError):
            Limits.model_validate({name: value})
