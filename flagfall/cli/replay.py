"""``flagfall replay``: batches that have a receipt are handed out again."""

from __future__ import annotations

from enum import StrEnum
from math import ceil
from typing import Annotated

import typer

from flagfall.cli.console import DatasetName, at_work, say
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from flagfall.inbox.replays import KEYS, Plan, Wish, hand_out_again, plan_replay
from flagfall.verdict.words import plural

SHOWN = 20
"""Batches that a plan names."""


class ReplaySource(StrEnum):
    """Where a replay takes its rows from."""

    LANDING = "landing"
    STAGED = "staged"


def replay(
    dataset: DatasetName,
    batch: Annotated[
        str, typer.Argument(help="Batch id, as `flagfall status DATASET` shows it, or label.")
    ] = "",
    since: Annotated[str, typer.Option(metavar="DAY", help="Batches of it or later.")] = "",
    until: Annotated[str, typer.Option(metavar="DAY", help="Batches of it or earlier.")] = "",
    reason: Annotated[
        str, typer.Option(help="Batches that were rejected for this reason and are open.")
    ] = "",
    source: Annotated[
        ReplaySource,
        typer.Option("--from", help="Rows in the lake, or the producer's files."),
    ] = ReplaySource.LANDING,
    model_version: Annotated[
        str, typer.Option(help="That is to score them; what it scored already is left out.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do it; else it is only shown.")] = False,
) -> None:
    """Hand batches that have a receipt out again, as after a change of the dataset file or model.

    Either one batch, at once; or all that count in a range of days, or were rejected for a reason:
    then the first look only shows them. What is new goes first, however many they are.

    Example: flagfall replay flights --since 2013-12-13 --from staged
    """
    found = find_dataset(dataset)
    inbox = Inbox(Feed.of(found))
    given = (since, until, reason, source.value, model_version)
    wish = Wish.read(dict(zip(KEYS, given, strict=True)))
    if bool(batch) != wish.is_empty:
        what = "both a batch and a range" if batch else "neither a batch nor a range"
        hint = "give either a batch, or --since, --until, --reason or --model-version"
        raise typer.BadParameter(f"there is {what}; {hint}", param_hint="BATCH")
    if batch:
        again = inbox.replay(batch, wish.source)
        say(f"{again.batch_id} is pending, from {'staged' if again.staged_from else 'landing'}")
        return
    with at_work("finding batches"):
        plan = plan_replay(found, inbox, wish)
    _show(plan, found)
    if _is_misled(plan, wish, inbox):
        say("days are those on which batches landed (UTC): its file has no arrival.partition")
    if yes:
        with at_work("handing batches out"):
            pending = hand_out_again(inbox, plan)
        say(f"pending: {plural(len(pending), 'batch', 'batches')}")
    elif plan.batches:
        say("nothing is done yet: --yes hands them out")


def _is_misled(plan: Plan, wish: Wish, inbox: Inbox) -> bool:
    """Whether somebody may have meant the days in the batches' names, and found none."""
    is_ranged = bool(wish.since or wish.until)
    return is_ranged and not (inbox.feed.since or plan.batches or plan.left_out)


def _show(plan: Plan, dataset: Dataset) -> None:
    count = len(plan.batches)
    batches, runs = plural(count, "batch", "batches"), ceil(count / dataset.limits.backlog_per_run)
    how = f", in {plural(runs, 'run', 'runs')} or more; what is new goes first" if count else ""
    say(f"{batches} from {plan.source}{how}")
    for found in plan.batches[:SHOWN]:
        receipt = found.receipt
        say(f"  {receipt.batch_id} ({receipt.status}, {receipt.rows:,} rows)")
    if count > SHOWN:
        say(f"  and {count - SHOWN} more")
    for why, left in plan.why_left_out.items():
        say(f"{left:,} left out: {why}")
