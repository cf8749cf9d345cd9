"""Airflow's DAGs for ``$FLAGFALL_DATASETS``, else for this repository's ``datasets/``."""

from __future__ import annotations

import os
from pathlib import Path

from flagfall.dags import pipelines

BESIDE = Path(__file__).resolve().parent.parent / "datasets"

globals().update(pipelines(os.environ.get("FLAGFALL_DATASETS") or BESIDE))
