"""The first task of a run: claim what is pending."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSkipException

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.dataset.schema import Dataset
from flagfall.errors import NotThere
from flagfall.inbox.claim import AT_ONCE, claim
from flagfall.inbox.inbox import Inbox
from flagfall.inbox.replays import Wish, hand_out_again, plan_replay
from flagfall.landing.marker import Marker
from flagfall.operators.metrics import measure_claim
from flagfall.operators.work.batches import SHOWN
from flagfall.operators.work.failed_tasks import forget
from flagfall.report.due import expect_report

if TYPE_CHECKING:
    from airflow.sdk import Context

    from flagfall.operators.stages import ClaimOperator

REPLAY = "replay"
"""Key in a run's configuration of the batches that are handed out again (see ``to_replay``)."""


def claim_pending(operator: ClaimOperator, context: Context) -> list[list[dict[str, Any]]]:
    """Claim what is pending."""
    dataset = find_dataset(operator.dataset, operator.datasets)
    inbox = Inbox(Feed.of(dataset))
    for marker in _handed_out(dataset, inbox, to_replay(context)):
        operator.log.info("%s is handed out again", marker.batch_id)
    taken = claim(inbox, dataset, at_once=_at_once(operator))
    forget(inbox, lambda failure: failure.task == operator.task_id)
    for number, shard in enumerate(taken.shards, start=1):
        names = ", ".join(marker.batch_id for marker in shard[:SHOWN])
        operator.log.info("shard %d: %d batches: %s", number, len(shard), names)
    operator.log.info(
        "%s: claimed %d batches in %d shards; %d are left for the next run, %d have not settled",
        *(operator.dataset, taken.batches, len(taken.shards), taken.left, taken.unsettled),
    )
    measure_claim(operator.dataset, taken.batches + taken.left + taken.unsettled)
    if taken.left:
        event = context["outlet_events"][AssetAlias(operator.again)]
        event.add(Asset(operator.landed), extra={"left": taken.left})
    if not taken.shards and not taken.left:
        what = "nothing that is pending has settled" if taken.unsettled else "nothing is pending"
        raise AirflowSkipException(f"{operator.dataset}: {what}")
    expect_report(inbox.lake, str(context["run_id"]), list(chain.from_iterable(taken.shards)))
    return [[marker.to_dict() for marker in shard] for shard in taken.shards]


def _at_once(operator: ClaimOperator) -> int:
    """Tasks of the DAG that run at the same time, as far as Airflow's settings say."""
    dag = operator.get_dag()
    of_dag = dag.max_active_tasks if dag else AT_ONCE
    return min(conf.getint("core", "parallelism") or of_dag, of_dag)


def to_replay(context: Context) -> list[str] | Wish:
    """What the run's configuration has under ``replay``: batch ids, or a range of batches.

    Raises:
        NotThere: It is neither.
    """
    given = (getattr(context.get("dag_run"), "conf", None) or {}).get(REPLAY, [])
    if isinstance(given, list) and all(isinstance(one, str) for one in given):
        return given
    if isinstance(given, dict) and not (wish := Wish.read(given)).is_empty:
        return wish
    how = 'expected {"replay": ["<batch id>"]} or {"replay": {"since": "2013-12-13"}}'
    raise NotThere("list or range of batches", repr(given), how)


def _handed_out(dataset: Dataset, inbox: Inbox, given: list[str] | Wish) -> list[Marker]:
    """Hand batches out again; of a range, those that can be."""
    if isinstance(given, Wish):
        return hand_out_again(inbox, plan_replay(dataset, inbox, given))
    return [inbox.replay(batch_id) for batch_id in given]
