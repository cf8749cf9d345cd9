"""Manifests of Amazon Redshift: ``UNLOAD … MANIFEST [VERBOSE]``, and those that ``COPY`` takes.

https://docs.aws.amazon.com/redshift/latest/dg/r_UNLOAD_command_examples.html
"""

from __future__ import annotations

from typing import Any

from flagfall.errors import BatchInvalid
from flagfall.landing.formats.named import Content, Expected, Named, count, in_landing_zone, shown
from flagfall.landing.marker import Marker


def redshift_manifest(marker: Marker, content: Content) -> Named | None:
    """The entries of a manifest, ``mandatory`` or not; ``None`` where it is none."""
    manifest = content.json
    if not isinstance(manifest, dict) or "entries" not in manifest:
        return None
    entries = manifest["entries"]
    if not isinstance(entries, list):
        raise BatchInvalid("manifest-invalid", f"{marker.uri}: entries: expected a list of files")
    return Named(_entry(marker, index, entry) for index, entry in enumerate(entries))


def _entry(marker: Marker, index: int, entry: Any) -> Expected:
    place = f"{marker.uri}: entries[{index}]"
    if not isinstance(entry, dict):
        raise BatchInvalid("manifest-invalid", f"{place}: expected an object")
    url, meta = entry.get("url"), entry.get("meta")
    if not isinstance(url, str) or not url:
        why = f"{place}.url: expected a file's URL, got {shown(url)}"
        raise BatchInvalid("manifest-invalid", why)
    if meta is not None and not isinstance(meta, dict):
        raise BatchInvalid("manifest-invalid", f"{place}.meta: expected an object")
    size = count(f"{place}.meta.content_length", (meta or {}).get("content_length"))
    return Expected(in_landing_zone(marker, f"{place}.url", url), size, None)
