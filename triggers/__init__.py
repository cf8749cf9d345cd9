"""Airflow triggers: adapters that serialise their arguments, run ``flagfall.watch`` and yield."""

from __future__ import annotations

from flagfall.extras import require

require("airflow")
from flagfall.triggers.markers import MarkerFeedTrigger, MarkerTrigger

__all__ = ["MarkerFeedTrigger", "MarkerTrigger"]
