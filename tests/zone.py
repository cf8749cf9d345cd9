from __future__ import annotations

from pathlib import Path

import pytest

from flagfall.errors import BatchInvalid
from flagfall.landing.limits import Limits
from flagfall.landing.manifest import Manifest, missing, read_manifest
from flagfall.landing.marker import Marker
from flagfall.landing.zone import LandingAddress, LandingZone


def zone_at(root: Path, pattern: str = "_SUCCESS") -> LandingZone:
    """A landing zone on disk."""
    return LandingZone(LandingAddress(uri=str(root), marker=pattern))


class Zone:
    """A landing zone on disk and its markers."""

    def __init__(self, root: Path, pattern: str = "date={date}/_SUCCESS") -> None:
        self.root = root
        self.landing = zone_at(root, pattern)

    def write(self, *keys: str, content: bytes = b"") -> None:
        for key in keys:
            path = self.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def marker(self, key: str) -> Marker:
        return self.landing.find(key)[0]

    def manifest(self, key: str, limits: Limits | None = None) -> Manifest:
        limits = limits or Limits()
        return read_manifest(self.marker(key), self.landing.pattern, self.landing.store, limits)

    def names(self, key: str) -> list[str]:
        return [file.key for file in self.manifest(key).files]

    def missing(self, key: str) -> str | None:
        return missing(self.manifest(key), self.marker(key), self.landing.store)

    def says(self, content: bytes, limits: Limits | None = None) -> Manifest:
        """What a marker with this content vouches for."""
        self.write("date=1/_SUCCESS", content=content)
        return self.manifest("date=1/_SUCCESS", limits)

    def refused(self, content: bytes, limits: Limits | None = None) -> BatchInvalid:
        with pytest.raises(BatchInvalid) as caught:
            self.says(content, limits)
        str(caught.value).encode()  # it goes into a receipt
        return caught.value
