"""Shows in Airflow's import errors what is wrong with a dataset file. It has no DAG."""

from __future__ import annotations

import os
from pathlib import Path

from flagfall.dags import check_datasets

BESIDE = Path(__file__).resolve().parent.parent / "datasets"

check_datasets(os.environ.get("FLAGFALL_DATASETS") or BESIDE)  # a failed check is no airflow dag
