"""Keys of S3 objects that cannot be used as the paths of files."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def unusable(key: str) -> str:
    """Why obstore cannot represent a key, or it is not a file's; empty where it can."""
    if {"", ".", ".."} & set(key.split("/")):
        return "a part of its path is empty, '.' or '..'"
    return "its name has a control character" if _CONTROL.search(key) else ""
