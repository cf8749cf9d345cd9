"""Pages in Airflow's UI: how long the server takes for each, and how often it reads the lake.

A real API server answers over HTTP; each page is asked for several times, as one person does. All
batches have their receipts in a lake on this disk, or on an S3 on this machine.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import httpx
from table import Column, Table, found

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.pages.batch import batch_page
from flagfall.pages.feed import feed_page
from flagfall.pages.feeds import FeedRef, feeds_page
from flagfall.pages.lakes import Lakes
from flagfall.pages.reports import report
from sandbox.airflow import LocalAirflow
from sandbox.history import write_past
from sandbox.reads import counting

FEED = """\
title: Feed number {number}
landing: {{uri: {root}/landing/{name}, marker: "date={{date}}/datapackage.json"}}
lake: {{uri: {root}/lake}}
schema:
  fields: [{{name: id, type: integer}}, {{name: value, type: number}}]
"""
DAG = "from flagfall.dags import pipelines  # airflow\nglobals().update(pipelines({!r}))\n"
REPORT = "<!DOCTYPE html>\n" + "<p>A report of the usual size.</p>\n" * 9_000


@dataclass(frozen=True)
class Case:
    """So many feeds, with so many batches in all."""

    feeds: int
    batches: int


def feeds_of(case: Case, root: Path) -> list[Dataset]:
    """The feeds, with their past."""
    folder = root / "datasets"
    folder.mkdir(parents=True)
    made = []
    for number in range(case.feeds):
        name = f"feed_{number:02d}"
        file = folder / f"{name}.yaml"
        file.write_text(FEED.format(number=number, name=name, root=root))
        made.append(read_dataset(file))
        write_past(made[-1], case.batches // case.feeds, seed=number)
        reports = root / "lake" / name / "reports"
        reports.mkdir(exist_ok=True)
        (reports / "latest.html").write_text(REPORT)
    (root / "dags").mkdir()
    (root / "dags" / "feeds.py").write_text(DAG.format(str(folder)))
    return made


def ref(dataset: Dataset) -> FeedRef:
    """What Airflow knows of a feed."""
    return FeedRef(f"{dataset.name}_pipeline", Feed.of(dataset), dataset.title)


def counted(datasets: list[Dataset]) -> Iterator[tuple[str, str, int]]:
    """Each page: its name, its path, and the reads that it takes."""
    opened, reads = counting()
    lakes, now, feeds = Lakes(opened), datetime.now(UTC), [ref(one) for one in datasets]
    first = feeds[0]
    below = f"/flagfall/feeds/{first.dag_id}"
    feeds_page(lakes, feeds, now)
    yield "all feeds", "/flagfall/", len(reads)
    reads.clear()
    row = feed_page(lakes, first, now).rows[0]
    yield "a feed", below, len(reads)
    reads.clear()
    day = str(row.landed_at.date())
    batch_page(lakes, first, day, row.batch_id, now)
    yield "a batch", f"{below}/batches/{day}/{row.batch_id}", len(reads)
    reads.clear()
    report(lakes, first, "latest")
    yield "a report", f"{below}/reports/latest/content", len(reads)


def times(client: httpx.Client, path: str, rounds: int) -> list[float]:
    """Milliseconds until each answer is there, after the first."""
    taken = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        client.get(path).raise_for_status()
        taken.append(1000 * (time.perf_counter() - began))
    return taken[1:]


def measure(case: Case, rounds: int) -> Iterator[tuple[str | float, ...]]:
    """Rows of the table for one case."""
    root = Path(tempfile.mkdtemp(prefix="flagfall-pages-"))
    try:
        datasets = feeds_of(case, root)
        airflow = LocalAirflow(root / "airflow", root / "dags")
        for other in ("scheduler", "triggerer"):
            del airflow.components[other]
        with airflow:
            sql = "select count(*) as n from serialized_dag where dag_id like '%_pipeline'"
            airflow.wait_until(lambda: airflow.query(sql)[0]["n"] == case.feeds, "no DAGs")
            client = httpx.Client(base_url=airflow.url, timeout=60)
            login = {"username": "admin", "password": airflow.password}
            token = client.post("/auth/token", json=login).json()["access_token"]
            client.cookies.set("_token", token)
            for name, path, reads in counted(datasets):
                taken = times(client, path, rounds)
                yield name, case.feeds, case.batches, reads, median(taken), max(taken)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    """Measure one feed, and fifty."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how often a page is asked for")
    rounds = parser.parse_args().rounds
    cases = (Case(1, 10_000), Case(50, 10_000))
    rows = [row for case in cases for row in measure(case, rounds)]
    columns = (
        Column("page"),
        Column("feeds", ",.0f"),
        Column("batches in 30 days", ",.0f"),
        Column("reads from the lake", ",.0f"),
        Column("p50, ms", ",.0f"),
        Column("most, ms", ",.0f"),
    )
    found(Table("page_reads", columns, tuple(rows)))


if __name__ == "__main__":
    main()
