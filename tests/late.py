"""Two toy feeds: ``toy``, whose rows are scored, and ``truth``, which brings what happened."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from flagfall.dataset.loader import read_dataset
from flagfall.lake.outcomes import last_late
from flagfall.lake.records import LateEvaluation
from flagfall.landing.marker import Marker
from flagfall.stages import STAGES
from flagfall.stages.outcomes import Learned, learn
from flagfall.stages.shard import Delivery, run_stage
from tests.feeds import BY_DAY, Clock, S3Feed, ToyFeed
from tests.scored import make_scored_s3_toy, make_scored_toy

SCORED = "id,value\n1,0.9\n2,0.7\n3,0.6\n4,0.2\n"
"""Scores are values."""
NOW = timedelta()
LABEL = "label: {{from: truth, expr: delay > 15, title: Late{more}}}\n"
TRUTH = """\
title: What happened
landing: {{uri: {root}/truth/landing, marker: "date={{date}}/datapackage.json", settle: 1s}}
lake: {{uri: {root}/truth/lake}}
schema:
  fields:
    - {{name: id, type: integer, constraints: {{required: true}}}}
    - {{name: delay, type: number}}
  primaryKey: [id]
{more}
"""


@dataclass(frozen=True)
class AnyLateFeeds:
    """Both feeds, each with a landing zone and a lake of its own."""

    toy: ToyFeed | S3Feed
    truth: ToyFeed | S3Feed
    clock: Clock

    def score(self, day: str, text: str = SCORED, ago: timedelta = NOW) -> Marker:
        """Publish a day of rows and have it scored; it landed some time ago."""
        marker = self.toy.drop(day, text)
        return self.score_again(replace(marker, landed_at=marker.landed_at - ago))

    def score_again(self, marker: Marker) -> Marker:
        """Have a delivery scored."""
        return _run(self.toy, self.clock, marker, STAGES)

    def happen(self, day: str, text: str, ago: timedelta = NOW) -> Marker:
        """Publish outcomes and have them taken in; they landed some time ago."""
        marker = self.truth.drop(day, text)
        return self.take_again(replace(marker, landed_at=marker.landed_at - ago))

    def take_again(self, marker: Marker) -> Marker:
        """Have a delivery of outcomes taken in."""
        return _run(self.truth, self.clock, marker, STAGES[:1])

    def learn(self, run: str = "") -> Learned:
        """Evaluate what outcomes have come."""
        toy, truth = (feed.inbox(self.clock) for feed in (self.toy, self.truth))
        return learn(self.toy.dataset, toy, self.truth.dataset, truth, run)

    def known(self, marker: Marker) -> LateEvaluation | None:
        """The evaluation of a batch that counts."""
        inbox = self.toy.inbox(self.clock)
        receipt = inbox.receipts.find(marker)
        assert receipt is not None
        return last_late(inbox.lake.store, [receipt]).get(marker.batch_id)


def _run(feed: ToyFeed | S3Feed, clock: Clock, marker: Marker, stages: tuple[str, ...]) -> Marker:
    inbox = feed.inbox(clock)
    deliveries = [Delivery(marker)]
    for stage in stages:
        deliveries = run_stage(stage, feed.dataset, inbox, deliveries)
    return marker


@dataclass(frozen=True)
class LateFeeds(AnyLateFeeds):
    """Both on a disk."""

    toy: ToyFeed
    truth: ToyFeed


def make_late_s3(root: Path, bucket: str) -> AnyLateFeeds:
    """Both feeds in a bucket; their files are below ``root``."""
    toy = make_scored_s3_toy(root, bucket, LABEL.format(more=""))
    file = root / "datasets" / "truth.yaml"
    file.write_text(TRUTH.format(root=f"s3://{bucket}", more=BY_DAY))
    return AnyLateFeeds(toy, S3Feed(root / "truth", bucket, read_dataset(file)), Clock())


def in_tables(feeds: AnyLateFeeds) -> AnyLateFeeds:
    """The same feeds, and tables of the one that is scored."""
    lake = feeds.toy.dataset.lake.model_copy(update={"table": "delta"})
    dataset = feeds.toy.dataset.model_copy(update={"lake": lake})
    return AnyLateFeeds(replace(feeds.toy, dataset=dataset), feeds.truth, feeds.clock)


def make_late(root: Path, label: str = "", thresholds: str = "", truth: str = "") -> LateFeeds:
    """Both feeds.

    Args:
        root: Folder of all that belongs to them.
        label: More settings of ``label``, after a comma.
        thresholds: More of them.
        truth: YAML for the end of ``truth.yaml``.
    """
    late = make_scored_toy(root, LABEL.format(more=label))
    toy = _with_thresholds(late, thresholds)
    file = root / "datasets" / "truth.yaml"
    file.write_text(TRUTH.format(root=root, more=truth))
    return LateFeeds(toy, ToyFeed(root / "truth", read_dataset(file)), Clock())


def _with_thresholds(toy: ToyFeed, thresholds: str) -> ToyFeed:
    file = toy.root / "datasets" / "toy.yaml"
    text = file.read_text().replace("rejected_share: 0.5", f"rejected_share: 0.5, {thresholds}")
    file.write_text(text)
    return ToyFeed(toy.root, read_dataset(file))
