"""Every case of ``bad_inputs`` through the real core: one receipt, its reason, nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.errors import MESSAGE_END, MESSAGE_START
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Receipt, Staged
from flagfall.landing.marker import Marker
from flagfall.report.run import report_run
from flagfall.stages.shard import Delivery, run_stage
from tests.faults.bad_inputs import CASES, FORMULA, GOOD, HTML, MARKER, Case, dataset_file, drop
from tests.patience import SOON
from tests.s3 import S3Server

GOOD_DAYS = ("good-first", "good-middle", "good-last")
REMEDY = re.compile(
    r"write|expected|use a|use shorter|name (each|every|them)|rename|split|close|drop|shorten|leave"
    r"|limits\.|left open|run the job|understood are|the rows are in"
)
PYTHON = re.compile(r"Traceback|\w+Error\b|<class|object at 0x|\(b'|codec|sys\.|Object\(|None\b")


@dataclass
class Run:
    """All cases, taken in by one run, with good batches before, between and after them."""

    root: Path
    dataset: Dataset
    markers: list[Marker]
    receipts: dict[str, Receipt]
    before: dict[str, str]
    after: dict[str, str]

    @property
    def lake(self) -> Path:
        return self.root / "lake/bad"

    def of(self, case: Case) -> Receipt:
        return self.receipts[case.date]


def make_feed(root: Path, landing: str, lake: str, more: str = "") -> Dataset:
    folder = root / "datasets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bad.yaml").write_text(dataset_file(landing, lake, more))
    return read_dataset(folder / "bad.yaml")


def snapshot(root: Path, but: Sequence[str] = ()) -> dict[str, str]:
    """What every file and link below ``root`` is, with its times; left out are some folders."""
    found = {}
    for path in sorted(root.rglob("*")):
        if not any(path.is_relative_to(root / name) for name in but):
            status = path.lstat()
            times = f"{status.st_mtime_ns} {status.st_ctime_ns} {status.st_mode} {status.st_size}"
            found[os.fsencode(path).hex()] = f"{times} {_content(path)}"
    return found


def _content(path: Path) -> str:
    if path.is_symlink():
        return os.readlink(path)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def drop_good(landing: Path, day: str) -> None:
    folder = landing / f"date={day}"
    folder.mkdir(parents=True)
    (folder / "rows.csv").write_text(GOOD)
    (folder / MARKER).write_bytes(b"")


def take_in(dataset: Dataset, inbox: Inbox) -> list[Marker]:
    """One run over everything that is pending."""
    pending = inbox.pending()
    run_stage("ingest", dataset, inbox, [Delivery(marker) for marker in pending])
    return pending


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("bad")
    landing = root / "landing"
    dataset = make_feed(root, str(landing), str(root / "lake"))
    drop_good(landing, GOOD_DAYS[0])
    for index, case in enumerate(CASES):
        drop(case, landing)
        if index == len(CASES) // 2:
            drop_good(landing, GOOD_DAYS[1])
    drop_good(landing, GOOD_DAYS[2])
    inbox = Inbox(Feed.of(dataset))
    before = snapshot(root, but=["lake"])
    markers = take_in(dataset, inbox)
    report_run(dataset, inbox, "bad input", markers)
    after = snapshot(root, but=["lake"])
    found = {m.fields["date"]: inbox.receipts.find(m) for m in markers}
    receipts = {date: receipt for date, receipt in found.items() if receipt is not None}
    return Run(root, dataset, markers, receipts, before, after)


def test_there_are_at_least_eighty_cases_and_each_is_of_its_own() -> None:
    assert len(CASES) >= 80
    assert len({case.name for case in CASES}) == len({case.date for case in CASES}) == len(CASES)


@pytest.mark.invariant(5)
def test_good_batches_beside_bad_ones_are_accepted_in_the_same_run(run: Run) -> None:
    assert len(run.markers) == len(CASES) + len(GOOD_DAYS)
    for day in GOOD_DAYS:
        assert (run.receipts[day].status, run.receipts[day].rows) == ("accepted", 2)
    assert Inbox(Feed.of(run.dataset)).pending() == []


@pytest.mark.invariant(5)
@pytest.mark.invariant(7)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_batch_gets_one_receipt_with_its_reason_and_what_to_do(run: Run, case: Case) -> None:
    receipt = run.of(case)
    assert (receipt.status, receipt.reason) == (case.status, case.reason), receipt.message
    assert case.says in receipt.message
    assert (receipt.rows, receipt.reasons) == (case.rows, dict(case.bad))
    filed = list(run.lake.glob(f"receipts/landed=*/{receipt.batch_id}.json"))
    assert len(filed) == 1
    kept = run.lake / "rejected" / receipt.batch_id / "rows.jsonl"
    assert kept.exists() == bool(case.bad)
    staged = Inbox(Feed.of(run.dataset)).lake.find(Staged, receipt.batch_id)
    assert (staged is None) == (case.status == "rejected")
    if case.reason:
        assert_that_its_producer_can_act(run, case, receipt.message)


def assert_that_its_producer_can_act(run: Run, case: Case, message: str) -> None:
    assert message.isprintable()
    assert 20 < len(message) <= MESSAGE_START + MESSAGE_END + 3
    assert REMEDY.search(message), message
    assert not PYTHON.search(message), message
    assert not re.search(r"source-\d|\.scratch|/work-", message), "names a place of this machine"
    folder = run.root / "landing" / f"date={case.date}"
    files = [
        MARKER,
        *(os.fsencode(path.name).decode(errors="replace") for path in folder.iterdir()),
    ]
    assert any(name in message for name in [*files, "date=", "rows.jsonl"]), message


@pytest.mark.invariant(4)
@pytest.mark.invariant(7)
def test_what_landed_is_where_it_was_and_nothing_is_written_outside_the_lake(run: Run) -> None:
    assert run.after == run.before
    top = {path.relative_to(run.lake).parts[0] for path in run.lake.rglob("*") if path.is_file()}
    kept = {"receipts", "deliveries", "staged", "rejected", "reports", "rollups"}
    assert top == {*kept, "ledger.json"}
    assert not list((run.lake / ".scratch").iterdir()), "a scratch folder was left behind"
    assert {path.name for path in run.root.iterdir()} == {"landing", "lake", "datasets"}


@pytest.mark.invariant(7)
def test_every_receipt_is_small_and_can_be_read_back(run: Run) -> None:
    receipts = list(run.lake.glob("receipts/landed=*/*.json"))
    assert len(receipts) == len(run.markers)
    assert max(path.stat().st_size for path in receipts) < 64 << 10


# ------------------------------------------------------------------------------ HTML and formulas


def test_html_of_producers_is_text_in_the_report(run: Run) -> None:
    page = (run.lake / "reports/latest.html").read_text()
    assert not re.search(r"<(script|img|iframe|b|a)[\s>]", page)
    assert "default-src 'none'" in page


def test_a_value_is_kept_as_it_was_written_in_parquet_which_no_spreadsheet_runs(run: Run) -> None:
    for name, value in (("html-in-values", HTML), ("formulas-in-values", FORMULA)):
        batch = run.lake / "staged" / run.receipts[name].batch_id
        notes = pl.read_parquet(batch / "part-00000-*.parquet")["note"]
        assert notes[0] == value


def test_a_bad_value_is_kept_as_a_json_text_which_no_spreadsheet_runs(run: Run) -> None:
    for name, value in (("html-in-bad-values", HTML), ("formulas-in-bad-values", FORMULA)):
        kept = run.lake / "rejected" / run.receipts[name].batch_id / "rows.jsonl"
        (line,) = kept.read_text().splitlines()
        assert json.loads(line)["row"]["id"] == value
        assert line.startswith('{"file":"')


def test_nothing_that_is_written_is_a_csv_which_a_spreadsheet_would_run(run: Run) -> None:
    """Formulas are only run where a cell begins with one: there is no export with cells."""
    endings = {p.suffix for p in run.lake.rglob("*") if p.is_file() and "deliveries" not in p.parts}
    assert endings == {".parquet", ".json", ".jsonl", ".html", ".gz"}


def test_no_module_writes_csv_but_the_reader_for_itself_and_what_a_person_exports() -> None:
    sources = (Path(__file__).parents[2] / "flagfall").rglob("*.py")
    writers = {
        p.name for p in sources if re.search(r"write_csv|csv\.(Dict)?[wW]rit", p.read_text())
    }
    assert writers == {"whole_rows.py", "tables.py"}


# -------------------------------------------------------------------------------------- on S3

ON_S3 = [
    case
    for case in CASES
    if case.on == "any" and case.group in ("out of the landing zone", "names", "HTML and formulas")
]


@pytest.mark.invariant(7)
def test_names_and_paths_are_as_harmless_on_s3(
    tmp_path: Path, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = s3.client()
    s3.make_bucket("another-bucket") if not _has(client, "another-bucket") else None
    client.put_object(Bucket="another-bucket", Key="rows.csv", Body=GOOD.encode())
    dataset = make_feed(tmp_path, f"s3://{bucket}/landing", f"s3://{bucket}/lake")
    for case in ON_S3:
        drop(case, tmp_path / "landing")
    drop_good(tmp_path / "landing", "good")
    files = [path for path in (tmp_path / "landing").rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: path.name == MARKER):
        key = f"landing/{path.relative_to(tmp_path / 'landing')}"
        s3.fill(bucket, key, content=path.read_bytes())
    s3.requests.clear()
    inbox = Inbox(Feed.of(dataset))
    take_in(dataset, inbox)
    asked = {request.path for request in s3.requests}
    assert not [path for path in asked if not path.startswith(f"/{bucket}")]
    written = [r.path for r in s3.requests if r.method in ("PUT", "POST", "DELETE")]
    assert not [path for path in written if not path.startswith(f"/{bucket}/lake/bad/")]
    receipts = {m.fields["date"]: inbox.receipts.find(m) for m in inbox.landing.markers()}
    found = {c.name: (r.status, r.reason) for c in ON_S3 if (r := receipts[c.date]) is not None}
    assert found == {case.name: expected_on_s3(case) for case in ON_S3}
    good = receipts["good"]
    assert good is not None
    assert good.status == "accepted"
    assert inbox.pending() == []


def expected_on_s3(case: Case) -> tuple[str, str]:
    return ("rejected", case.reason_on_s3) if case.reason_on_s3 else (case.status, case.reason)


def _has(client: object, bucket: str) -> bool:
    return bucket in [found["Name"] for found in client.list_buckets()["Buckets"]]  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------- memory and the disk

LIMITED = """
import resource, sys
from pathlib import Path
from flagfall.dataset.loader import read_dataset
from flagfall.dataset.feed import Feed
from flagfall.inbox.inbox import Inbox
from flagfall.stages.ingest import ingest

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

dataset = read_dataset(sys.argv[1])
inbox = Inbox(Feed.of(dataset))
largest = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
first, *markers = sorted(inbox.pending(), key=lambda marker: marker.fields["date"] != "good")
ingest(dataset, inbox, first)
before = peak()
for marker in markers:
    print(marker.fields["date"], ingest(dataset, inbox, marker).reason)
print("grown", (peak() - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.invariant(7)
def test_no_bomb_fills_memory_or_disk(tmp_path: Path) -> None:
    """No file of 100 MB or more is written, though some unpack to gigabytes."""
    bombs = [case for case in CASES if case.heavy or "bomb" in case.name or "10-mb" in case.name]
    dataset = make_feed(tmp_path, str(tmp_path / "landing"), str(tmp_path / "lake"))
    assert dataset.limits.expand_bytes < 100 << 20
    drop_good(tmp_path / "landing", "good")
    for case in bombs:
        drop(case, tmp_path / "landing")
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "datasets/bad.yaml"), str(100 << 20)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SOON, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    *found, grown = (line.split() for line in done.stdout.splitlines())
    assert Counter(map(tuple, found)) == Counter((case.name, case.reason) for case in bombs)
    assert int(grown[1]) < 400, f"grew by {grown[1]} MiB"
    written = sum(path.stat().st_size for path in (tmp_path / "lake").rglob("*") if path.is_file())
    assert written < 1 << 20
