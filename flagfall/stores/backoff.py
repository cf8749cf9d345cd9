"""How long to wait after failures in a row."""

from __future__ import annotations

import random

FIRST_BACKOFF = 2.0
"""Most seconds to wait after one failure."""
LONGEST_BACKOFF = 60.0
"""Most seconds to wait after any number of them."""


def backoff(failures: int, first: float = FIRST_BACKOFF, longest: float | None = None) -> float:
    """Seconds to wait: twice as long after each failure, up to a maximum, with jitter.

    Args:
        failures: How many there were in a row, at least 1.
        first: Most seconds after one failure.
        longest: Most seconds; ``None`` for ``LONGEST_BACKOFF``.
    """
    most = LONGEST_BACKOFF if longest is None else longest
    return min(most, first * 2.0 ** min(failures - 1, 10)) * random.uniform(0.5, 1.0)
