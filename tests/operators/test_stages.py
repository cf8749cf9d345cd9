from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, Asset, AssetAlias
from airflow.sdk.exceptions import AirflowSkipException

from flagfall.errors import ModelInvalid, NotFinished, NotThere
from flagfall.inbox import claim as claims
from flagfall.inbox.settling import Look
from flagfall.lake.records import Evaluation
from flagfall.landing.marker import Marker
from flagfall.operators import ClaimOperator, PublishOperator, ReportOperator, StageOperator
from flagfall.report.due import expect_report
from flagfall.report.run import make_up_for_reports
from flagfall.stages.shard import Delivery, run_stage
from flagfall.stores import aws
from tests.feeds import ToyFeed, make_toy
from tests.s3 import S3Server
from tests.scored import GOOD, POISON, make_scored_toy


class Event:
    """What a task says of one outlet."""

    def __init__(self) -> None:
        self.extra: dict[str, Any] = {}
        self.added: list[tuple[str, dict[str, Any]]] = []

    def add(self, asset: Asset, extra: dict[str, Any]) -> None:
        self.added.append((asset.name, extra))


class Events(dict[Any, Event]):
    def __missing__(self, key: Any) -> Event:
        return self.setdefault(key, Event())


@pytest.fixture
def context() -> dict[str, Any]:
    return {"outlet_events": Events(), "run_id": "asset_triggered__2026-11-22T12:00:00+00:00_x"}


class Instance:
    """What a task that fails leaves for the next."""

    def __init__(self) -> None:
        self.left: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.left[key] = value


@pytest.fixture(autouse=True)
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGFALL_DATASETS", str(tmp_path / "datasets"))


def claiming() -> ClaimOperator:
    return ClaimOperator(task_id="claim", dataset="toy", landed="toy_landed", again="again")


def staging(batches: Any, stage: str = "ingest", **more: Any) -> StageOperator:
    return StageOperator(task_id="stage", dataset="toy", stage=stage, batches=batches, **more)


def reporting(claimed: Any, **more: Any) -> ReportOperator:
    return ReportOperator(task_id="report", dataset="toy", claimed=claimed, **more)


@pytest.mark.invariant(2)
def test_claim_takes_what_the_inbox_says_whatever_the_events_say(
    toy: ToyFeed, context: dict[str, Any]
) -> None:
    dropped = [toy.drop("2026-11-01"), toy.drop("2026-11-02")]
    context["triggering_asset_events"] = {Asset("toy_landed"): []}
    shards = claiming().execute(context)
    assert shards == [[marker.to_dict() for marker in dropped]]
    assert json.loads(json.dumps(shards)) == shards


def test_claim_skips_the_run_when_nothing_is_pending(toy: ToyFeed, context: dict[str, Any]) -> None:
    with pytest.raises(AirflowSkipException, match="nothing is pending"):
        claiming().execute(context)


def test_a_capped_claim_queues_the_next_run_itself(tmp_path: Path, context: dict[str, Any]) -> None:
    toy = make_toy(tmp_path, more="limits: {batches_per_run: 1}")
    for day in ("2026-11-01", "2026-11-02", "2026-11-03"):
        toy.drop(day)
    claiming().execute(context)
    event = context["outlet_events"][AssetAlias("again")]
    assert event.added == [("toy_landed", {"left": 2})]


@pytest.mark.parametrize("content", ["", "[]", '{"run": "x", "batches": 7}'])
def test_a_damaged_note_of_a_report_is_named_and_the_others_are_made_up_for(
    toy: ToyFeed, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    marker, inbox = toy.drop("2026-11-01"), toy.inbox()
    run_stage("ingest", toy.dataset, inbox, [Delivery(marker)])
    expect_report(inbox.lake, "killed", [marker])
    inbox.lake.store.put("reports/due/a.json", content.encode())
    make_up_for_reports(toy.dataset, inbox, "this", [])
    assert "reports/due/a.json: this note is damaged" in caplog.text
    assert list(inbox.lake.store.names("reports/due")) == ["reports/due/a.json"]


def test_a_batch_that_has_not_settled_starts_no_run_after_run(
    toy: ToyFeed, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watcher announces it again."""
    toy.drop("2026-11-01")
    never = Look(toy.marker("2026-11-01"), 0, has_settled=False)
    monkeypatch.setattr(claims, "look_at", lambda *_: never)
    monkeypatch.setattr(claims, "LOOKS", 1)
    with pytest.raises(AirflowSkipException, match="nothing that is pending has settled"):
        claiming().execute(context)
    assert not context["outlet_events"][AssetAlias("again")].added


@pytest.mark.parametrize(
    ("parallelism", "of_dag", "sizes"), [(3, 16, [2, 2, 2]), (32, 2, [3, 3]), (0, 2, [3, 3])]
)
def test_a_claim_deals_out_to_as_many_tasks_as_airflow_runs_at_the_same_time(
    toy: ToyFeed,
    context: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    parallelism: int,
    of_dag: int,
    sizes: list[int],
) -> None:
    monkeypatch.setattr("flagfall.inbox.claim.FEWEST", 1)
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", str(parallelism))
    for number in range(6):
        toy.drop(f"{number:02d}")
    with DAG("toy", schedule=None, max_active_tasks=of_dag):
        claimed = claiming()
    assert [len(shard) for shard in claimed.execute(context)] == sizes


def test_a_claim_that_took_everything_queues_nothing(toy: ToyFeed, context: dict[str, Any]) -> None:
    toy.drop("2026-11-01")
    claiming().execute(context)
    assert context["outlet_events"][AssetAlias("again")].added == []


def test_a_stage_tells_its_outlet_what_it_did(toy: ToyFeed, context: dict[str, Any]) -> None:
    toy.drop("2026-11-01", "id,value\n1,1\n2,-1\n")
    toy.drop("2026-11-02", "nonsense\n")
    staged = Asset("toy_staged")
    shard = claiming().execute(context)[0]
    done = staging(shard, outlets=[staged]).execute(context)
    assert [batch["status"] for batch in done] == ["accepted", "rejected"]
    told = context["outlet_events"][staged].extra
    uris = told.pop("uris")
    assert told == {"batches": 1, "rejected_batches": 1, "rows": 1, "rejected_rows": 1}
    assert Path(uris[0], "record.json").is_file()


def test_what_a_stage_returns_is_small_and_holds_no_rows(
    toy: ToyFeed, context: dict[str, Any]
) -> None:
    rows = "".join(f"{n},{n}\n" for n in range(20_000))
    toy.drop("2026-11-01", f"id,value\n{rows}")
    done = staging(claiming().execute(context)[0]).execute(context)
    assert len(json.dumps(done)) < 1_000


def test_the_report_reads_the_shards_of_a_run(toy: ToyFeed, context: dict[str, Any]) -> None:
    toy.drop("2026-11-01")
    toy.drop("2026-11-02", "nonsense\n")
    report = Asset("toy_report")
    (shard,) = claiming().execute(context)
    staging(shard).execute(context)
    for claimed in ([shard], [shard[:1], shard[1:]]):
        told = reporting(claimed, outlets=[report]).execute(context)
        assert told["verdict"] == "attention"
        assert told["batches"] == {"accepted": 1, "rejected": 1}
        assert Path(told["uri"]).read_text().startswith("<!DOCTYPE html>")
        assert told.pop("link").endswith(f"/reports/{Path(told['uri']).stem}")
        assert context["outlet_events"][report].extra == told


@pytest.mark.invariant(5)
def test_the_report_tells_of_what_was_received_and_fails_with_the_names_of_the_others(
    toy: ToyFeed, context: dict[str, Any]
) -> None:
    for day in ("2026-11-01", "2026-11-02", "2026-11-03"):
        toy.drop(day)
    shard = claiming().execute(context)[0]
    staging(shard[:2]).execute(context)
    report = Asset("toy_report")
    task = reporting([shard], outlets=[report])
    with pytest.raises(NotFinished) as failed:
        task.execute(context)
    waiting = Marker.from_dict(shard[2]).batch_id
    assert failed.value.batch_ids == (waiting,)
    assert f"1 of 3 batches of this run were not finished: {waiting};" in str(failed.value)
    page = toy.root / "lake" / "toy" / "reports" / f"{task.link.rpartition('/')[2]}.html"
    assert " has landed and was not taken in" in page.read_text()
    assert "/flagfall/feeds/" in task.link
    assert not context["outlet_events"][report].extra


def test_a_run_that_received_nothing_has_a_report_and_fails_with_the_names(
    toy: ToyFeed, context: dict[str, Any]
) -> None:
    marker = toy.drop("2026-11-01")
    task = reporting(claiming().execute(context))
    with pytest.raises(NotFinished, match=f"1 of 1 batches .* not finished: {marker.batch_id};"):
        task.execute(context)
    page = toy.root / "lake" / "toy" / "reports" / f"{task.link.rpartition('/')[2]}.html"
    assert " has landed and was not taken in" in page.read_text()


def test_a_marker_that_was_taken_away_is_no_delivery_of_the_run(
    toy: ToyFeed, context: dict[str, Any]
) -> None:
    for day in ("2026-11-01", "2026-11-02"):
        toy.drop(day)
    shard = claiming().execute(context)[0]
    Path(toy.folder("2026-11-02"), "datapackage.json").unlink()
    assert len(staging(shard).execute(context)) == 1
    told = reporting([shard]).execute(context)
    assert told["batches"] == {"accepted": 1}


def test_a_run_whose_markers_were_all_taken_away_has_no_report(
    toy: ToyFeed, context: dict[str, Any]
) -> None:
    toy.drop("2026-11-01")
    shard = claiming().execute(context)[0]
    Path(toy.folder("2026-11-01"), "datapackage.json").unlink()
    assert staging(shard).execute(context) == []
    with pytest.raises(AirflowSkipException, match="is there any more"):
        reporting([shard]).execute(context)


def test_a_batch_that_was_not_scored_is_reported_and_is_not_finished(
    tmp_path: Path, context: dict[str, Any]
) -> None:
    toy = make_scored_toy(tmp_path)
    toy.drop("2026-11-01", GOOD)
    toy.drop("2026-11-02", POISON)
    toy.drop("2026-11-03", "nonsense\n")
    (shard,) = claiming().execute(context)
    done = staging(shard).execute(context)
    for stage in ("preprocess", "infer", "evaluate"):
        staging(done[:1], stage).execute(context)
    with pytest.raises(NotFinished) as failed:
        reporting([shard]).execute(context)
    assert failed.value.batch_ids == (Marker.from_dict(shard[1]).batch_id,)
    (page,) = (toy.root / "lake/toy/reports").glob("asset*.html")
    assert " was accepted and is not evaluated" in page.read_text()


@pytest.mark.invariant(5)
def test_a_stage_that_fails_on_a_batch_leaves_the_others_to_the_next_stage(
    tmp_path: Path, context: dict[str, Any]
) -> None:
    toy = make_scored_toy(tmp_path)
    good, poison = toy.drop("2026-11-01", GOOD), toy.drop("2026-11-02", POISON)
    (shard,) = claiming().execute(context)
    done = staging(staging(shard).execute(context), "preprocess").execute(context)
    context["ti"] = instance = Instance()
    with pytest.raises(ModelInvalid):
        staging(done, "infer").execute(context)
    left = instance.left["return_value"]
    staging(left, "evaluate").execute(context)
    found = toy.inbox().lake.find_all(Evaluation, [good.batch_id, poison.batch_id])
    assert [evaluation is not None for evaluation in found] == [True, False]


def test_a_stage_after_one_that_left_nothing_does_nothing(
    toy: ToyFeed, context: dict[str, Any]
) -> None:
    assert staging(None, "preprocess").execute(context) == []


def test_publishing_tells_its_outlet_where_the_marker_is(
    toy: ToyFeed, context: dict[str, Any]
) -> None:
    source = toy.root / "made"
    source.mkdir()
    (source / "rows.csv").write_text("id,value\n1,1\n")
    landed = Asset("elsewhere")
    told = PublishOperator(
        task_id="publish",
        source=str(source),
        destination=str(toy.folder("2026-11-05")),
        outlets=[landed],
    ).execute(context)
    marker = toy.marker("2026-11-05")
    assert told == {"marker": marker.uri, "files": 1, "bytes": 13, "skipped": 0}
    assert context["outlet_events"][landed].extra == told
    assert toy.inbox().pending() == [marker]


def test_publishing_asks_the_connection_that_it_is_given(
    tmp_path: Path,
    context: dict[str, Any],
    s3: S3Server,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    extra = {"endpoint_url": s3.url, "region_name": "us-east-1"}
    plain = {"conn_type": "aws", "login": "warehouse", "password": "s3cr3t", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(plain))
    (tmp_path / "rows.csv").touch()
    publishing = PublishOperator(
        task_id="publish",
        source=str(tmp_path),
        destination=f"s3://{bucket}/in",
        conn_id="warehouse",
    )
    assert "conn_id" in publishing.template_fields
    assert publishing.execute(context)["files"] == 1
    aws.forget("warehouse")


def test_a_dataset_that_is_gone_is_one_clear_error(context: dict[str, Any]) -> None:
    with pytest.raises(NotThere, match="no dataset 'toy'"):
        claiming().execute(context)


class TestAReportWhoseTaskWasKilled:
    """It is not retried; the next run makes up for it."""

    def test_the_next_run_writes_it_and_keeps_its_own_as_the_latest(
        self, toy: ToyFeed, context: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        first = toy.drop("2026-11-01")
        killed = claiming().execute({**context, "run_id": "killed"})
        staging(killed[0]).execute(context)
        second = toy.drop("2026-11-02")
        claimed = claiming().execute(context)
        staging(claimed[0]).execute(context)
        reporting(claimed).execute(context)
        pages = {page.name: page.read_text() for page in reports(toy).glob("*.html")}
        (made_up,) = (name for name in pages if name.startswith("killed"))
        assert f"</span>{first.batch_id[10:]}" in pages[made_up]
        assert f"</span>{second.batch_id[10:]}" in pages["latest.html"]
        assert "the report of run killed is missing" in caplog.text
        assert list((reports(toy) / "due").iterdir()) == []

    def test_of_a_run_that_took_nothing_in_none_is_written(
        self, toy: ToyFeed, context: dict[str, Any]
    ) -> None:
        toy.drop("2026-11-01")
        claiming().execute({**context, "run_id": "killed at once"})
        claimed = claiming().execute(context)
        staging(claimed[0]).execute(context)
        reporting(claimed).execute(context)
        assert len(list(reports(toy).glob("*.html"))) == 2, "its own, and the same as latest.html"
        assert list((reports(toy) / "due").iterdir()) == []


def reports(toy: ToyFeed) -> Path:
    return toy.root / "lake" / "toy" / "reports"


class TestReplayByARun:
    """A run that a person started with a configuration hands batches out again."""

    @staticmethod
    def given(context: dict[str, Any], conf: object) -> dict[str, Any]:
        return {**context, "dag_run": SimpleNamespace(conf=conf)}

    def test_it_claims_the_batch_that_its_configuration_names(
        self, toy: ToyFeed, context: dict[str, Any]
    ) -> None:
        marker = toy.drop("2026-11-01")
        staging(claiming().execute(context)[0]).execute(context)
        with pytest.raises(AirflowSkipException):
            claiming().execute(self.given(context, {}))
        again = self.given(context, {"replay": [marker.batch_id]})
        ((claimed,),) = claiming().execute(again)
        assert (claimed["key"], claimed["replay"]) == (marker.key, 1)

    def test_it_claims_the_range_that_its_configuration_names(
        self, toy: ToyFeed, context: dict[str, Any]
    ) -> None:
        markers = [toy.drop(f"2026-11-0{day}") for day in (1, 2)]
        (shard,) = claiming().execute(context)
        staging(shard).execute(context)
        toy.inbox().reject(toy.drop("2026-11-03"), "no-data", "why")
        for wish, days in (
            ({"since": "2020-01-01", "from": "staged"}, markers),
            ({"reason": "no-data"}, []),
        ):
            (claimed,) = claiming().execute(self.given(context, {"replay": wish}))
            assert [one["key"] for one in claimed][: len(days)] == [one.key for one in days]
            assert [one["staged_from"] for one in claimed][:2] == [m.batch_id for m in markers]
        assert [one["replay"] for one in claimed] == [1, 1, 1]

    @pytest.mark.parametrize(
        ("wish", "says"),
        [
            ({"since": "yesterday"}, "no day 'yesterday'"),
            ({"from": "mars", "since": "2026-11-01"}, "no source of rows 'mars'"),
            ({"day": "2026-11-01"}, "known: since, until, reason, from, model_version"),
            ({"reason": "no-data"}, "no rejected batch is open"),
        ],
    )
    def test_a_range_that_cannot_be_is_refused(
        self, toy: ToyFeed, context: dict[str, Any], wish: dict[str, str], says: str
    ) -> None:
        toy.drop("2026-11-01")
        with pytest.raises(NotThere, match=says):
            claiming().execute(self.given(context, {"replay": wish}))

    @pytest.mark.parametrize(
        "conf", [{"replay": "all"}, {"replay": [3]}, {"replay": {}}, {"replay": {"from": "staged"}}]
    )
    def test_what_is_no_list_of_batches_says_what_was_expected(
        self, toy: ToyFeed, context: dict[str, Any], conf: object
    ) -> None:
        toy.drop("2026-11-01")
        with pytest.raises(NotThere, match=r'expected \{"replay"'):
            claiming().execute(self.given(context, conf))
