"""What a component of a local cluster is called, in Airflow's database and UI."""

from __future__ import annotations

import os

VARIABLE = "FLAGFALL_MACHINE"


def name() -> str:
    """For ``[core] hostname_callable``: all components run on one host; this distinguishes them."""
    return os.environ.get(VARIABLE, "localhost")
