"""The watermark of a bucket: from which key on a sweep has to look. A cache of receipts."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from flagfall.lake.output import RECORD_LIMIT
from flagfall.stores import EPOCH, Store

KEY = "watermark.json"
"""Key in the dataset's folder of the lake."""


class Watermark(BaseModel):
    """How far a bucket has been swept.

    Attributes:
        start: Every marker up to this key, as far as anybody has seen, has a receipt; empty: none.
        landed_before: Markers that landed before this time were all seen then (UTC).
        swept_at: When the last full sweep began, one that compared everything that there is with
            every receipt (UTC).
        covered: Lowest key that a hint named since, where no sweep would have looked; or empty.
        covers: How often a hint did. A full sweep that was under way may have passed its key.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    start: str = ""
    landed_before: AwareDatetime = EPOCH
    swept_at: AwareDatetime = EPOCH
    covered: str = ""
    covers: int = 0


NOTHING = Watermark()
"""Nothing was swept."""


def read_watermark(lake: Store) -> Watermark:
    """The watermark; one that is missing or damaged only costs a full sweep."""
    try:
        return Watermark.model_validate_json(lake.read(KEY, RECORD_LIMIT))
    except (FileNotFoundError, ValidationError):
        return NOTHING


def write_watermark(lake: Store, watermark: Watermark) -> None:
    """Replace the watermark."""
    lake.put(KEY, watermark.model_dump_json().encode())
