"""The demo: five days of real flights, from markers to a report, through a real Airflow.

The days are dropped one after the other as a producer would: data first, marker last. One of them
is damaged: a file is cut short after its manifest was written. It is turned away, and taken in when
the producer drops it again. On S3 the producer is plain boto3, and Airflow knows the place by a
connection.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Protocol

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.status import Status as Spinner
from rich.table import Table

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.dataset.schema import Dataset
from flagfall.errors import FlagfallError
from flagfall.inbox.inbox import Inbox
from flagfall.lake.output import LATEST
from flagfall.lake.records import Evaluation, Receipt
from flagfall.landing.marker import Marker
from flagfall.publish import DEFAULT_MARKER, data_files, publish
from sandbox.airflow import LocalAirflow, interruptible
from sandbox.flights import write_day
from sandbox.s3 import LocalS3

PROJECT = Path(__file__).resolve().parent.parent
FIRST_DAY = date(2013, 12, 11)
DAYS = tuple(FIRST_DAY + timedelta(days=n) for n in range(5))
DAMAGED = DAYS[1]
DATASET = "flights"
BUCKET = "flagfall-demo"
CONN_ID = "flagfall_s3"
RUN_PATIENCE = 120.0
"""Seconds from a marker to its report after which the demo gives up."""

console = Console()


class DemoFailed(FlagfallError):
    """The demo did not show what it is there to show."""


@dataclass(frozen=True)
class Outcome:
    """What became of one dropped day.

    Attributes:
        to_report: Seconds from the marker's landing to the report.
    """

    day: date
    receipt: Receipt
    evaluation: Evaluation | None
    to_report: float


class Producer(Protocol):
    """Who drops batches, and where."""

    settings: Mapping[str, str]

    def hand_over(self, batch: Path, landing: str) -> None:
        """Bring a folder to a landing zone: data first, the marker last."""


class DiskProducer:
    """Drops batches in a directory.

    Args:
        data: Where landing zone and lake are.
    """

    def __init__(self, data: Path) -> None:
        self.settings: Mapping[str, str] = {"FLAGFALL_DATA": str(data)}

    def hand_over(self, batch: Path, landing: str) -> None:
        """See ``Producer.hand_over``: a rename shows all of it at once."""
        target = Path(landing) / batch.name
        target.mkdir(parents=True, exist_ok=True)
        for file in (*data_files(batch), batch / DEFAULT_MARKER):
            file.rename(target / file.name)


class S3Producer:
    """Uploads batches to a bucket with plain boto3, as a user's own code does.

    Args:
        server: The S3.
    """

    def __init__(self, server: LocalS3) -> None:
        self._server = server
        self.settings: Mapping[str, str] = {
            "FLAGFALL_DATA": f"s3://{server.bucket}",
            "FLAGFALL_CONN_ID": CONN_ID,
            "FLAGFALL_QUEUE": server.queue,
            f"AIRFLOW_CONN_{CONN_ID.upper()}": server.connection(),
        }

    def hand_over(self, batch: Path, landing: str) -> None:
        """See ``Producer.hand_over``."""
        s3 = self._server.client("s3")
        folder = landing.removeprefix(f"s3://{self._server.bucket}/")
        for file in (*data_files(batch), batch / DEFAULT_MARKER):
            s3.upload_file(str(file), self._server.bucket, f"{folder}/{batch.name}/{file.name}")


def run_demo(
    keep: bool, store: str = "disk", executor: str = "local", root: Path | None = None
) -> None:
    """Run the demo to its end, and end all that it started.

    Args:
        keep: Leave Airflow's UI up at the end, until Ctrl-C.
        store: ``disk`` or ``s3``.
        executor: ``local`` or ``celery``, whose workers share nothing but S3, whatever ``store``.
        root: Folder in which ``.flagfall/demo`` is made anew; the current one if ``None``.

    Raises:
        DemoFailed: Something did not come out as it must; it says what, and where to look.
    """
    home = (root or Path.cwd()) / ".flagfall" / "demo"
    with (
        interruptible(),
        _alone(home),
        _producer("s3" if executor == "celery" else store, home) as producer,
        _environment(settings := {**producer.settings, "FLAGFALL_DATASETS": str(_datasets(home))}),
    ):
        _run(keep, home, producer, _airflow(executor, home, settings))


def _datasets(home: Path) -> Path:
    """The feed, without a time at which it is due: the demo's days are long past, so all are late.

    Beside it stands what its file names by a relative path.
    """
    folder = home / "datasets"
    folder.mkdir()
    given = (PROJECT / "datasets" / f"{DATASET}.yaml").read_text()
    (folder / f"{DATASET}.yaml").write_text(re.sub(r"(?m)^  schedule: .*\n", "", given))
    (home / "models").symlink_to(PROJECT / "models")
    return folder


@contextmanager
def _producer(store: str, home: Path) -> Iterator[Producer]:
    if store == "disk":
        yield DiskProducer(home / "data")
        return
    with LocalS3(home, BUCKET, marker=DEFAULT_MARKER) as server, server.reached_by(CONN_ID):
        console.print(f"S3 and SQS (moto's server) are up at {server.url}")
        yield S3Producer(server)


def _airflow(executor: str, home: Path, settings: Mapping[str, str]) -> LocalAirflow:
    if executor == "celery":
        from sandbox.cluster import LocalCluster  # PostgreSQL's client

        return LocalCluster(home / "airflow", settings)
    return LocalAirflow(home / "airflow", PROJECT / "dags", settings)


def _run(keep: bool, home: Path, producer: Producer, airflow: LocalAirflow) -> None:
    dataset = find_dataset(DATASET, home / "datasets")
    try:
        with console.status(f"starting Airflow ({', '.join(airflow.components)}) …") as spinner:
            started = time.monotonic()
            airflow.start()
            _wait_for_watcher(airflow)
            console.print(f"Airflow is up in {time.monotonic() - started:.0f} s")
            outcomes = _drop_all(dataset, airflow, home, producer, spinner)
        _show(outcomes)
        _verify(outcomes)
        _show_report(dataset, home)
        if keep:
            _keep(airflow)
    finally:
        airflow.stop()


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """A clean folder that no other demo uses."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as busy:
            raise DemoFailed(f"another demo is running in {home}; end it first") from busy
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        yield


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Have dataset files find landing zone and lake where the demo has them."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _wait_for_watcher(airflow: LocalAirflow) -> None:
    watching = (
        "select id from trigger where classpath like '%MarkerFeedTrigger' and triggerer_id > 0"
    )
    airflow.wait_until(lambda: airflow.query(watching), "the trigger did not start")
    airflow.wait_until(
        lambda: airflow.query(f"select 1 from dag where dag_id = '{DATASET}_pipeline'"),
        f"{DATASET}_pipeline was not read",
    )


def _drop_all(
    dataset: Dataset, airflow: LocalAirflow, home: Path, producer: Producer, spinner: Spinner
) -> list[Outcome]:
    outcomes = []
    inbox = Inbox(Feed.of(dataset))
    for day, damaged in [*((day, day == DAMAGED) for day in DAYS), (DAMAGED, False)]:
        again = day == DAMAGED and not damaged
        what = f"{day}{' (damaged)' if damaged else ' again, corrected' if again else ''}"
        spinner.update(f"dropping {what} …")
        producer.hand_over(_batch(home / "producer", day, damaged), dataset.landing.uri)
        marker = inbox.landing.find(inbox.landing.pattern.fill({"date": str(day)}))[0]
        spinner.update(f"{what}: marker landed, waiting for the receipt …")
        outcomes.append(_follow(inbox, airflow, marker, day, what, spinner))
    return outcomes


def _batch(folder: Path, day: date, damaged: bool) -> Path:
    """A day as its producer has it; the damaged one loses the end of a file under way."""
    source, batch = folder / str(day), folder / "outbox" / f"date={day}"
    shutil.rmtree(batch, ignore_errors=True)
    write_day(day, source)
    publish(source, str(batch))
    if damaged:
        file = next(batch.glob("JFK*"))
        os.truncate(file, file.stat().st_size * 2 // 3)
    return batch


def _follow(
    inbox: Inbox, airflow: LocalAirflow, marker: Marker, day: date, what: str, spinner: Spinner
) -> Outcome:
    """Wait for the receipt of a marker, then for the report that shows it."""
    _wait(airflow, lambda: inbox.receipts.find(marker) is not None, f"{what}: no receipt")
    receipt = inbox.receipts.find(marker)
    assert receipt is not None, "waited for"
    console.print(f"{what}: {receipt.status} after {receipt.seconds:.1f} s. {_why(receipt)}")
    spinner.update(f"{what}: waiting for the report …")
    done = f"""select end_date, run_id from task_instance where task_id = 'generate_report'
        and state = 'success' and end_date > '{receipt.received_at:%Y-%m-%d %H:%M:%S.%f}'"""
    _wait(airflow, lambda: bool(airflow.query(done)), f"{what}: no report")
    ended = _time(airflow.query(done)[0]["end_date"])
    evaluation = inbox.lake.find(Evaluation, marker.batch_id)
    return Outcome(day, receipt, evaluation, (ended - marker.landed_at).total_seconds())


def _time(value: str | datetime) -> datetime:
    """SQLite has times as text without a zone, PostgreSQL has times."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(value + "+00:00")


def _wait(airflow: LocalAirflow, true: object, what: str) -> None:
    def holds() -> bool:
        failed = airflow.query(
            f"""select task_id, run_id from task_instance
            where state = 'failed' and dag_id = '{DATASET}_pipeline'"""
        )
        if failed:
            logs = airflow.home / "logs"
            raise DemoFailed(f"{what}: task {failed[0]['task_id']} failed; its log is below {logs}")
        return bool(true()) if callable(true) else bool(true)

    airflow.wait_until(holds, what, RUN_PATIENCE)


def _why(receipt: Receipt) -> str:
    if receipt.message:
        return receipt.message
    return ", ".join(f"{count} × {reason}" for reason, count in receipt.reasons.items())


def _show(outcomes: list[Outcome]) -> None:
    title = "Five days of flights: rows, and seconds from the marker"
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    for head in ("day", "accepted", "rejected", "why", "AUC", "receipt", "report"):
        wraps = head == "why"
        table.add_column(head, justify="left" if wraps else "right", no_wrap=not wraps)
    for outcome in outcomes:
        receipt, evaluation = outcome.receipt, outcome.evaluation
        auc = evaluation.auc if evaluation else None
        table.add_row(
            str(outcome.day),
            str(receipt.rows),
            str(receipt.rejected_rows) if receipt.status == "accepted" else "all",
            receipt.reason or _why(receipt),
            f"{auc:.3f}" if auc is not None else "-",
            f"{receipt.seconds:.1f} s",
            f"{outcome.to_report:.1f} s",
        )
    console.print(table)


def _show_report(dataset: Dataset, home: Path) -> None:
    """Say where the last report is; from S3, which goes with the demo, it is brought here."""
    store = Inbox(Feed.of(dataset)).lake.store
    path = home / "report.html"
    if store.metered:
        store.fetch(LATEST, path)
    else:
        path = store.local(LATEST, home)
    console.print(f"report: {path}", soft_wrap=True, highlight=False)


def _verify(outcomes: list[Outcome]) -> None:
    """The demo's own promise: every day accepted once, the damaged one turned away before.

    Raises:
        DemoFailed: It does not hold.
    """
    found = [(outcome.day, outcome.receipt.status) for outcome in outcomes]
    expected = [(day, "rejected" if day == DAMAGED else "accepted") for day in DAYS]
    expected.append((DAMAGED, "accepted"))
    if found != expected:
        raise DemoFailed(f"expected {expected}, got {found}")
    for outcome in outcomes:
        if outcome.receipt.status == "accepted" and outcome.evaluation is None:
            raise DemoFailed(f"{outcome.day} was accepted and not evaluated")


def _keep(airflow: LocalAirflow) -> None:
    console.print(f"Airflow's UI: {airflow.url}  user: admin  password: {airflow.password}")
    console.print("Ctrl-C ends it.")
    try:
        while True:
            airflow.check()
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("ending Airflow …")


class Store(StrEnum):
    """Where the demo's landing zone and lake are."""

    DISK = "disk"
    S3 = "s3"


class Executor(StrEnum):
    """Who runs the demo's tasks."""

    LOCAL = "local"
    CELERY = "celery"


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave Airflow's UI up at the end.")] = False,
    store: Annotated[
        Store, typer.Option(help="On disk, or on S3 and SQS by moto's server.")
    ] = Store.DISK,
    executor: Annotated[
        Executor,
        typer.Option(help="One machine, or Celery with PostgreSQL, Redis, 2 of each; implies s3."),
    ] = Executor.LOCAL,
) -> None:
    """Five days of real flights through a real Airflow, on this machine, in about two minutes."""
    try:
        run_demo(keep, store, executor)
    except FlagfallError as error:
        Console(stderr=True, markup=False, highlight=False).print(f"demo: {error}", soft_wrap=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(demo)
