"""Airflow operators and a sensor: adapters over ``flagfall``, with no logic of their own.

A module is imported when one of its names is asked for: a DAG file that only waits for markers is
read again by every task of it, and needs nothing of what takes batches in.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flagfall.extras import require

if TYPE_CHECKING:
    from flagfall.operators.sensors import MarkerSensor
    from flagfall.operators.stages import (
        ClaimOperator,
        PublishOperator,
        ReportOperator,
        StageOperator,
    )

__all__ = ["ClaimOperator", "MarkerSensor", "PublishOperator", "ReportOperator", "StageOperator"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "sensors" if name == "MarkerSensor" else "stages"
    require("airflow")
    return getattr(import_module(f"{__name__}.{module}"), name)
