"""Airflow operators and a sensor: adapters over ``flagfall``, with no logic of their own."""

from __future__ import annotations

from operators.sensors import MarkerSensor
from operators.stages import ClaimOperator, PublishOperator, ReportOperator, StageOperator

__all__ = ["ClaimOperator", "MarkerSensor", "PublishOperator", "ReportOperator", "StageOperator"]
