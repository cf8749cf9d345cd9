"""Faults that once were in the code, to be put back: the simulation has to find each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from flagfall.inbox import claim, inbox
from flagfall.lake import output, receipts
from flagfall.stages import ingest
from flagfall.stores import local_walk
from flagfall.watch import announcer

Mutant = Callable[[], AbstractContextManager[Any]]


def _version_by_inode(status: Any) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


def _version_with_inode(status: Any) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


MUTANTS: dict[str, Mutant] = {
    "identity is size, mtime and inode": partial(
        patch.object, local_walk, "version_of", _version_by_inode
    ),
    "identity has the inode, which is the client's": partial(
        patch.object, local_walk, "version_of", _version_with_inode
    ),
    "identity has no folder": partial(
        patch.object, local_walk, "folder_version_of", lambda status: ""
    ),
    "no check after the copy": partial(patch.object, ingest, "_changed", lambda *_: None),
}
