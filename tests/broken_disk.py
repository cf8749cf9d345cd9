"""A folder at which the file system answers with an error, as a dead mount does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

_CALLS = ("stat", "lstat", "scandir", "listdir", "open", "mkdir")


def break_below(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    """Have the operating system answer whatever is asked of a folder, or below, with an error."""
    for name in _CALLS:
        monkeypatch.setattr(os, name, _broken(getattr(os, name), folder, number))


def _broken(real: Any, folder: Path, number: int) -> Any:
    def call(path: Any = ".", *more: Any, **named: Any) -> Any:
        if isinstance(path, str | os.PathLike) and Path(path).absolute().is_relative_to(folder):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *more, **named)

    return call
