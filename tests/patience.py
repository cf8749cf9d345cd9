"""How long tests wait for what is to happen: a test that passes never waits so long."""

from __future__ import annotations

SOON = 120.0
"""Seconds; on a machine that is busy or slow, too. The limit of one test is longer."""
