"""Shows in Airflow's import errors what is wrong with a dataset file.

The other DAG files leave a broken dataset out, so that it does not stop the feeds beside it; this
one has no DAG and fails in its place.
"""

from __future__ import annotations

from flagfall.dataset import usable_datasets
from operators.providers import lacking

usable, broken = usable_datasets()
if broken := [*broken, *filter(None, map(lacking, usable))]:
    raise ExceptionGroup("dataset files that cannot be used", broken)
