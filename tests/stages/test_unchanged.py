"""A marker that is looked at again: what its batch holds decides whether it brings anything new."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest

from flagfall.errors import StoreUnavailable
from flagfall.lake.receipts import Receipts, current_view
from flagfall.lake.records import Receipt, Staged
from flagfall.stages.ingest import ingest
from flagfall.stages.unchanged import CLEARED
from flagfall.stores import EPOCH, Fetched
from flagfall.stores.copying import digest_of
from tests.feeds import ToyFeed, make_s3_toy, make_toy

DAY = "2026-11-01"
WRONG, RIGHT = "id,value\n1,10\n", "id,value\n1,99\n2,99\n"


def _die(*_: object) -> int:
    raise KeyboardInterrupt


@pytest.fixture
def plain(tmp_path: Path) -> ToyFeed:
    """A feed with an empty marker."""
    toy = make_toy(tmp_path, marker="_SUCCESS")
    toy.landing.mkdir()
    return toy


def prepare(toy: ToyFeed, text: str) -> Path:
    """A batch in its producer's folder: its marker is a template, as old as ever."""
    folder = toy.root / "outbox" / f"date={DAY}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.csv").write_text(text)
    (folder / "_SUCCESS").touch()
    for file in folder.iterdir():
        os.utime(file, (1_600_000_000, 1_600_000_000))
    return folder


def shell(command: str) -> None:
    subprocess.run(command, shell=True, check=True)


DELIVERIES = {
    "cp -a": "cp -a {source} {landing}/",
    "cp -p": "mkdir -p {day} && cp -p {source}/rows.csv {source}/_SUCCESS {day}/",
    "tar": "tar -C {source}/.. -cf - {name} | tar -C {landing} -xf -",
    "renamed": "mkdir -p {day} && cp {source}/rows.csv {day}/ && cp -p {source}/_SUCCESS {day}/.t"
    " && mv {day}/.t {day}/_SUCCESS",
}


def deliver(toy: ToyFeed, how: str, text: str) -> None:
    source, day = prepare(toy, text), toy.folder(DAY)
    places = {"source": source, "name": source.name, "landing": toy.landing, "day": day}
    shell(DELIVERIES[how].format(**places))


def take_in(toy: ToyFeed) -> Receipt:
    (marker,) = toy.inbox().pending()
    receipt = ingest(toy.dataset, toy.inbox(), marker)
    assert receipt is not None
    return receipt


def rows(toy: ToyFeed) -> list[tuple[int, float]]:
    """What counts."""
    inbox = toy.inbox()
    found: list[tuple[int, float]] = []
    for receipt in current_view(inbox.receipts.since(EPOCH.date())):
        staged = inbox.lake.find(Staged, receipt.batch_id)
        assert staged is not None
        for part in inbox.lake.parts(staged, toy.root):
            found += pl.read_parquet(part).rows()
    return sorted(found)


@pytest.mark.invariant(1)
@pytest.mark.parametrize("away_first", [True, False], ids=["removed first", "copied over"])
@pytest.mark.parametrize("how", DELIVERIES)
def test_a_correction_with_the_old_size_mtime_and_inode_is_a_delivery(
    plain: ToyFeed, how: str, away_first: bool
) -> None:
    deliver(plain, how, WRONG)
    first = take_in(plain)
    if away_first:
        shutil.rmtree(plain.folder(DAY))
    deliver(plain, how, RIGHT)
    second = take_in(plain)
    assert (second.status, second.supersedes) == ("accepted", first.batch_id)
    assert rows(plain) == [(1, 99.0), (2, 99.0)]
    assert plain.inbox().pending() == []


TOUCHES: dict[str, Callable[[Path], object]] = {
    "chmod -R": lambda folder: shell(f"chmod -R g+w {folder}"),
    "touch": lambda folder: (folder / "_SUCCESS").touch(),
    "hard link": lambda folder: os.link(folder / "_SUCCESS", folder / f".{uuid4()}"),
    "stray file": lambda folder: (folder / ".DS_Store").touch(),
    "same again": lambda folder: (folder / "rows.csv").write_text(RIGHT),
}


@pytest.mark.invariant(3)
@pytest.mark.parametrize("name", TOUCHES)
def test_a_look_that_finds_the_same_files_ends_as_unchanged(plain: ToyFeed, name: str) -> None:
    deliver(plain, "cp -p", RIGHT)
    first = take_in(plain)
    for _ in range(2):
        TOUCHES[name](plain.folder(DAY))
        (plain.folder(DAY) / "_SUCCESS").touch()
        again = take_in(plain)
        assert (again.status, again.supersedes) == ("unchanged", first.batch_id)
    assert rows(plain) == [(1, 99.0), (2, 99.0)]
    assert plain.inbox().pending() == []


def test_files_that_nobody_wrote_to_are_not_read_again_from_s3(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = make_s3_toy(tmp_path, bucket)
    inbox = feed.inbox()
    first = ingest(feed.dataset, inbox, feed.drop(DAY))
    assert first is not None
    again = replace(first.marker, version="touched")
    monkeypatch.setattr(inbox, "gone", lambda marker: None)
    monkeypatch.setattr(inbox.landing.store, "fetch", None)
    receipt = ingest(feed.dataset, inbox, again)
    assert receipt is not None
    assert receipt.status == "unchanged"


@pytest.mark.invariant(1)
def test_on_a_disk_the_files_are_read_however_little_their_versions_tell(
    plain: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sshfs shows no ctime, and its mtimes were restored."""
    monkeypatch.setattr("flagfall.stores.local.version_of", lambda status: str(status.st_size))
    monkeypatch.setattr("flagfall.stores.local_walk.version_of", lambda status: str(status.st_size))
    deliver(plain, "cp -p", WRONG)
    take_in(plain)
    deliver(plain, "cp -p", WRONG.replace("10", "99"))
    (plain.folder(DAY) / ".touched").touch()
    assert take_in(plain).status == "accepted"
    assert rows(plain) == [(1, 99.0)]


@pytest.mark.invariant(1)
def test_data_that_come_after_the_receipt_are_a_new_delivery(plain: ToyFeed) -> None:
    deliver(plain, "cp -p", WRONG)
    first = take_in(plain)
    (plain.folder(DAY) / "part-2.csv").write_text("id,value\n2,20\n")
    second = take_in(plain)
    assert (second.status, second.supersedes) == ("accepted", first.batch_id)
    assert rows(plain) == [(1, 10.0), (2, 20.0)]


@pytest.mark.invariant(1)
def test_data_that_come_after_a_rejection_are_a_new_delivery(plain: ToyFeed) -> None:
    plain.folder(DAY).mkdir()
    (plain.folder(DAY) / "_SUCCESS").touch()
    assert take_in(plain).reason == "no-data"
    (plain.folder(DAY) / "rows.csv").write_text(RIGHT)
    assert take_in(plain).status == "accepted"


@pytest.mark.parametrize("removed", [["rows.csv"], ["rows.csv", "more.csv"]])
def test_a_batch_that_was_cleaned_up_stays_as_it_was_taken_in(
    plain: ToyFeed, removed: list[str]
) -> None:
    deliver(plain, "cp -p", RIGHT)
    (plain.folder(DAY) / "more.csv").write_text("id,value\n3,3\n")
    first = take_in(plain)
    for name in removed:
        (plain.folder(DAY) / name).unlink()
    again = take_in(plain)
    assert (again.status, again.supersedes, again.message) == (
        "unchanged",
        first.batch_id,
        CLEARED,
    )
    assert len(rows(plain)) == 3


@pytest.mark.invariant(2)
def test_a_batch_that_is_written_again_while_it_is_copied_is_no_mixture(
    plain: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = plain.folder(DAY)
    day.mkdir()

    def write(first: str, second: str) -> None:
        (day / "a.csv").write_text(f"id,value\n{first}")
        (day / "b.csv").write_text(f"id,value\n{second}")

    write("1,1\n", "2,1\n")
    (day / "_SUCCESS").touch()
    inbox = plain.inbox()
    (marker,) = inbox.pending()
    fetch = inbox.landing.store.fetch

    def slowly(key: str, target: Path, *rest: object) -> object:
        if key.endswith("b.csv"):
            write("2,2\n", "1,2\n")  # in place: neither folder nor marker tells
        return fetch(key, target, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(inbox.landing.store, "fetch", slowly)
    assert ingest(plain.dataset, inbox, marker) is None
    assert rows(plain) == []
    assert take_in(plain).status == "accepted"
    assert rows(plain) == [(1, 2.0), (2, 2.0)]


@pytest.mark.invariant(1)
def test_a_file_that_grew_since_it_was_listed_is_taken_in_as_it_is(
    plain: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty marker promises no size, so none is broken."""
    deliver(plain, "cp -p", WRONG)
    inbox = plain.inbox()
    (marker,) = inbox.pending()
    fetch = inbox.landing.store.fetch

    def later(key: str, target: Path, *rest: object) -> object:
        (plain.folder(DAY) / "rows.csv").write_text(RIGHT)
        return fetch(key, target, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(inbox.landing.store, "fetch", later)
    receipt = ingest(plain.dataset, inbox, marker)
    assert receipt is not None
    assert (receipt.status, receipt.rows) == ("accepted", 2)


@pytest.mark.invariant(1)
def test_a_file_that_ended_early_is_no_batch_though_a_share_shows_it_as_it_was(
    plain: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut and written anew while it is read; the client's cache has its old attributes."""
    deliver(plain, "cp -p", RIGHT)
    inbox = plain.inbox()
    (marker,) = inbox.pending()
    fetch = inbox.landing.store.fetch

    def cut(key: str, target: Path, *_: object) -> Fetched:
        version = fetch(key, target).version
        half = target.read_bytes()[:-4]
        target.write_bytes(half)
        return replace(digest_of(target), version=version)

    monkeypatch.setattr(inbox.landing.store, "fetch", cut)
    assert ingest(plain.dataset, inbox, marker) is None
    assert rows(plain) == []
    assert take_in(plain).status == "accepted"


@pytest.mark.invariant(1)
def test_a_share_that_still_lists_a_marker_which_cannot_be_opened_any_more_is_not_believed(
    plain: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client answers from a cache; the server is asked when a file is opened."""
    deliver(plain, "cp -p", RIGHT)
    inbox = plain.inbox()
    (marker,) = inbox.pending()
    store = inbox.landing.store
    monkeypatch.setattr(type(store), "is_remote", True)
    seen = {key: store.stat(key) for key in (marker.key, f"{plain.folder(DAY).name}/rows.csv")}
    shown = store.find
    monkeypatch.setattr(store, "find", lambda keys: filter(None, map(seen.get, keys)))
    monkeypatch.setattr(inbox.landing, "find", lambda key: [marker])
    fetch = store.fetch

    def meanwhile(key: str, target: Path, *rest: object) -> object:
        found = fetch(key, target, *rest)  # type: ignore[arg-type]
        (plain.folder(DAY) / "_SUCCESS").unlink()
        return found

    monkeypatch.setattr(store, "fetch", meanwhile)
    assert next(iter(shown([marker.key])), None) is not None
    assert ingest(plain.dataset, inbox, marker) is None
    assert rows(plain) == []


@pytest.mark.invariant(3)
class TestAWorkerThatWasGivenUpAndGoesOn:
    def test_what_it_left_brings_nothing_new_where_the_same_files_were_accepted_meanwhile(
        self, plain: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deliver(plain, "cp -p", RIGHT)
        (first,) = plain.inbox().pending()
        os.utime(plain.folder(DAY) / "_SUCCESS")
        killed = plain.inbox()
        (second,) = killed.pending()
        with monkeypatch.context() as patch:
            patch.setattr(killed.receipts, "take_turn", _die)
            with pytest.raises(KeyboardInterrupt):
                ingest(plain.dataset, killed, second)
        slow = plain.inbox()
        with monkeypatch.context() as patch:  # it had looked at its marker before the touch
            patch.setattr(slow, "gone", lambda _: None)
            accepted = ingest(plain.dataset, slow, first)
        again = ingest(plain.dataset, plain.inbox(), second)
        assert accepted is not None
        assert again is not None
        assert (accepted.status, again.status) == ("accepted", "unchanged")

    def test_it_changes_no_part_that_counts(
        self, plain: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deliver(plain, "cp -p", WRONG)
        (marker,) = plain.inbox().pending()
        zombie = plain.inbox()
        put_file = zombie.lake.store.put_file

        def after_the_retry(source: Path, key: str) -> None:
            monkeypatch.undo()
            (plain.folder(DAY) / "rows.csv").write_text(RIGHT)
            retried = ingest(plain.dataset, plain.inbox(), marker)
            assert retried is not None
            assert retried.rows == 2
            put_file(source, key)

        monkeypatch.setattr(zombie.lake.store, "put_file", after_the_retry)
        receipt = ingest(plain.dataset, zombie, marker)
        assert receipt is not None
        assert receipt.rows == 2
        assert rows(plain) == [(1, 99.0), (2, 99.0)]
        assert len(list((plain.root / "lake/toy/staged").rglob("*.parquet"))) == 1

    def test_it_does_not_take_the_place_of_the_correction(
        self, plain: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deliver(plain, "cp -p", WRONG)
        zombie = plain.inbox()
        (marker,) = zombie.pending()
        take_turn = zombie.receipts.take_turn

        def after_the_correction(*given: object) -> int:
            deliver(plain, "cp -p", RIGHT)
            assert take_in(plain).status == "accepted"
            return take_turn(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(zombie.receipts, "take_turn", after_the_correction)
        with pytest.raises(StoreUnavailable, match="another delivery of this marker"):
            ingest(plain.dataset, zombie, marker)
        assert ingest(plain.dataset, plain.inbox(), marker) is None
        assert rows(plain) == [(1, 99.0), (2, 99.0)]

    def test_it_does_not_take_the_place_of_what_was_delivered_again_meanwhile(
        self, plain: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It has its turn, and its receipt is on the way."""
        deliver(plain, "cp -p", RIGHT)
        assert take_in(plain).status == "accepted"
        deliver(plain, "cp -p", WRONG)
        zombie = plain.inbox()
        (marker,) = zombie.pending()
        receive = zombie.receive

        def after_the_first_came_back(receipt: Receipt, **how: bool) -> Receipt:
            deliver(plain, "cp -p", RIGHT)
            assert take_in(plain).status == "accepted"
            return receive(receipt, **how)

        monkeypatch.setattr(zombie, "receive", after_the_first_came_back)
        assert ingest(plain.dataset, zombie, marker) is not None
        assert rows(plain) == [(1, 99.0), (2, 99.0)]
        assert plain.inbox().pending() == []


@pytest.mark.invariant(3)
def test_what_was_staged_long_ago_does_not_replace_what_was_decided_since(
    toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that stood still for an hour goes on while the share is away."""
    first = toy.drop("2026-11-01")
    with monkeypatch.context() as dying:
        dying.setattr(Receipts, "take_turn", _die)
        with pytest.raises(KeyboardInterrupt):
            ingest(toy.dataset, toy.inbox(), first)
    second = ingest(toy.dataset, toy.inbox(), toy.drop("2026-11-01", "id,value\n7,1\n"))
    toy.drop("2026-11-02")
    (toy.folder("2026-11-01") / "datapackage.json").unlink()
    assert ingest(toy.dataset, toy.inbox(), first) is None
    assert toy.inbox().receipts.current(first) == second
