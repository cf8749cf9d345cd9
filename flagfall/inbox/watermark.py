"""The watermark of a bucket: from which key on a sweep has to look. A cache of receipts.

Sweeps move it up, and keep it in one object; hints of late markers move it down, and keep that in
another one. So neither overwrites what the other wrote meanwhile.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from flagfall.lake.output import RECORD_LIMIT
from flagfall.stores import EPOCH, Store

KEY, COVER_KEY = "watermark.json", "hinted/watermark.json"
"""Keys in the dataset's folder of the lake: what sweeps write, and what hints do. Rights that were
given for the one (see docs/security.md) are good for the other."""


class Cover(BaseModel):
    """What hints named where no sweep would have looked.

    Attributes:
        key: Lowest key that a sweep may not know of; empty: there was none.
        number: How many covers there have been.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str = ""
    number: int = 0


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

    def knows(self, cover: Cover) -> bool:
        """Whether the cover is in ``start``."""
        return cover.number <= self.covers

    def below(self, cover: Cover) -> Watermark:
        """The same, with what the cover names."""
        if self.knows(cover):
            return self
        start = min(self.start, cover.key)
        return self.model_copy(update={"start": start, "covers": cover.number})


NOTHING, NO_COVER = Watermark(), Cover()
"""Nothing was swept; nothing was named."""

_T = TypeVar("_T", Watermark, Cover)


def read_watermark(lake: Store) -> Watermark:
    """The watermark, with what hints have named; without one, everything is swept."""
    return read_swept(lake).below(read_cover(lake))


def read_swept(lake: Store) -> Watermark:
    """What sweeps have written; what is missing or damaged only costs a full sweep."""
    return _read(lake, KEY, NOTHING)


def read_cover(lake: Store) -> Cover:
    """What hints have named; what is missing or damaged, a full sweep finds."""
    return _read(lake, COVER_KEY, NO_COVER)


def _read(lake: Store, key: str, default: _T) -> _T:
    try:
        return type(default).model_validate_json(lake.read(key, RECORD_LIMIT))
    except (FileNotFoundError, ValidationError):
        return default


def write_watermark(lake: Store, watermark: Watermark) -> None:
    """Replace what sweeps have written."""
    lake.put(KEY, watermark.model_dump_json().encode())


def write_cover(lake: Store, cover: Cover) -> None:
    """Replace what hints have named."""
    lake.put(COVER_KEY, cover.model_dump_json().encode())
