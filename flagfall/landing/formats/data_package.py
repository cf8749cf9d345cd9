"""Data Package descriptors: https://datapackage.org/standard/data-package/."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from flagfall.errors import BatchInvalid
from flagfall.landing.formats.named import Content, Expected, Named, below_marker, count, shown
from flagfall.landing.marker import Marker

_SHA256 = re.compile(r"(?:sha-?256:)?([0-9a-f]{64})", re.IGNORECASE)


def data_package(marker: Marker, content: Content) -> Named | None:
    """The resources of a Data Package descriptor, or ``None`` where it is none."""
    descriptor = content.json
    if not isinstance(descriptor, dict) or "resources" not in descriptor:
        return None
    resources = descriptor["resources"]
    if not isinstance(resources, list) or not resources:
        raise BatchInvalid("manifest-invalid", f"{marker.uri}: resources: expected a list of files")
    return Named(
        file for n, resource in enumerate(resources) for file in _resource(marker, n, resource)
    )


def _resource(marker: Marker, index: int, resource: Any) -> Iterator[Expected]:
    place = f"{marker.uri}: resources[{index}]"
    if not isinstance(resource, dict):
        raise BatchInvalid("manifest-invalid", f"{place}: expected an object")
    paths, digest = _paths(place, resource.get("path")), resource.get("hash")
    size = count(f"{place}.bytes", resource.get("bytes"))
    if len(paths) > 1 and (size is not None or digest is not None):
        why = f"{place}: bytes and hash cannot be checked for several paths"
        raise BatchInvalid("manifest-invalid", f"{why}; write one resource per file")
    for path in paths:
        key = below_marker(marker, f"{place}.path", path)
        yield Expected(key, size, _sha256(f"{place}.hash", digest))


def _paths(place: str, path: Any) -> list[str]:
    listed = path if isinstance(path, list) else [path]
    paths = [one for one in listed if isinstance(one, str) and one]
    if not paths or len(paths) < len(listed):
        why = f"{place}.path: expected a file's path, got {shown(path)}"
        raise BatchInvalid("manifest-invalid", why)
    return paths


def _sha256(place: str, digest: Any) -> str | None:
    if digest is None:
        return None
    match = _SHA256.fullmatch(digest) if isinstance(digest, str) else None
    if match is None:
        why = f"{place}: expected 'sha256:' and 64 hex digits, got {shown(digest)}"
        raise BatchInvalid("manifest-invalid", why)
    return match[1].lower()
