from __future__ import annotations

import gzip
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flagfall.errors import StoreUnavailable
from flagfall.inbox.claim import claim
from flagfall.lake.records import Receipt, Staged
from flagfall.landing.marker import Marker
from flagfall.stages import copy_batch
from flagfall.stages.ingest import ingest
from flagfall.stages.shard import Delivery, run_stage
from tests.feeds import ToyFeed, make_toy

DAY = "2026-11-01"


def take_in(toy: ToyFeed, marker: Marker) -> Receipt:
    return ingest(toy.dataset, toy.inbox(), marker)


def staged(toy: ToyFeed, batch_id: str) -> pl.DataFrame:
    lake = toy.inbox().lake
    record = lake.find(Staged, batch_id)
    assert record is not None
    return pl.concat([pl.read_parquet(path) for path in lake.parts(record, toy.root)])


def _parquet(file: tuple[str, bytes]) -> tuple[str, bytes]:
    """A file's name, and its content where that does not name an attempt."""
    path, content = file
    name = path.rpartition("/")[2].rpartition("-")[0]
    return name, b"" if path.endswith(".json") else content


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_good_batch_is_staged_typed_and_gets_a_receipt(toy: ToyFeed) -> None:
    receipt = take_in(toy, toy.drop(DAY))
    assert (receipt.status, receipt.rows, receipt.rejected_rows) == ("accepted", 2, 0)
    frame = staged(toy, receipt.batch_id)
    assert frame.to_dict(as_series=False) == {"id": [1, 2], "value": [0.5, 1.5]}
    assert frame.schema == {"id": pl.Int64, "value": pl.Float64}


def test_bad_rows_are_kept_apart_with_reason_and_line(toy: ToyFeed) -> None:
    receipt = take_in(toy, toy.drop(DAY, "id,value\n1,0.5\n2,-1\n3,2\n"))
    assert (receipt.status, receipt.rows, receipt.rejected_rows) == ("accepted", 2, 1)
    assert receipt.reasons == {"value: below minimum 0": 1}
    rows = toy.root / "lake/toy/rejected" / receipt.batch_id / "rows.jsonl"
    bad = json.loads(rows.read_text())
    assert (bad["line"], bad["reasons"]) == (3, ["value: below minimum 0"])


@pytest.mark.parametrize(("bad", "status"), [(2, "accepted"), (3, "rejected")])
@pytest.mark.invariant(5)
def test_a_batch_with_more_bad_rows_than_allowed_is_rejected_whole(
    toy: ToyFeed, bad: int, status: str
) -> None:
    rows = [f"{n},{-1 if n < bad else 1}" for n in range(4)]
    receipt = take_in(toy, toy.drop(DAY, "\n".join(["id,value", *rows, ""])))
    assert receipt.status == status
    kept = toy.root / "lake/toy/rejected" / receipt.batch_id / "rows.jsonl"
    assert len(kept.read_text().splitlines()) == bad


class TestWhatIsTurnedAway:
    def check(self, toy: ToyFeed, reason: str, words: str, marker: Marker | None = None) -> None:
        receipt = take_in(toy, marker or toy.marker(DAY))
        assert (receipt.status, receipt.reason) == ("rejected", reason)
        assert words in receipt.message
        assert toy.inbox().lake.find(Staged, receipt.batch_id) is None

    def test_a_file_cut_short(self, toy: ToyFeed) -> None:
        toy.drop(DAY)
        os.truncate(toy.folder(DAY) / "rows.csv", 10)
        self.check(toy, "size-differs", "rows.csv: the marker promises 21 bytes, the file has 10")

    def test_a_file_with_other_bytes(self, toy: ToyFeed) -> None:
        toy.drop(DAY)
        (toy.folder(DAY) / "rows.csv").write_text("id,value\n1,0.5\n2,1.6\n")
        self.check(toy, "hash-differs", "rows.csv: its sha256 is not the one")

    def test_a_file_that_is_missing(self, toy: ToyFeed) -> None:
        toy.drop(DAY)
        (toy.folder(DAY) / "rows.csv").unlink()
        self.check(toy, "file-missing", "rows.csv")

    @pytest.mark.invariant(7)
    def test_a_file_that_is_a_link_out_of_the_landing_zone(self, toy: ToyFeed) -> None:
        toy.drop(DAY)
        secret = toy.root / "secret.csv"
        shutil.move(toy.folder(DAY) / "rows.csv", secret)
        (toy.folder(DAY) / "rows.csv").symlink_to(secret)
        self.check(toy, "not-a-file", "link")

    @pytest.mark.invariant(7)
    def test_a_folder_that_is_a_link_out_of_the_landing_zone(self, toy: ToyFeed) -> None:
        toy.drop(DAY)
        outside = toy.root / "outside"
        outside.mkdir()
        shutil.move(toy.folder(DAY) / "rows.csv", outside)
        (toy.folder(DAY) / "sub").symlink_to(outside)
        manifest = {"resources": [{"path": "sub/rows.csv"}]}
        (toy.folder(DAY) / "datapackage.json").write_text(json.dumps(manifest))
        self.check(toy, "not-a-file", "link")

    def test_an_empty_marker_without_data(self, tmp_path: Path) -> None:
        toy = make_toy(tmp_path, marker="_SUCCESS")
        toy.folder(DAY).mkdir(parents=True)
        (toy.folder(DAY) / "_SUCCESS").touch()
        self.check(toy, "no-data", "no data files beside the marker")


class TestWhatIsNotThereAnyMore:
    """It is not turned away: what comes back under the same identity is the same delivery."""

    def claimed(self, toy: ToyFeed, marker: Marker) -> Marker:
        assert claim(toy.inbox(), toy.dataset).shards == ((marker,),)
        return marker

    @pytest.mark.invariant(1)
    def test_a_marker_that_was_taken_away_is_pending_again_when_it_comes_back(
        self, toy: ToyFeed
    ) -> None:
        marker = self.claimed(toy, toy.drop(DAY))
        path = toy.folder(DAY) / "datapackage.json"
        path.rename(toy.root / "held-back")
        assert run_stage("ingest", toy.dataset, toy.inbox(), [Delivery(marker)]) == []
        assert toy.inbox().receipts.find(marker) is None
        (toy.root / "held-back").rename(path)
        assert [again.key for again in toy.inbox().pending()] == [marker.key]
        assert take_in(toy, toy.marker(DAY)).status == "accepted"

    @pytest.mark.invariant(1)
    def test_of_a_marker_that_was_written_again_only_the_new_delivery_counts(
        self, toy: ToyFeed
    ) -> None:
        first = self.claimed(toy, toy.drop(DAY))
        second = toy.drop(DAY, "id,value\n7,7\n")
        assert ingest(toy.dataset, toy.inbox(), first) is None
        assert toy.inbox().pending() == [second]

    @pytest.mark.invariant(1)
    def test_what_the_marker_names_and_is_gone_with_it_is_not_held_against_the_batch(
        self, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A share that is unmounted in the midst of it."""
        marker, inbox = self.claimed(toy, toy.drop(DAY)), toy.inbox()
        really = inbox.landing.store.fetch

        def unmounted(key: str, target: Path, *_: object) -> object:
            toy.landing.rename(toy.root / "away")
            return really(key, target)

        monkeypatch.setattr(inbox.landing.store, "fetch", unmounted)
        with pytest.raises(StoreUnavailable, match="nothing in it; is it mounted"):
            ingest(toy.dataset, inbox, marker)
        (toy.root / "away").rename(toy.landing)
        assert toy.inbox().pending() == [marker]

    def test_a_replay_of_it_is_turned_away_since_a_person_waits_for_the_answer(
        self, toy: ToyFeed
    ) -> None:
        first = take_in(toy, self.claimed(toy, toy.drop(DAY)))
        again = toy.inbox().replay(first.batch_id)
        (toy.folder(DAY) / "datapackage.json").unlink()
        receipt = take_in(toy, again)
        assert (receipt.status, receipt.reason) == ("rejected", "marker-removed")
        assert "drop it again" in receipt.message
        assert toy.inbox().pending() == []


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.jsonl", "rows.parquet"])
def test_an_empty_marker_vouches_for_files_of_any_format(tmp_path: Path, name: str) -> None:
    toy = make_toy(tmp_path, marker="_SUCCESS")
    toy.folder(DAY).mkdir(parents=True)
    frame = pl.DataFrame({"id": [1, 2], "value": [0.5, 1.5]})
    path = toy.folder(DAY) / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(frame.write_csv().encode()))
    elif name.endswith(".jsonl"):
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    (toy.folder(DAY) / "_SUCCESS").touch()
    receipt = take_in(toy, toy.marker(DAY))
    assert receipt.status == "accepted", receipt.message
    assert staged(toy, receipt.batch_id).equals(frame)


@pytest.mark.invariant(4)
def test_the_landing_zone_is_left_as_it_was(toy: ToyFeed) -> None:
    good, bad = toy.drop(DAY), toy.drop("2026-11-02", "nonsense\n")
    before = toy.snapshot()
    assert [take_in(toy, good).status, take_in(toy, bad).status] == ["accepted", "rejected"]
    assert toy.snapshot() == before


@pytest.mark.invariant(3)
def test_doing_it_twice_gives_the_same_bytes(toy: ToyFeed, tmp_path: Path) -> None:
    marker = toy.drop(DAY)
    take_in(toy, marker)
    once = tree(toy.root / "lake/toy/staged")
    shutil.rmtree(toy.root / "lake")
    take_in(toy, marker)
    again = tree(toy.root / "lake/toy/staged")
    assert sorted(map(_parquet, again.items())) == sorted(map(_parquet, once.items()))


@pytest.mark.invariant(3)
def test_a_run_that_dies_before_the_receipt_leaves_the_batch_pending_and_the_next_completes_it(
    toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, inbox = toy.drop(DAY), toy.inbox()

    def dies(receipt: Receipt) -> Receipt:
        raise KeyboardInterrupt

    monkeypatch.setattr(inbox.receipts, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        ingest(toy.dataset, inbox, marker)
    before = tree(toy.root / "lake/toy/staged")
    assert before
    assert toy.inbox().pending() == [marker]
    (toy.folder(DAY) / "rows.csv").write_text("overwritten since")
    assert take_in(toy, marker).status == "accepted"
    assert tree(toy.root / "lake/toy/staged") == before
    assert toy.inbox().pending() == []


@pytest.mark.invariant(3)
def test_a_run_that_dies_while_staging_leaves_nothing_that_counts(
    toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, inbox = toy.drop(DAY), toy.inbox()

    def full(key: str, data: bytes) -> bool:
        raise StoreUnavailable("/lake", "No space left on device")

    monkeypatch.setattr(inbox.lake.store, "create", full)
    with pytest.raises(StoreUnavailable):
        ingest(toy.dataset, inbox, marker)
    assert toy.inbox().lake.find(Staged, marker.batch_id) is None
    assert toy.inbox().pending() == [marker]


def test_a_second_ingest_of_a_received_batch_gives_the_first_receipt(toy: ToyFeed) -> None:
    marker = toy.drop(DAY)
    first = take_in(toy, marker)
    os.truncate(toy.folder(DAY) / "rows.csv", 3)
    assert take_in(toy, marker) == first


class TestOneMarkerOneTruth:
    def test_a_corrected_batch_supersedes_the_accepted_one(self, toy: ToyFeed) -> None:
        first = take_in(toy, toy.drop(DAY))
        second = take_in(toy, toy.drop(DAY, "id,value\n1,0.75\n"))
        assert second.supersedes == first.batch_id
        assert toy.inbox().receipts.current(toy.marker(DAY)) == second

    def test_a_rejected_redelivery_does_not_take_its_place(self, toy: ToyFeed) -> None:
        first = take_in(toy, toy.drop(DAY))
        second = take_in(toy, toy.drop(DAY, "nonsense\n"))
        assert (second.status, second.supersedes) == ("rejected", None)
        assert toy.inbox().receipts.current(toy.marker(DAY)) == first

    def test_a_marker_that_was_merely_touched_is_unchanged(self, toy: ToyFeed) -> None:
        first = take_in(toy, toy.drop(DAY))
        again = take_in(toy, toy.drop(DAY))
        assert (again.status, again.supersedes) == ("unchanged", first.batch_id)
        assert toy.inbox().lake.find(Staged, again.batch_id) is None
        assert toy.inbox().receipts.current(toy.marker(DAY)) == first

    def test_a_replay_is_processed_though_nothing_changed(self, toy: ToyFeed) -> None:
        first = take_in(toy, toy.drop(DAY))
        again = take_in(toy, toy.inbox().replay(first.batch_id))
        assert (again.status, again.supersedes) == ("accepted", first.batch_id)


@pytest.mark.invariant(5)
def test_a_bad_batch_does_not_stop_the_good_ones_of_its_shard(toy: ToyFeed) -> None:
    markers = [toy.drop("2026-11-01"), toy.drop("2026-11-02", "no"), toy.drop("2026-11-03")]
    done = run_stage("ingest", toy.dataset, toy.inbox(), [Delivery(m) for m in markers])
    assert [d.status for d in done] == ["accepted", "rejected", "accepted"]


@pytest.mark.invariant(5)
def test_a_machine_that_fails_on_one_batch_still_does_the_others_and_says_so(
    toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    markers = [toy.drop("2026-11-01"), toy.drop("2026-11-02")]
    inbox = toy.inbox()
    fetch = inbox.landing.store.fetch

    def flaky(key: str, target: Path, *rest: Any) -> object:
        if "11-01" in key:
            raise StoreUnavailable(key, "Input/output error")
        return fetch(key, target, *rest)

    monkeypatch.setattr(inbox.landing.store, "fetch", flaky)
    with pytest.raises(StoreUnavailable):
        run_stage("ingest", toy.dataset, inbox, [Delivery(marker) for marker in markers])
    assert toy.inbox().pending() == markers[:1]


def test_what_passes_between_tasks_survives_xcom(toy: ToyFeed) -> None:
    marker = toy.drop(DAY)
    delivery = replace(Delivery(marker), status="accepted", rows=3, rejected_rows=1)
    assert Delivery.from_dict(json.loads(json.dumps(delivery.to_dict()))) == delivery


def test_a_marker_that_vanishes_between_two_looks_is_said_as_such(
    toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by seed 92511: files could not be read, and the marker went as that was looked into."""
    marker, inbox = toy.drop("2026-11-01"), toy.inbox()
    monkeypatch.setattr(inbox, "gone", lambda _: None)
    (toy.landing / marker.key).unlink()
    with pytest.raises(StoreUnavailable, match="vanished while its batch was read"):
        copy_batch._check_readable(inbox, marker)
