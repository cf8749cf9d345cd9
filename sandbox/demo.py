"""The demo: five days of real flights, from markers to a report, through a real Airflow.

Flights are scored the evening before, and what became of them comes the next day, as a feed of its
own. A producer drops both: data first, marker last. One evening is damaged: a file is cut short
after its manifest was written. It is turned away, and taken in when the producer drops it again;
its outcomes are there by then. On S3 the producer is plain boto3, and Airflow knows the place by a
connection.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from flagfall.lake.outcomes import with_outcomes
from flagfall.lake.output import LATEST
from flagfall.lake.records import Evaluation, Receipt
from flagfall.landing.marker import Marker
from flagfall.publish import DEFAULT_MARKER, data_files, publish
from flagfall.report.pooled import Pool
from sandbox.airflow import LocalAirflow, interruptible
from sandbox.flights import write_arrivals, write_evening
from sandbox.s3 import LocalS3

PROJECT = Path(__file__).resolve().parent.parent
FIRST_DAY = date(2013, 12, 11)
DAYS = tuple(FIRST_DAY + timedelta(days=n) for n in range(5))
DAMAGED = DAYS[1]
DATASET, OUTCOMES = "flights", "arrivals"
"""The feed that is scored, and the one that brings what became of it."""
PIPELINE, JOINED = f"{DATASET}_pipeline", f"{DATASET}_outcomes"
"""The DAG that scores, and the one that joins what became of it."""
DAGS = f"('{PIPELINE}', '{OUTCOMES}_pipeline', '{JOINED}')"
"""The DAGs of both feeds, for SQL: the demo ends where a task of them fails."""
WHERE = ("FLAGFALL_DATASETS", "FLAGFALL_DATA")
"""Variables that say where the demo has its feed."""
BUCKET = "flagfall-demo"
CONN_ID = "flagfall_s3"
RUN_PATIENCE = 600.0
"""Seconds from a marker to its report after which the demo gives up."""

console = Console()


class DemoFailed(FlagfallError):
    """The demo did not show what it is there to show."""


@dataclass(frozen=True)
class Outcome:
    """What became of one dropped evening.

    Attributes:
        to_report: Seconds from the marker's landing to the report.
        evaluation: With the outcomes that have come; ``None`` where nothing was scored.
    """

    day: date
    receipt: Receipt
    to_report: float
    evaluation: Evaluation | None = None


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

    Attributes:
        server: The S3.
    """

    def __init__(self, server: LocalS3) -> None:
        self.server = server
        self.settings: Mapping[str, str] = {
            "FLAGFALL_DATA": f"s3://{server.bucket}",
            "FLAGFALL_CONN_ID": CONN_ID,
            "FLAGFALL_QUEUE": server.queue,
            f"AIRFLOW_CONN_{CONN_ID.upper()}": server.connection(),
        }

    def hand_over(self, batch: Path, landing: str) -> None:
        """See ``Producer.hand_over``."""
        s3 = self.server.client("s3")
        folder = landing.removeprefix(f"s3://{self.server.bucket}/")
        for file in (*data_files(batch), batch / DEFAULT_MARKER):
            s3.upload_file(str(file), self.server.bucket, f"{folder}/{batch.name}/{file.name}")


@dataclass(frozen=True)
class Shown:
    """A demo that has come to its end; all that it started is up.

    Attributes:
        home: Its folder.
        producer: Who dropped the batches.
        airflow: Who took them in.
        outcomes: What became of each evening.
        seconds: From the first drop until the outcomes of all were joined.
    """

    home: Path
    producer: Producer
    airflow: LocalAirflow
    outcomes: Sequence[Outcome]
    seconds: float


Build = Callable[[Path, Mapping[str, str]], LocalAirflow]
"""Gives an Airflow that is not started: of the demo's folder, and the settings."""


def run_demo(
    keep: bool,
    store: str = "disk",
    executor: str = "local",
    root: Path | None = None,
    days: Sequence[date] = DAYS,
) -> None:
    """Run the demo to its end, and end all that it started.

    Args:
        keep: Leave Airflow's UI up at the end, until Ctrl-C.
        store: ``disk`` or ``s3``.
        executor: ``local``; ``celery`` or ``kubernetes``, whose tasks share nothing but S3,
            whatever ``store``.
        root: Folder in which ``.flagfall/demo`` is made anew; the current one if ``None``.
        days: Those that are dropped; two at least, of which the second is damaged.

    Raises:
        DemoFailed: Something did not come out as it must; it says what, and where to look.
    """
    airflow = airflows()[executor]
    with (
        interruptible(),
        shown(store if executor == "local" else "s3", airflow, root, days) as demo,
    ):
        if keep:
            _keep(demo.airflow)


@contextmanager
def shown(
    store: str, airflow: Build, root: Path | None = None, days: Sequence[date] = DAYS
) -> Iterator[Shown]:
    """Run the demo to its end; end all that it started when this is left.

    Args:
        store: ``disk`` or ``s3``.
        airflow: Gives the Airflow to run it.
        root: As of ``run_demo``.
        days: As of ``run_demo``.

    Raises:
        DemoFailed: As of ``run_demo``.
    """
    home = (root or Path.cwd()) / ".flagfall" / "demo"
    with (
        _alone(home),
        _producer(store, home) as producer,
        _environment(settings := {**producer.settings, "FLAGFALL_DATASETS": str(_datasets(home))}),
        _started(airflow(home, settings)) as running,
    ):
        yield _show_all(home, producer, running, days)


def _datasets(home: Path) -> Path:
    """Both feeds, without a time at which they are due: the demo's days are long past, so are late.

    Beside them stands what their files name by a relative path.
    """
    folder = home / "datasets"
    folder.mkdir()
    for name in (DATASET, OUTCOMES):
        given = (PROJECT / "datasets" / f"{name}.yaml").read_text()
        (folder / f"{name}.yaml").write_text(re.sub(r"(?m)^  schedule: .*\n", "", given))
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


def airflows() -> dict[str, Build]:
    """The Airflow of each executor; what only one of them needs is imported for that one."""

    def local(home: Path, settings: Mapping[str, str]) -> LocalAirflow:
        return LocalAirflow(home / "airflow", PROJECT / "dags", settings)

    def celery(home: Path, settings: Mapping[str, str]) -> LocalAirflow:
        from sandbox.cluster import LocalCluster  # PostgreSQL's client

        return LocalCluster(home / "airflow", settings)

    def kubernetes(home: Path, settings: Mapping[str, str]) -> LocalAirflow:
        from sandbox.rehearsal import LocalKubernetes  # the Kubernetes client

        return LocalKubernetes(home / "airflow", settings)

    return {"local": local, "celery": celery, "kubernetes": kubernetes}


@contextmanager
def _started(airflow: LocalAirflow) -> Iterator[LocalAirflow]:
    """Start an Airflow that watches both feeds; end it."""
    try:
        console.print(f"starting Airflow: {', '.join(airflow.components)} …")
        with console.status("waiting for Airflow …"):
            began = time.monotonic()
            airflow.start()
            _wait_for_watcher(airflow)
        console.print(f"Airflow is up in {time.monotonic() - began:.0f} s")
        yield airflow
    finally:
        airflow.stop()


def _show_all(home: Path, producer: Producer, airflow: LocalAirflow, days: Sequence[date]) -> Shown:
    dataset, arrivals = (find_dataset(name, home / "datasets") for name in (DATASET, OUTCOMES))
    began = time.monotonic()
    with console.status("dropping the first evening …") as spinner:
        outcomes = _Days(dataset, arrivals, airflow, home, producer).go(days, spinner)
    seconds = time.monotonic() - began
    _show(outcomes)
    for table in airflow.tables():
        console.print(table)
    _verify(outcomes, days)
    _show_report(dataset, home)
    return Shown(home, producer, airflow, outcomes, seconds)


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
    airflow.wait_until(lambda: len(airflow.query(watching)) >= 2, "the triggers did not start")
    read = f"select 1 from dag where dag_id in {DAGS}"
    airflow.wait_until(lambda: len(airflow.query(read)) == 3, "the DAGs were not read")


class _Days:
    """The days of the demo.

    Args:
        dataset: The feed that is scored.
        outcomes: The feed that brings what became of it.
        airflow: A running Airflow with both.
        home: Folder of the demo.
        producer: Drops their batches.
    """

    def __init__(
        self,
        dataset: Dataset,
        outcomes: Dataset,
        airflow: LocalAirflow,
        home: Path,
        producer: Producer,
    ) -> None:
        self._dataset, self._outcomes = dataset, outcomes
        self._airflow, self._producer = airflow, producer
        self._folder = home / "producer"
        self._inbox = Inbox(Feed.of(dataset))

    def go(self, days: Sequence[date], spinner: Spinner) -> list[Outcome]:
        """Drop all, and wait until it is known what became of every flight that was scored."""
        done = []
        for number, day in enumerate(days):
            if number >= 2:  # what was scored the evening before the last has landed
                self._drop_arrivals(days[number - 2])
            is_damaged = day == DAMAGED
            done.append(self._evening(day, " (damaged)" if is_damaged else "", spinner, is_damaged))
        for day in days[-2:]:
            self._drop_arrivals(day)
        done.append(self._evening(DAMAGED, " again, corrected", spinner))
        spinner.update("waiting until it is known what became of all flights …")
        _wait(self._airflow, lambda: self._are_known(done), "the outcomes were not joined")
        return self._with_outcomes(done)

    def _evening(self, day: date, note: str, spinner: Spinner, is_damaged: bool = False) -> Outcome:
        """Drop the flights of the next day, and wait for their receipt and for the report."""
        what = f"{day}{note}"
        spinner.update(f"dropping {what} …")
        source = self._folder / str(day)
        write_evening(day, source)
        self._hand_over(source, day, self._dataset, is_damaged)
        landing = self._inbox.landing
        marker = landing.find(landing.pattern.fill({"date": str(day)}))[0]
        spinner.update(f"{what}: marker landed, waiting for the receipt …")
        return _follow(self._inbox, self._airflow, marker, day, what, spinner)

    def _drop_arrivals(self, day: date) -> None:
        source = self._folder / OUTCOMES / str(day)
        write_arrivals(day, source)
        self._hand_over(source, day, self._outcomes)
        console.print(f"{day}: landed; the delays come as a batch of {OUTCOMES}")

    def _hand_over(
        self, source: Path, day: date, dataset: Dataset, is_damaged: bool = False
    ) -> None:
        """Publish what a producer has; a damaged batch loses the end of a file under way."""
        batch = self._folder / "outbox" / f"date={day}"
        shutil.rmtree(batch, ignore_errors=True)
        publish(source, str(batch))
        if is_damaged:
            file = next(batch.glob("JFK*"))
            os.truncate(file, file.stat().st_size * 2 // 3)
        self._producer.hand_over(batch, dataset.landing.uri)

    def _are_known(self, done: Sequence[Outcome]) -> bool:
        """Whether each batch that counts has its outcomes, and the report shows them."""
        running = (
            f"select 1 from dag_run where dag_id = '{JOINED}' and state in ('queued', 'running')"
        )
        if self._airflow.query(running):
            return False
        found = [one.evaluation for one in self._with_outcomes(done)]
        return all(one is None or one.outcomes for one in found)

    def _with_outcomes(self, done: Sequence[Outcome]) -> list[Outcome]:
        """The same, with what is known of each."""
        lake = self._inbox.lake
        receipts = [one.receipt for one in done if one.receipt.status == "accepted"]
        scored = {one.batch_id: lake.find(Evaluation, one.batch_id) for one in receipts}
        there = {name: one for name, one in scored.items() if one is not None}
        known = with_outcomes(self._dataset, lake, receipts, there)
        return [replace(one, evaluation=known.get(one.receipt.batch_id)) for one in done]


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
        and dag_id = '{PIPELINE}' and state = 'success'
        and end_date > '{receipt.received_at:%Y-%m-%d %H:%M:%S.%f}'"""
    _wait(airflow, lambda: bool(airflow.query(done)), f"{what}: no report")
    ended = _time(airflow.query(done)[0]["end_date"])
    return Outcome(day, receipt, (ended - marker.landed_at).total_seconds())


def _time(value: str | datetime) -> datetime:
    """SQLite has times as text without a zone, PostgreSQL has times."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(value + "+00:00")


def _wait(airflow: LocalAirflow, true: Callable[[], bool], what: str) -> None:
    def holds() -> bool:
        failed = airflow.query(
            f"""select task_id, dag_id from task_instance
            where state = 'failed' and dag_id in {DAGS}"""
        )
        if failed:
            logs = airflow.home / "logs"
            task = f"{failed[0]['dag_id']}.{failed[0]['task_id']}"
            raise DemoFailed(f"{what}: task {task} failed; its log is below {logs}")
        return true()

    airflow.wait_until(holds, what, RUN_PATIENCE)


def _why(receipt: Receipt) -> str:
    if receipt.message:
        return receipt.message
    return ", ".join(f"{count} × {reason}" for reason, count in receipt.reasons.items())


def _show(outcomes: list[Outcome]) -> None:
    title = "Flights, scored the evening before: rows, and seconds from the marker"
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    for head in (*("day", "rows", "rejected", "receipt", "report"), "known", "AUC\n(expected)"):
        wraps = head == "rejected"
        table.add_column(head, justify="left" if wraps else "right", no_wrap=not wraps)
    for outcome in outcomes:
        receipt, evaluation = outcome.receipt, outcome.evaluation
        table.add_row(
            str(outcome.day),
            str(receipt.rows),
            f"all: {receipt.reason}" if receipt.status == "rejected" else _why(receipt),
            f"{receipt.seconds:.1f} s",
            f"{outcome.to_report:.1f} s",
            str(evaluation.labelled) if evaluation else "-",
            _quality(evaluation),
        )
    console.print(table)


def _quality(evaluation: Evaluation | None) -> str:
    """The AUC by outcomes, and the one that the scores let expect before."""
    if evaluation is None or evaluation.auc is None:
        return "-"
    return f"{evaluation.auc:.3f} ({Pool.of([evaluation]).expected_auc:.2f})"


def _show_report(dataset: Dataset, home: Path) -> None:
    """Say where the last report is; from S3, which goes with the demo, it is brought here."""
    store = Inbox(Feed.of(dataset)).lake.store
    path = home / "report.html"
    if store.metered:
        store.fetch(LATEST, path)
    else:
        path = store.local(LATEST, home)
    console.print(f"report: {path}", soft_wrap=True, highlight=False)
    if not store.metered:  # a lake that stays
        where = " ".join(f"{name}={os.environ[name]}" for name in WHERE)
        how = f"look at the feed: {where} {Path(sys.executable).parent}/flagfall status {DATASET}"
        console.print(how, soft_wrap=True, highlight=False)


def _verify(outcomes: list[Outcome], days: Sequence[date]) -> None:
    """The demo's own promise: every day accepted once, the damaged one turned away before.

    Raises:
        DemoFailed: It does not hold.
    """
    found = [(outcome.day, outcome.receipt.status) for outcome in outcomes]
    expected = [(day, "rejected" if day == DAMAGED else "accepted") for day in days]
    expected.append((DAMAGED, "accepted"))
    if found != expected:
        raise DemoFailed(f"expected {expected}, got {found}")
    for outcome in outcomes:
        evaluation, rows = outcome.evaluation, outcome.receipt.rows
        if rows and (evaluation is None or evaluation.labelled < rows / 2):
            raise DemoFailed(f"{outcome.day} was accepted, and its outcomes are not known")


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
    KUBERNETES = "kubernetes"


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave Airflow's UI up at the end.")] = False,
    store: Annotated[
        Store, typer.Option(help="On disk, or on S3 and SQS by moto's server.")
    ] = Store.DISK,
    executor: Annotated[
        Executor,
        typer.Option(help="One machine; on s3: Celery, or pods on a stand-in for Kubernetes."),
    ] = Executor.LOCAL,
    days: Annotated[int, typer.Option(min=2, max=len(DAYS), help="Fewer are over sooner.")] = 5,
) -> None:
    """Five days of real flights through a real Airflow, on this machine, in about three minutes."""
    try:
        run_demo(keep, store, executor, days=DAYS[:days])
    except FlagfallError as error:
        Console(stderr=True, markup=False, highlight=False).print(f"demo: {error}", soft_wrap=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(demo)
