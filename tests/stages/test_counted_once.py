"""No file counts in two batches; none that looks like a batch's is left out without a word."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import pytest

from flagfall import rows
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.errors import Damaged, StoreUnavailable
from flagfall.inbox.inbox import Inbox
from flagfall.lake.file_owners import FileOwners
from flagfall.lake.receipts import current_view
from flagfall.lake.records import LEFT_OUT_BYTES, LeftOut, Receipt
from flagfall.landing.beside import OTHER_FORM
from flagfall.landing.marker import Marker
from flagfall.rows import Checked
from flagfall.stages import counted_once
from flagfall.stages.ingest import ingest
from flagfall.stores import EPOCH

FEED = """\
title: A toy feed
landing: {{uri: {root}/landing, marker: "{marker}"}}
lake: {{uri: {root}/lake}}
schema:
  fields:
    - {{name: id, type: integer, constraints: {{required: true}}}}
    - {{name: station, type: string}}
"""


@dataclass(frozen=True)
class Toy:
    """A feed without a primary key: nothing else notices rows that count twice."""

    landing: Path
    dataset: Dataset

    @property
    def inbox(self) -> Inbox:
        return Inbox(Feed.of(self.dataset))

    def put(self, name: str, text: str | bytes) -> None:
        path = self.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    def csv(self, name: str, *ids: int) -> None:
        self.put(name, "id,station\n" + "".join(f"{n},\n" for n in ids))

    def take_in(self, *markers: str) -> list[Receipt]:
        """Drop markers one by one, each taken in before the next comes."""
        found = []
        for marker in markers:
            self.put(marker, "")
            found += [ingest(self.dataset, self.inbox, m) for m in self.inbox.pending()]
        return [receipt for receipt in found if receipt is not None]

    @property
    def counted(self) -> list[str]:
        """Every file of the current view, as often as it counts."""
        receipts = current_view(self.inbox.receipts.since(EPOCH.date()))
        return sorted(name for receipt in receipts for name in receipt.content)


def feed(root: Path, marker: str) -> Toy:
    (root / "datasets").mkdir()
    path = root / "datasets/toy.yaml"
    path.write_text(FEED.format(root=root, marker=marker))
    (root / "landing").mkdir()
    return Toy(root / "landing", read_dataset(path))


@pytest.fixture
def shared(tmp_path: Path) -> Toy:
    """A feed whose markers share one folder."""
    return feed(tmp_path, "{name}.ready")


@pytest.fixture
def folders(tmp_path: Path) -> Toy:
    """A feed of a folder for each day."""
    return feed(tmp_path, "{day}/_SUCCESS")


def package(*names: str) -> str:
    return json.dumps({"resources": [{"path": name} for name in names]})


class TestNoFileInTwoBatches:
    @pytest.mark.parametrize(
        "order", [("orders.ready", "orders_2.ready"), ("orders_2.ready", "orders.ready")]
    )
    def test_in_whatever_order_markers_come(self, shared: Toy, order: tuple[str, str]) -> None:
        shared.csv("orders.csv", 1)
        shared.csv("orders_2.csv", 2)
        shared.take_in(*order)
        assert shared.counted == ["orders.csv", "orders_2.csv"]

    def test_the_later_one_is_refused_and_says_whose_it_is(self, shared: Toy) -> None:
        shared.csv("orders.csv", 1)
        shared.csv("orders_2.csv", 2)
        _, later = shared.take_in("orders.ready", "orders_2.ready")
        assert (later.status, later.reason) == ("rejected", "file-of-another-batch")
        assert "'orders_2.csv' counts in the batch of" in later.message
        assert "orders.ready already" in later.message

    def test_what_the_message_says_helps(self, shared: Toy) -> None:
        shared.csv("orders.csv", 1)
        shared.csv("orders_2.csv", 2)
        shared.take_in("orders.ready", "orders_2.ready")
        for marker in ("orders.ready", "orders_2.ready"):
            shared.put(marker, " ")
            (again,) = [ingest(shared.dataset, shared.inbox, m) for m in shared.inbox.pending()]
            assert again is not None
            assert again.status == "accepted"
        assert shared.counted == ["orders.csv", "orders_2.csv"]

    def test_the_marker_of_a_batch_that_counts_may_be_removed(self, shared: Toy) -> None:
        shared.csv("orders_2.csv", 2)
        shared.csv("orders.csv", 1)
        shared.take_in("orders_2.ready")
        (shared.landing / "orders_2.ready").unlink()
        (later,) = shared.take_in("orders.ready")
        assert later.reason == "file-of-another-batch"
        assert shared.counted == ["orders_2.csv"]

    def test_two_manifests_that_name_one_file(self, shared: Toy) -> None:
        shared.csv("x.csv", 1)
        for name in ("a.ready", "b.ready"):
            shared.put(name, package("x.csv"))
        for marker in shared.inbox.pending():
            ingest(shared.dataset, shared.inbox, marker)
        assert shared.counted == ["x.csv"]

    @pytest.mark.parametrize("first", ["a", "x"])
    def test_a_manifest_and_an_empty_marker(self, shared: Toy, first: str) -> None:
        shared.csv("x.csv", 1)
        contents = {"a": package("x.csv"), "x": ""}
        for name in (first, *contents.keys() - {first}):
            shared.put(f"{name}.ready", contents[name])
            for marker in shared.inbox.pending():
                ingest(shared.dataset, shared.inbox, marker)
        assert shared.counted == ["x.csv"]

    def test_two_manifests_of_other_folders_that_name_one_file(self, folders: Toy) -> None:
        folders.csv("common/x.csv", 1)
        url = f"file://{folders.landing}/common/x.csv"
        for day in ("mon", "tue"):
            folders.put(f"{day}/_SUCCESS", json.dumps({"entries": [{"url": url}]}))
        for marker in folders.inbox.pending():
            ingest(folders.dataset, folders.inbox, marker)
        assert folders.counted == ["common/x.csv"]

    @pytest.mark.parametrize("first", ["mon", "tue"])
    def test_a_manifest_that_names_a_file_in_the_folder_of_another_marker(
        self, folders: Toy, first: str
    ) -> None:
        """Whichever comes first, and though the first marker is removed before the other comes."""
        folders.csv("tue/x.csv", 1)
        url = f"file://{folders.landing}/tue/x.csv"
        contents = {"mon": json.dumps({"entries": [{"url": url}]}), "tue": ""}
        for day in (first, *contents.keys() - {first}):
            folders.put(f"{day}/_SUCCESS", contents[day])
            for marker in folders.inbox.pending():
                ingest(folders.dataset, folders.inbox, marker)
            (folders.landing / day / "_SUCCESS").unlink()
        assert folders.counted == ["tue/x.csv"]

    def test_a_file_is_free_again_when_its_batch_is_rejected(self, shared: Toy) -> None:
        shared.put("x.csv", "other\n1\n")
        for name in ("a.ready", "b.ready"):
            shared.put(name, package("x.csv"))
            (receipt,) = [ingest(shared.dataset, shared.inbox, m) for m in shared.inbox.pending()]
            assert receipt is not None
            assert receipt.reason == "columns"

    def test_a_file_is_free_again_when_a_correction_does_without_it(self, shared: Toy) -> None:
        shared.csv("x.csv", 1)
        shared.csv("y.csv", 2)
        for name, content in (("a", "x.csv"), ("a", "y.csv"), ("b", "x.csv")):
            shared.put(f"{name}.ready", package(content))
            for marker in shared.inbox.pending():
                ingest(shared.dataset, shared.inbox, marker)
        assert shared.counted == ["x.csv", "y.csv"]

    def test_a_batch_that_is_being_taken_in_keeps_its_files(self, shared: Toy) -> None:
        shared.csv("x.csv", 1)
        shared.put("a.ready", package("x.csv"))
        (dying,) = shared.inbox.pending()
        FileOwners(shared.inbox.lake.store).claim("x.csv", dying)
        shared.put("b.ready", package("x.csv"))
        found = {
            m.key: ingest(shared.dataset, shared.inbox, m) for m in shared.inbox.pending()[::-1]
        }
        statuses = {key: receipt.status for key, receipt in found.items() if receipt}
        assert statuses == {"a.ready": "accepted", "b.ready": "rejected"}

    @pytest.mark.parametrize("content", ["", "{}", '{"marker": 7}'])
    def test_a_damaged_note_of_whose_a_file_is_is_named_with_the_remedy(
        self, shared: Toy, content: str
    ) -> None:
        shared.csv("x.csv", 1)
        shared.put("a.ready", package("x.csv"))
        (marker,) = shared.inbox.pending()
        FileOwners(shared.inbox.lake.store).claim("x.csv", marker)
        (note,) = shared.inbox.lake.store.names("counted")
        shared.inbox.lake.store.put(note, content.encode())
        says = f"{note}: this note of the batch in which 'x.csv' counts is damaged; restore it"
        with pytest.raises(Damaged, match=re.escape(says)):
            ingest(shared.dataset, shared.inbox, marker)

    @pytest.mark.parametrize("also", ["a.ready", "c.ready"], ids=["its correction", "a third one"])
    def test_a_file_that_a_rejection_sets_free_goes_to_one_of_two_who_take_it_at_once(
        self, shared: Toy, monkeypatch: pytest.MonkeyPatch, also: str
    ) -> None:
        shared.csv("x.csv", 1)
        shared.put("bad.csv", "id,station\nno number,\n")
        shared.put("a.ready", package("x.csv", "bad.csv"))
        (first,) = shared.inbox.pending()
        assert ingest(shared.dataset, shared.inbox, first) is not None
        for name in ("b.ready", also):
            shared.put(name, package("x.csv"))
        pending = {marker.key: marker for marker in shared.inbox.pending()}
        decide = counted_once._counts_in

        def decide_late(inbox: Inbox, other: Marker, key: str) -> bool:
            """Another worker takes the batch of the other one in meanwhile."""
            decided = decide(inbox, other, key)
            monkeypatch.setattr(counted_once, "_counts_in", decide)
            ingest(shared.dataset, shared.inbox, pending[also])
            return decided

        monkeypatch.setattr(counted_once, "_counts_in", decide_late)
        with pytest.raises(StoreUnavailable, match="meanwhile"):
            ingest(shared.dataset, shared.inbox, pending["b.ready"])
        again = ingest(shared.dataset, shared.inbox, pending["b.ready"])
        assert again is not None
        assert again.reason == "file-of-another-batch"
        assert shared.counted == ["x.csv"]

    @pytest.mark.parametrize("how", ["removed", "written again"])
    def test_a_marker_that_leaves_while_its_rows_are_checked_leaves_its_file_to_another_batch(
        self, shared: Toy, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        shared.csv("x.csv", 1)
        for name in ("a.ready", "b.ready"):
            shared.put(name, package("x.csv"))
        pending = {marker.key: marker for marker in shared.inbox.pending()}

        def check_files(*args: Any) -> Checked:
            """Another worker takes the other batch in meanwhile."""
            monkeypatch.undo()
            (shared.landing / "a.ready").unlink()
            if how == "written again":
                shared.put("a.ready", package("y.csv"))
            ingest(shared.dataset, shared.inbox, pending["b.ready"])
            return rows.check_files(*args)

        monkeypatch.setattr("flagfall.stages.ingest.check_files", check_files)
        assert ingest(shared.dataset, shared.inbox, pending["a.ready"]) is None
        assert ingest(shared.dataset, shared.inbox, pending["a.ready"]) is None
        assert shared.counted == ["x.csv"]


class TestTheSameBytesTwice:
    def test_they_are_refused_with_both_names(self, folders: Toy) -> None:
        folders.csv("mon/a.csv", 1)
        folders.csv("mon/b.csv", 1)
        (receipt,) = folders.take_in("mon/_SUCCESS")
        assert receipt.reason == "same-content"
        assert "mon/a.csv and mon/b.csv have the same bytes" in receipt.message

    def test_files_without_rows_may_be_the_same(self, folders: Toy) -> None:
        for name in "abc":
            folders.csv(f"mon/{name}.csv")
        folders.csv("mon/d.csv", 1)
        (receipt,) = folders.take_in("mon/_SUCCESS")
        assert (receipt.status, receipt.rows) == ("accepted", 1)

    def test_files_may_be_the_same_where_their_folders_are_columns(self, folders: Toy) -> None:
        for station in ("JFK", "LGA"):
            folders.put(f"mon/station={station}/a.csv", "id\n1\n")
        (receipt,) = folders.take_in("mon/_SUCCESS")
        assert (receipt.status, receipt.rows) == ("accepted", 2)

    def test_a_file_in_two_forms_is_refused(self, folders: Toy) -> None:
        folders.csv("mon/a.csv", 1)
        folders.put("mon/a.csv.gz", gzip.compress(b"id,station\n1,\n"))
        (receipt,) = folders.take_in("mon/_SUCCESS")
        assert receipt.reason == "two-forms"


class TestNoneIsLeftOutWithoutAWord:
    def test_the_receipt_names_what_an_empty_marker_leaves_out(self, shared: Toy) -> None:
        shared.csv("orders.csv", 1)
        shared.csv("orders.eu.csv", 2)
        (receipt,) = shared.take_in("orders.ready")
        assert receipt.left_out.files == 1
        assert list(receipt.left_out.names) == ["orders.eu.csv"]
        assert list(receipt.content) == ["orders.csv"]

    def test_so_it_does_for_a_marker_that_names_files(self, folders: Toy) -> None:
        folders.csv("mon/a.csv", 1)
        folders.csv("mon/b.csv", 2)
        folders.put("mon/_SUCCESS", package("a.csv"))
        for marker in folders.inbox.pending():
            receipt = ingest(folders.dataset, folders.inbox, marker)
            assert receipt is not None
            assert receipt.left_out.names == {"mon/b.csv": "the marker does not name it"}

    def test_a_batch_of_nothing_else_is_told_what_was_left_out(self, shared: Toy) -> None:
        shared.csv("orders.eu.csv", 2)
        (receipt,) = shared.take_in("orders.ready")
        assert receipt.reason == "no-data"
        assert "1 file was left out: 'orders.eu.csv'" in receipt.message

    def test_a_marker_of_a_hidden_name_can_have_no_data(self, shared: Toy) -> None:
        shared.csv("_orders.csv", 2)
        (receipt,) = shared.take_in("_orders.ready")
        assert receipt.reason == "no-data"
        assert receipt.message.endswith(
            "such files are hidden, and no data: give files and marker a name without it"
        )

    @pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")], ids="->".join)
    def test_nor_is_one_whose_name_only_looks_the_same(
        self, shared: Toy, forms: tuple[Literal["NFC", "NFD"], Literal["NFC", "NFD"]]
    ) -> None:
        """A Mac may write é as two characters, where other machines write one."""
        own, other = (normalize(form, "caf\u00e9") for form in forms)
        shared.csv(f"{own}.csv", 1)
        shared.csv(f"{other}_2.csv", 2)
        (receipt,) = shared.take_in(f"{own}.ready")
        assert receipt.rows == 1
        assert receipt.left_out.names == {f"{other}_2.csv": OTHER_FORM}

    def test_a_batch_that_is_rejected_or_unchanged_says_it_too(self, shared: Toy) -> None:
        shared.put("orders.csv", "id,station\nx,\n")
        shared.csv("orders.eu.csv", 2)
        (rejected,) = shared.take_in("orders.ready")
        shared.csv("orders.csv", 1)
        shared.put("orders.ready", " ")
        shared.take_in()
        for marker in shared.inbox.pending():
            ingest(shared.dataset, shared.inbox, marker)
        shared.put("orders.ready", "  ")
        (marker,) = shared.inbox.pending()
        unchanged = ingest(shared.dataset, shared.inbox, marker)
        assert unchanged is not None
        assert (rejected.status, unchanged.status) == ("rejected", "unchanged")
        assert rejected.left_out.files == unchanged.left_out.files == 1

    def test_names_are_bounded_in_number_and_bytes(self) -> None:
        many = LeftOut.of({f"{n:05}.csv": "why" for n in range(10_000)})
        assert (many.files, len(many.names)) == (10_000, 20)
        long = LeftOut.of({f"{n}" * 1000: "why" for n in range(9)})
        assert long.files == 9
        assert len(json.dumps(long.names)) < LEFT_OUT_BYTES
        assert "9,999 more" not in many.sentence()
        assert "9,997 more" in many.sentence()

    def test_a_name_that_is_not_text_can_be_kept(self) -> None:
        assert LeftOut.of({"\udcff.csv": "why"}).model_dump_json()


@pytest.mark.invariant(1)
@pytest.mark.parametrize("marker", ["{name}.ready", "{name}/_SUCCESS"])
def test_a_correction_where_the_landing_zone_was_moved_meanwhile_is_the_same_batch(
    tmp_path: Path, marker: str
) -> None:
    toy = feed(tmp_path, marker)
    key = marker.format(name="orders")
    data = "orders.csv" if key.endswith(".ready") else "orders/rows.csv"
    toy.csv(data, 1)
    (first,) = toy.take_in(key)
    toy.landing.rename(tmp_path / "moved")
    path = tmp_path / "datasets/toy.yaml"
    path.write_text(path.read_text().replace(f"{tmp_path}/landing", f"{tmp_path}/moved"))
    moved = Toy(tmp_path / "moved", read_dataset(path))
    moved.csv(data, 1, 2)
    (second,) = moved.take_in(key)
    assert (second.status, second.supersedes) == ("accepted", first.batch_id)
    assert moved.counted == [data]
