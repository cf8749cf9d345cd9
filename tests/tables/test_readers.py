"""Others read the tables with their own libraries, on a disk and on S3."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from flagfall.stages.shard import Delivery, run_stage
from flagfall.tables.frames import EVER
from flagfall.tables.upkeep import maintain
from tests.feeds import S3Feed, ToyFeed, make_s3_toy, make_toy
from tests.late import in_tables, make_late, make_late_s3
from tests.scored import GOOD, make_scored_toy
from tests.tables.feed import uri_of, with_table
from tests.tables.others import READERS, reading, required_readers
from tests.test_docs import ROOT, blocks

pytestmark = pytest.mark.slow


@pytest.fixture
def python() -> Path:
    return required_readers()


def counted(reader: str, uri: str) -> dict[str, int]:
    """Rows by batch, as a reader counts them."""
    with reading(reader, uri, "batch") as read:
        return dict(Counter(batch for (batch,) in read()))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("place", ["disk", "s3"])
def test_a_table_of_outcomes(
    place: str, reader: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bucket = request.getfixturevalue("bucket") if place == "s3" else ""
    feeds = in_tables(make_late_s3(tmp_path, bucket) if bucket else make_late(tmp_path))
    scored = feeds.score("2026-11-20")
    feeds.happen("2026-11-21", "id,delay\n1,30\n2,5\n")
    feeds.learn()
    feeds.happen("2026-11-22", "id,delay\n1,0\n3,5\n")
    feeds.learn()
    assert counted(reader, uri_of(feeds.toy.inbox(), "outcomes")) == {scored.batch_id: 3}


DUCKDB = """\
import duckdb
from pathlib import Path
(file,) = Path(duckdb.__file__).parents[1].glob("duckdb_extension_delta/extensions/*/*")
duckdb.load_extension(str(file))  # otherwise DuckDB downloads it
"""
SPARK = f"""\
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from readers import spark_session
spark = spark_session()
"""
PRELUDES = {"import duckdb": DUCKDB, "spark.read": SPARK}


@pytest.mark.parametrize("number", range(4))
def test_what_the_page_shows_runs_as_it_stands(number: int, tmp_path: Path, python: Path) -> None:
    toy = make_scored_toy(tmp_path)
    dataset, inbox = with_table(toy), toy.inbox()
    done = [Delivery(toy.drop("2026-11-01", GOOD))]
    for stage in ("ingest", "preprocess", "infer"):
        done = run_stage(stage, dataset, inbox, done)
    code = blocks((ROOT / "docs/tables.md").read_text(), "python")[number]
    code = code.replace("/data/lake/flights/tables/predictions", uri_of(inbox, "predictions"))
    prelude = "".join(text for line, text in PRELUDES.items() if line in code)
    script = tmp_path / "shown.py"
    script.write_text(prelude + code)
    interpreter = sys.executable if "polars" in code else str(python)
    ran = subprocess.run([interpreter, script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert str(done[0].marker.landed_at.date()) in ran.stdout


def corrected(feed: ToyFeed | S3Feed) -> tuple[str, dict[str, int]]:
    """A table of which files were joined, and then one batch corrected: where, and its rows."""
    dataset, inbox = with_table(feed), feed.inbox()
    markers = [feed.drop(f"2026-11-0{day}") for day in (1, 2, 3)]
    for marker in markers:
        run_stage("ingest", dataset, inbox, [Delivery(marker)])
    maintain(dataset, inbox.lake, EVER)
    last = feed.drop("2026-11-02", "id,value\n1,1\n2,2\n3,3\n")
    run_stage("ingest", dataset, inbox, [Delivery(last)])
    rows = {markers[0].batch_id: 2, markers[2].batch_id: 2, last.batch_id: 3}
    return uri_of(inbox), rows


@pytest.mark.parametrize("reader", READERS)
def test_a_table_on_a_disk(reader: str, tmp_path: Path) -> None:
    uri, rows = corrected(make_toy(tmp_path))
    assert counted(reader, uri) == rows


@pytest.mark.parametrize("reader", READERS)
def test_a_table_on_s3(reader: str, tmp_path: Path, bucket: str) -> None:
    uri, rows = corrected(make_s3_toy(tmp_path, bucket))
    assert counted(reader, uri) == rows
