"""How long tests wait for what is to happen: a test that passes never waits so long."""

from __future__ import annotations

SOON = 120.0
"""Seconds for what one process does, on a machine that is busy or slow, too."""
A_RUN = 600.0
"""Seconds for a run in a real Airflow, which may be harmed and tried again."""
