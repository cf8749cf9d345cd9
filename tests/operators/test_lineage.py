"""What the provider of OpenLineage emits for a run of a pipeline, as it writes it to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flagfall.operators.lineage import column_of, named
from tests.dags.one_run import run_once
from tests.scored import make_scored_toy

RULE = "value: below minimum 0"
Event = dict[str, Any]


def completed(file: Path) -> dict[str, Event]:
    """The event of each task that ended, by its id."""
    events = [json.loads(line) for line in file.read_text().splitlines()]
    ended = [event for event in events if event["eventType"] == "COMPLETE"]
    return {event["job"]["name"].partition(".")[2]: event for event in ended}


def names(event: Event, side: str) -> list[str]:
    return [place["name"] for place in event[side]]


def test_stages_say_what_they_read_and_wrote_with_counts_and_quality(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = make_scored_toy(tmp_path)
    toy.drop("2026-11-01", "id,value\n1,0.25\n2,0.75\n3,-1\n")
    file = tmp_path / "lineage.jsonl"
    transport = {"type": "file", "log_file_path": str(file), "append": True}
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(transport))
    assert run_once(toy.root / "datasets")["run"] == "success"
    events, lake = completed(file), f"{tmp_path}/lake/toy"
    assert names(events["ingest_data"], "inputs") == [f"{tmp_path}/landing"]
    assert names(events["ingest_data"], "outputs") == [f"{lake}/staged"]
    assert names(events["preprocess_data"], "outputs") == [f"{lake}/features"]
    assert names(events["run_inference"], "inputs") == [f"{lake}/features"]
    assert names(events["run_inference"], "outputs") == [f"{lake}/predictions"]
    assert names(events["evaluate_results"], "inputs") == [f"{lake}/staged", f"{lake}/predictions"]
    (staged,) = events["ingest_data"]["outputs"]
    assert staged["outputFacets"]["outputStatistics"]["rowCount"] == 2
    fields = staged["facets"]["schema"]["fields"]
    assert [(one["name"], one["type"]) for one in fields] == [
        ("id", "integer"),
        ("value", "number"),
    ]
    assert staged["facets"]["documentation"]["description"] == "A toy feed"
    (landing,) = events["ingest_data"]["inputs"]
    judged = landing["inputFacets"]["dataQualityAssertions"]["assertions"]
    by_name = {one["name"]: one for one in judged}
    assert (by_name[RULE]["success"], by_name[RULE]["actual"]) == (False, "1")
    assert by_name[RULE]["column"] == "value"
    assert by_name["id: required"]["success"] is True


def test_places_are_named_as_the_provider_names_assets() -> None:
    assert named("s3://bucket/lake/toy/staged") == ("s3://bucket", "lake/toy/staged")
    assert named("s3://bucket") == ("s3://bucket", "/")
    assert named("/data/lake/toy/staged") == ("file", "/data/lake/toy/staged")
    assert named("s3://bucket/a#1/b?c/staged") == ("s3://bucket", "a#1/b?c/staged")
    assert named("/data/lake #1/what?/staged") == ("file", "/data/lake #1/what?/staged")


def test_a_rule_is_of_its_column_whatever_that_is_called() -> None:
    columns = ["id", "id: new", "limit: max"]
    assert column_of("id: required", columns) == "id"
    assert column_of("id: new: required", columns) == "id: new"
    assert column_of("limit: max: below minimum 0", columns) == "limit: max"
    assert column_of("not JSON", columns) is None
