"""What stands for a container's image, and the file system that a container of it sees."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from shlex import quote
from subprocess import run

SPECIAL = ("/proc", "/sys")
"""They are the machine's own, and writable."""
DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
"""What a container has of the machine's ``/dev``."""
PROJECT = Path(__file__).resolve().parents[2]
APART = ("/dev", "/tmp", "/opt", "/run", *SPECIAL)
"""What a container does not have of this machine."""


@dataclass(frozen=True)
class Image:
    """Folders of this machine, and variables.

    Attributes:
        folders: Where a container has which folder, to read.
        environment: The image's ``ENV``.
        workdir: Its ``WORKDIR``.
        shared: Where a container has which folder that it may write, too, as a share of the node.
    """

    folders: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    shared: Mapping[str, Path] = field(default_factory=dict)


@cache
def can_mount() -> bool:
    """Whether this machine lets us make a file system for a container."""
    if os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("chroot")):
        return False
    return run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode == 0


def root_script(
    root: Path, read: Mapping[str, Path], written: Mapping[str, Path], is_read_only: bool
) -> str:
    """Shell lines that build a container's file system in a mount namespace.

    It is this machine's, read-only and without ``APART``, with an image's folders and volumes.

    Args:
        root: An empty folder.
        read: Folders to read, by where the container has them.
        written: Volumes, and files, the same.
        is_read_only: Whether nothing but volumes may be written.
    """
    own = {**{name: Path(name) for name in SPECIAL}, **written}
    read = {**dict(_programs()), **read}
    lines = ["set -e", f"mount -t tmpfs -o mode=755 root {quote(str(root))}"]
    lines += [f"mkdir -m 1777 {quote(str(root / 'tmp'))}"]
    lines += [line for path in _top() for line in _bring(path, root, path, is_read=True)]
    lines += _devices(root)
    for inside, outside in sorted({**read, **own}.items()):
        lines += _bring(outside, root, Path(inside), inside not in own)
    if is_read_only:
        lines.append(f"mount -o remount,ro,bind {quote(str(root))}")
    return "\n".join(lines)


def _programs() -> Iterator[tuple[str, Path]]:
    """This Python and the project, where they lie in what a container does not have."""
    for folder in (Path(sys.prefix), Path(sys.base_prefix), PROJECT):
        if any(folder.is_relative_to(apart) for apart in APART):
            yield str(folder), folder


def _top() -> Iterator[Path]:
    found = (path for path in sorted(Path("/").iterdir()) if str(path) not in APART)
    yield from (path for path in found if path.is_dir() or path.is_symlink())


def _devices(root: Path) -> Iterator[str]:
    """A ``/dev`` of its own: what a container puts there stays in it."""
    folder = quote(f"{root}/dev")
    yield f"mkdir {folder}"
    yield f"mount -t tmpfs -o mode=755 dev {folder}"
    yield f"mkdir -m 1777 {folder}/shm"
    yield f"mount -t tmpfs -o mode=1777,size=64m shm {folder}/shm"
    yield f"ln -s /proc/self/fd {folder}/fd"
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        yield f"ln -s /proc/self/fd/{number} {folder}/{name}"
    for path in (Path("/dev") / name for name in DEVICES):
        if path.exists():
            yield from _bring(path, root, path, is_read=False)


def _bring(outside: Path, root: Path, inside: Path, is_read: bool) -> Iterator[str]:
    target = quote(f"{root}{inside}")
    kind = outside.lstat().st_mode
    if stat.S_ISLNK(kind) and inside.parent == Path("/"):
        yield f"cp -P {quote(str(outside))} {target}"
    elif outside.is_dir():
        yield f"mkdir -p {target}"
        yield f"mount --rbind {quote(str(outside))} {target}"
        yield from [f"mount -o remount,ro,bind {target}"] if is_read else []
    elif outside.exists():
        yield f"mkdir -p {quote(f'{root}{inside.parent}')}"
        yield f"touch {target}"
        yield f"mount --bind {quote(str(outside))} {target}"
        yield from [f"mount -o remount,ro,bind {target}"] if is_read else []


def on_host(text: str, folders: Mapping[str, Path]) -> str:
    """A path in a container as this machine has it, where a container has no file system."""
    for inside, outside in sorted(folders.items(), reverse=True):
        if text == inside or text.startswith(f"{inside}/"):
            return f"{outside}{text.removeprefix(inside)}"
    return text
