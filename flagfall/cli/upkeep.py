"""``flagfall upkeep``: what is old, and may go."""

from __future__ import annotations

from typing import Annotated

import typer

from flagfall.cli.console import DatasetName, at_work, out
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.errors import NotThere, printable
from flagfall.inbox.inbox import Inbox
from flagfall.upkeep.run import do_upkeep, plan_upkeep


def upkeep(
    dataset: DatasetName,
    yes: Annotated[bool, typer.Option("--yes", help="Drop it; else it is only shown.")] = False,
) -> None:
    """Show what is older than lake.keep and landing.after_receipt say, or drop it.

    The DAG flagfall_maintenance does it every day.

    Example: flagfall upkeep flights
    """
    found = find_dataset(dataset)
    if not found.needs_upkeep:
        hint = "its file has neither lake.keep nor landing.after_receipt, so nothing is dropped"
        raise NotThere("upkeep of dataset", dataset, hint)
    inbox = Inbox(Feed.of(found))
    with at_work("dropping what is old" if yes else "looking for what is old"):
        plan = plan_upkeep(found, inbox)
        done = do_upkeep(found, inbox, plan) if yes else plan
    for sentence in done.sentences():
        verb = "gone" if yes else "would go"
        out.print(printable(f"{verb}: {sentence}"), highlight=False, soft_wrap=True)
    done.check()
