"""What late evaluations leave behind goes, and what counts or may be asked for stays."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from flagfall.dataset.outcomes import rows_are_kept
from flagfall.lake.outcomes import FOLDER, KNOWN, MATCHED
from flagfall.landing.marker import Marker
from flagfall.upkeep.run import do_upkeep, plan_upkeep
from tests.late import AnyLateFeeds, make_late, make_late_s3

DAY, NEXT, LATER = "2026-11-20", "2026-11-21", "2026-11-22"


@pytest.fixture(params=["disk", "s3"])
def feeds(request: pytest.FixtureRequest, tmp_path: Path) -> AnyLateFeeds:
    if request.param == "disk":
        return make_late(tmp_path)
    return make_late_s3(tmp_path, request.getfixturevalue("bucket"))


def maintain(feeds: AnyLateFeeds) -> dict[str, int]:
    """A round of upkeep: objects that went, by kind."""
    dataset, inbox = feeds.toy.dataset, feeds.toy.inbox(feeds.clock)
    done = do_upkeep(dataset, inbox, plan_upkeep(dataset, inbox))
    done.check()
    assert "replaced outcomes of" in next(done.sentences())
    return {kind: counts["objects"] for kind, counts in done.to_dict().items()}


def names(feeds: AnyLateFeeds, folder: str) -> set[str]:
    return set(feeds.toy.inbox().lake.store.names(folder))


def twice_known(feeds: AnyLateFeeds) -> Marker:
    scored = feeds.score(DAY)
    for day, delay in ((NEXT, 30), (LATER, 0)):
        feeds.happen(day, f"id,delay\n1,{delay}\n")
        feeds.learn()
    return scored


def test_outcomes_go_a_day_after_a_later_evaluation_and_those_that_count_stay(
    feeds: AnyLateFeeds,
) -> None:
    scored = twice_known(feeds)
    feeds.score("2026-11-19", "id,value\n8,0.5\n")
    feeds.happen("2026-11-23", "id,delay\n8,0\n")
    feeds.learn()
    evaluations = names(feeds, FOLDER)
    assert len(names(feeds, KNOWN)) == 3
    feeds.clock.advance(timedelta(hours=23))
    assert maintain(feeds) == {"known": 0, "matched": 0}
    feeds.clock.advance(timedelta(hours=2))
    assert maintain(feeds) == {"known": 1, "matched": 0}
    known = feeds.known(scored)
    assert known is not None
    assert known.number == 2
    assert {f"{KNOWN}/{scored.batch_id}/{part.name}" for part in known.parts} < names(feeds, KNOWN)
    feeds.clock.advance(timedelta(days=400))
    assert maintain(feeds)["known"] == 0
    assert names(feeds, FOLDER) == evaluations


def test_a_part_that_no_evaluation_names_yet_stays(feeds: AnyLateFeeds) -> None:
    """Its worker may be about to write the record."""
    scored, store = twice_known(feeds), feeds.toy.inbox().lake.store
    begun = f"{KNOWN}/{scored.batch_id}/000003-abc-part-00000.parquet"
    store.put(begun, b"x")
    feeds.clock.advance(timedelta(days=2))
    assert maintain(feeds)["known"] == 1
    assert begun in names(feeds, KNOWN)


def test_look_ups_go_when_their_delivery_cannot_be_asked_for(feeds: AnyLateFeeds) -> None:
    twice_known(feeds)
    assert feeds.toy.dataset.late_label is not None
    feeds.clock.advance(rows_are_kept(feeds.toy.dataset.late_label) + timedelta(hours=23))
    assert maintain(feeds)["matched"] == 0
    assert len(names(feeds, MATCHED)) == 2
    feeds.clock.advance(timedelta(hours=2))
    assert maintain(feeds)["matched"] == 2
    assert names(feeds, MATCHED) == set()
    assert feeds.learn().failures == ()


def test_what_is_needed_is_not_looked_up_again_although_staged_outcomes_are_gone(
    tmp_path: Path,
) -> None:
    feeds = make_late(tmp_path)
    twice_known(feeds)
    for file in (tmp_path / "truth/lake/truth/staged").glob("*/*"):
        file.unlink()
    feeds.clock.advance(timedelta(days=29))
    maintain(feeds)
    assert feeds.learn().failures == ()
