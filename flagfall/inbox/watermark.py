"""The watermark of a bucket: from which key on a sweep has to look. A cache of receipts.

Sweeps move it up, and keep it in one object. Hints of late markers move it down: each adds a
numbered object, which nobody overwrites. So neither loses what another wrote meanwhile.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from flagfall.lake.output import RECORD_LIMIT
from flagfall.stores import EPOCH, Store

KEY, COVER_KEY = "watermark.json", "hinted/{:08d}/watermark.json"
"""Keys in the dataset's folder of the lake: what sweeps write, and what each hint does. Rights that
were given for the one (see docs/security.md) are good for the others."""

COVERS_KEPT = 100
"""Covers that stay: somebody who stood still may be about to read them."""


class Cover(BaseModel):
    """What a hint named where no sweep would have looked.

    Attributes:
        key: Lowest key that a sweep may not know of; empty: nobody knows, so all are looked at.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str = ""


class Watermark(BaseModel):
    """How far a bucket has been swept.

    Attributes:
        start: Every marker up to this key, as far as anybody has seen, has a receipt; empty: none.
        landed_before: Markers that landed before this time were all seen then (UTC).
        swept_at: When the last full sweep began, one that compared everything that there is with
            every receipt (UTC).
        covers: Number of the last cover that is in ``start``.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    start: str = ""
    landed_before: AwareDatetime = EPOCH
    swept_at: AwareDatetime = EPOCH
    covers: int = 0

    def below(self, cover: Cover) -> Watermark:
        """The same, with what the next cover names."""
        start = min(self.start, cover.key)
        return self.model_copy(update={"start": start, "covers": self.covers + 1})


NOTHING = Watermark()
"""Nothing was swept."""

_T = TypeVar("_T", Watermark, Cover)


def read_watermark(lake: Store, covers: dict[int, Cover] | None = None) -> Watermark:
    """The watermark, with what hints have named; without one, everything is swept.

    What is damaged only costs a full sweep.

    Args:
        lake: The dataset's folder in the lake.
        covers: Covers that were read before, by number, which are not read again: nobody changes
            one. Those that are new are added, and those that sweeps know by now removed.
    """
    found = _read(lake, KEY, NOTHING) or NOTHING
    known = {} if covers is None else covers
    for number in [one for one in known if one <= found.covers or found is NOTHING]:
        del known[number]
    while cover := known.get(found.covers + 1) or _read(lake, _cover_key(found), Cover()):
        found = found.below(cover)
        known[found.covers] = cover
    return found


def _cover_key(watermark: Watermark) -> str:
    """Of the first cover that a watermark does not know."""
    return COVER_KEY.format(watermark.covers + 1)


def _read(lake: Store, key: str, damaged: _T) -> _T | None:
    try:
        return type(damaged).model_validate_json(lake.read(key, RECORD_LIMIT))
    except FileNotFoundError:
        return None
    except ValidationError:
        return damaged


def write_watermark(lake: Store, watermark: Watermark) -> None:
    """Replace what sweeps have written."""
    lake.put(KEY, watermark.model_dump_json().encode())


def add_cover(lake: Store, cover: Cover, known: int) -> None:
    """Add what a hint has named, after the covers that are known and those added meanwhile."""
    data = cover.model_dump_json().encode()
    while not lake.create(COVER_KEY.format(known + 1), data):
        known += 1


def drop_covers(lake: Store) -> None:
    """Remove covers that the watermark has known for long."""
    known = (_read(lake, KEY, NOTHING) or NOTHING).covers
    for key in list(lake.names("hinted")):
        number = key.split("/")[1]
        if number.isdecimal() and int(number) <= known - COVERS_KEPT:
            lake.delete(key)
