"""The command line over S3: what a person sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.feeds import S3Feed, make_s3_toy
from tests.patience import SOON
from tests.s3 import S3Server


@pytest.fixture
def feed(tmp_path: Path, s3: S3Server, bucket: str) -> S3Feed:
    return make_s3_toy(tmp_path, bucket)


def flagfall(feed: S3Feed, *arguments: str) -> str:
    environment = {**os.environ, "FLAGFALL_DATASETS": str(feed.root / "datasets")}
    command = [sys.executable, "-m", "flagfall", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SOON)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_watch_prints_what_is_there_and_status_counts_it(feed: S3Feed) -> None:
    marker = feed.drop("2026-11-01")
    pattern = ("--marker", feed.dataset.landing.marker)
    shown = flagfall(feed, "watch", feed.dataset.landing.uri, *pattern, "--count", "1", "--json")
    assert json.loads(shown)["batch_id"] == marker.batch_id
    (told,) = map(json.loads, flagfall(feed, "status", "--json").splitlines())
    assert (told["landed"], told["pending"]) == (1, 1)


def test_watch_hears_of_a_marker_from_a_queue(feed: S3Feed, s3: S3Server) -> None:
    queue = s3.make_queue(feed.bucket)
    s3.notify(feed.bucket, queue)
    feed.drop("2026-11-01")
    options = ("--marker", feed.dataset.landing.marker, "--sqs-queue", queue)
    command = [
        sys.executable,
        "-m",
        "flagfall",
        "watch",
        feed.dataset.landing.uri,
        *options,
    ]
    with subprocess.Popen(
        [*command, "--sweep-every", "3600", "--count", "2"], stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        assert "2026-11-01" in watching.stdout.readline()
        feed.drop("2026-11-02")
        assert "2026-11-02" in watching.stdout.readline()
        assert watching.wait(20) == 0


def test_a_stage_runs_alone_as_in_a_container(feed: S3Feed) -> None:
    marker = feed.drop("2026-11-01")
    (done,) = json.loads(flagfall(feed, "stage", "ingest", "toy", marker.batch_id))
    assert (done["status"], done["rows"]) == ("accepted", 2)
    report = json.loads(flagfall(feed, "stage", "report", "toy", marker.batch_id))
    assert report["uri"].startswith(f"s3://{feed.bucket}/lake/toy/reports/")


def test_check_names_a_landing_zone_whose_bucket_is_not_there(feed: S3Feed) -> None:
    assert flagfall(feed, "check") == "toy: fine; 2 columns, no model\n"
    file = feed.root / "datasets" / "toy.yaml"
    landing = feed.dataset.landing.uri
    file.write_text(file.read_text().replace(landing, "s3://no-such-bucket/landing"))
    says = r"toy\.yaml: line 2: landing\.uri: s3://no-such-bucket/landing: there is no such bucket"
    with pytest.raises(AssertionError, match=says):
        flagfall(feed, "check")
    assert "fine" in flagfall(feed, "check", "--offline")


def test_check_takes_a_lake_with_a_slash_at_its_end(feed: S3Feed) -> None:
    file = feed.root / "datasets" / "toy.yaml"
    lake = feed.dataset.lake.uri
    file.write_text(file.read_text().replace(f"{lake}}}", f"{lake}/}}"))
    assert f"{lake}/}}" in file.read_text()
    assert flagfall(feed, "check") == "toy: fine; 2 columns, no model\n"
