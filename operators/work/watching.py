"""The task that looks at every feed and tells people what is new: also that nobody watches."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from flagfall.concurrency import AT_ONCE, aside
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import usable_datasets
from flagfall.dataset.schema import Dataset
from flagfall.errors import DatasetInvalid, StoreError, printable
from flagfall.inbox.inbox import Inbox
from flagfall.ledger.board import note_unreadable
from flagfall.ledger.note import note_standing
from flagfall.operators.metrics import measure_verdict
from flagfall.operators.notices import send_anyway, tell
from flagfall.verdict.look import look
from flagfall.verdict.verdict import Verdict, judge

if TYPE_CHECKING:
    from airflow.sdk import Context

    from flagfall.operators.watchman import WatchmanOperator

AWAY = "away"
"""Key of the XCom with the feeds whose lake could not be reached."""
LOOKED_WITHIN = 240.0
"""Seconds within which all feeds are looked at; one that takes longer is left to the next time."""
_AT_ONCE = BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True)
class _Looked:
    """A feed that was judged."""

    dataset: Dataset
    inbox: Inbox
    verdict: Verdict


def look_at_all(operator: WatchmanOperator, context: Context) -> dict[str, str]:
    """Look at every feed.

    Returns:
        The verdict of each feed, in one word.

    Raises:
        ExceptionGroup: What went wrong with single feeds, or is wrong in their files; all
            others were looked at.
    """
    before = set(_away_before(context))
    usable, unreadable = usable_datasets(operator.datasets)
    _note_unreadable(operator, usable, unreadable)
    looked, wrong = _look_at_all(operator, usable)
    asides = [aside(partial(_tell, one, context, before)) for one in looked]
    away = [one.dataset.name for one, told in zip(looked, asides, strict=True) if told.result()]
    context["ti"].xcom_push(key=AWAY, value=away)
    if wrong := [*unreadable, *wrong]:
        raise ExceptionGroup("feeds that could not be looked at; the others were", wrong)
    return {one.dataset.name: one.verdict.word for one in looked}


def _look_at_all(
    operator: WatchmanOperator, datasets: Iterable[Dataset]
) -> tuple[list[_Looked], list[Exception]]:
    """Side by side: a lake that hangs, or a mistake in the code, silences no other feed."""
    begun = [(one, aside(partial(_look_at, operator, one))) for one in datasets]
    give_up = time.monotonic() + LOOKED_WITHIN
    looked: list[_Looked] = []
    wrong: list[Exception] = []
    for dataset, found in begun:
        try:
            looked.append(found.result(max(give_up - time.monotonic(), 0)))
        except TimeoutError:
            why = f"{dataset.name}: no answer within {LOOKED_WITHIN:.0f} s"
            wrong.append(TimeoutError(why))
        except Exception as error:
            wrong.append(error)
    for one in wrong:
        operator.log.error("a feed could not be looked at", exc_info=one)
    return looked, wrong


def _look_at(operator: WatchmanOperator, dataset: Dataset) -> _Looked:
    with _AT_ONCE:
        inbox = Inbox(Feed.of(dataset))
        facts = look(dataset, inbox)
        verdict = judge(dataset, facts)
        operator.log.info("%s", printable(f"{dataset.name}: {verdict.sentence}"))
        note_standing(dataset, inbox, facts, verdict)
        measure_verdict(inbox, verdict)
        return _Looked(dataset, inbox, verdict)


def _note_unreadable(
    operator: WatchmanOperator, datasets: Iterable[Dataset], unreadable: Iterable[DatasetInvalid]
) -> None:
    """Write down which files cannot be used, where the page in Airflow shows the others."""
    files = {Path(one.path).stem: str(one) for one in unreadable}
    for lake in dict.fromkeys(Feed.of(dataset).lake for dataset in datasets):
        try:
            note_unreadable(lake, operator.dag_id, files)
        except StoreError as error:
            operator.log.warning("the page in Airflow stays as it is: %s", error)


def _tell(looked: _Looked, context: Context, before: set[str]) -> bool:
    """Tell what is new of a feed; gives whether its lake is away, so nobody knows what was told."""
    dataset, verdict = looked.dataset, looked.verdict
    is_away = not tell(dataset, looked.inbox, verdict, context)
    _tell_of_lake(dataset, verdict, context, is_away, before)
    return is_away


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
    # Without ``map_indexes`` Airflow answers with a list of what all earlier runs pushed.
    found = instance.xcom_pull(task_ids=task_id, map_indexes=-1, key=AWAY, include_prior_dates=True)
    return found if isinstance(found, list) else ()
