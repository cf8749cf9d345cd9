"""How long to wait after failures in a row."""

from __future__ import annotations

from tenacity import RetryCallState, Retrying, wait_exponential, wait_random_exponential

FIRST_BACKOFF = 2.0
"""Most seconds to wait after one failure."""
LONGEST_BACKOFF = 60.0
"""Most seconds to wait after any number of them."""


def backoff(failures: int) -> float:
    """Seconds to wait: 1 to 2, 2 to 4 and so on, up to 30 to 60, drawn at random.

    The loops that wait also listen for hints or for their end, so tenacity gives the time and does
    not run them.

    Args:
        failures: How many there were in a row, at least 1.
    """
    first, longest = FIRST_BACKOFF / 2, LONGEST_BACKOFF / 2
    wait = wait_exponential(first, longest) + wait_random_exponential(first, longest)
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = failures
    return wait(state)
