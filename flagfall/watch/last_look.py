"""The look after a deadline: it tells a late marker from storage that does not answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from flagfall.errors import StoreUnavailable
from flagfall.landing.marker import Marker
from flagfall.landing.zone import LandingZone
from flagfall.logs import logger
from flagfall.watch.loop import is_written
from flagfall.watch.threads import in_thread

log = logger(__name__)

LONGEST = 60.0
"""Seconds for which storage that does not answer is asked again, beside ``settle``."""
PAUSE = 1.0
"""Seconds between two tries."""


async def last_look(
    landing: LandingZone, fields: dict[str, str], settle: timedelta
) -> Marker | None:
    """The marker with these fields; ``None`` where it is not there.

    Args:
        landing: Where to look.
        fields: Values of the pattern's fields.
        settle: A marker that cannot be read as one is waited for while it is younger.

    Raises:
        StoreRefused: Something has to be changed.
        StoreUnavailable: The storage did not answer, so nobody knows whether the marker is there.
    """
    key = landing.pattern.fill(fields)
    error = StoreUnavailable(
        f"{landing.uri}/{key}",
        f"no answer within {LONGEST:.0f} s after the deadline; whether the marker is there is not"
        " known. Check the network, or whether the share is mounted",
    )
    try:
        async with asyncio.timeout(LONGEST + settle.total_seconds()):
            while True:
                try:
                    found = await in_thread(landing.find, key)
                except StoreUnavailable as unavailable:
                    error = unavailable
                    log.warning("%s; trying again", unavailable)
                else:
                    if not found:
                        return None
                    if await is_written(found[0], landing, settle):
                        return found[0]
                await asyncio.sleep(min(PAUSE, LONGEST / 10))
    except TimeoutError:
        raise error from None
