"""An operator that looks at every feed and tells people what is new: also that nobody watches.

A watcher on the triggerer has no task that could fail. If the triggerer stalls, no run starts, and
no run can tell. So somebody else has to look: this operator, in a DAG with a schedule.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import usable_datasets
from flagfall.dataset.schema import Dataset
from flagfall.errors import printable
from flagfall.inbox.inbox import Inbox
from flagfall.ledger.note import note_standing
from flagfall.operators.metrics import measure_verdict
from flagfall.operators.notices import send_anyway, tell
from flagfall.triggers import connections
from flagfall.verdict.look import look
from flagfall.verdict.verdict import Verdict, judge

if TYPE_CHECKING:
    from airflow.sdk import Context

connections.use()

AWAY = "away"
"""Key of the XCom with the feeds whose lake could not be reached."""


class WatchmanOperator(BaseOperator):
    """Judges every feed, writes down how it stands, and tells what has not been told.

    The page in Airflow shows what is written down. A feed that names no notifiers tells nobody.

    Where Airflow sends metrics it judges the others, too, and sends how each stands.

    What was told is in each feed's lake. Where a lake cannot be reached, that is told once: the
    operator's own XCom remembers it.

    Args:
        datasets: Folder of the dataset files.
    """

    ui_color = "#f5e3e3"

    def __init__(self, *, datasets: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.datasets = datasets

    def execute(self, context: Context) -> dict[str, str]:
        """Look at every feed.

        Returns:
            The verdict of each feed, in one word.
        """
        before = set(_away_before(context))
        found: dict[str, str] = {}
        away: list[str] = []
        for dataset in usable_datasets(self.datasets)[0]:
            inbox = Inbox(Feed.of(dataset))
            facts = look(dataset, inbox)
            verdict = judge(dataset, facts)
            self.log.info("%s", printable(f"{dataset.name}: {verdict.sentence}"))
            found[dataset.name] = verdict.word
            note_standing(dataset, inbox, facts, verdict)
            measure_verdict(inbox, verdict)
            if not tell(dataset, inbox, verdict, context):
                away.append(dataset.name)
            _tell_of_lake(dataset, verdict, context, dataset.name in away, before)
        context["ti"].xcom_push(key=AWAY, value=away)
        return found


def _tell_of_lake(
    dataset: Dataset, verdict: Verdict, context: Context, is_away: bool, before: set[str]
) -> None:
    """Tell once that a lake, where it would be noted what was told, cannot be reached."""
    if is_away and dataset.name not in before:
        send_anyway(dataset, verdict.sentence, "failed", context)
    elif not is_away and dataset.name in before:
        send_anyway(dataset, "over: the lake can be reached again", "recovered", context)


def _away_before(context: Context) -> Iterable[str]:
    """Feeds whose lake the run before this one could not reach."""
    instance = context["ti"]
    task_id = instance.task_id
    found = instance.xcom_pull(task_ids=task_id, key=AWAY, include_prior_dates=True)
    return found if isinstance(found, list) else ()
