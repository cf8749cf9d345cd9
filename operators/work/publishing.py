"""The task that publishes a directory as a batch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flagfall.publish import hidden_data, publish

if TYPE_CHECKING:
    from airflow.sdk import Context

    from flagfall.operators.stages import PublishOperator


def run(operator: PublishOperator, context: Context) -> dict[str, Any]:
    """Publish."""
    done = publish(
        Path(operator.source), operator.destination, operator.marker, conn_id=operator.conn_id
    )
    if left_out := hidden_data(Path(operator.source), operator.marker):
        operator.log.warning("%s", left_out)
    extra = asdict(done)
    for outlet in operator.outlets:
        context["outlet_events"][outlet].extra = dict(extra)
    return extra
