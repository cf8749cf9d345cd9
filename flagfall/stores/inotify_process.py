"""Watches a directory with inotify and writes a line whenever something below it may have changed.

``inotify`` runs it as ``python -m flagfall.stores.inotify_process DIRECTORY``, in its own process:
watchfiles holds Python's interpreter while it sets a watch on every directory, 80 ms for a thousand
of them, and the event loop of a triggerer must not be held. It ends when its standard input closes,
that is, with its parent, however that ends.

A line is empty for "look now", or says why there are no hints for the time being.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from watchfiles import watch

TRY_AGAIN = 60.0
"""Seconds after which a watch that could not be set is tried again."""
LOOK_AGAIN = 0.5
"""Seconds after which a directory that vanished, or was made anew, is noticed."""

_LIMIT_WORDS = ("watch limit reached", "Too many open files", "No space left on device")
_RAISE_LIMITS = "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances"


def main(root: Path) -> None:
    """Watch for ever; the directory need not exist yet."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            _follow(root)
        except FileNotFoundError:
            time.sleep(1.0)
        except (OSError, RuntimeError) as error:  # the latter are watchfiles' own
            print(_in_words(error), flush=True)
            time.sleep(TRY_AGAIN)


def _in_words(error: Exception) -> str:
    """One line; where a limit is used up, with the remedy."""
    text = " ".join(str(error).split())
    return f"{text}; {_RAISE_LIMITS}" if any(word in text for word in _LIMIT_WORDS) else text


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def _follow(root: Path) -> None:
    """Watch until the directory is no longer the one that was there at the start.

    The first item comes when the watch stands, at the latest ``LOOK_AGAIN`` later: what landed
    while it was being set up, which takes long over many directories, is worth a look then.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _say_while_same(root, os.fstat(descriptor), skip_closed=False)
    except PermissionError:  # of one folder: others are worth a hint all the same
        _say_while_same(root, os.fstat(descriptor), skip_closed=True)
    finally:
        os.close(descriptor)  # while it is open no new directory is given the same inode


def _say_while_same(root: Path, status: os.stat_result, skip_closed: bool) -> None:
    """Say when something changes.

    Args:
        root: The directory.
        status: Of the directory that it was at the start.
        skip_closed: Whether folders that cannot be watched are left out. watchfiles then leaves out
            those beyond a limit, too, and says nothing.
    """
    changes = watch(
        root,
        watch_filter=None,
        debounce=100,
        step=20,
        rust_timeout=int(LOOK_AGAIN * 1000),
        yield_on_timeout=True,
        raise_interrupt=False,
        ignore_permission_denied=skip_closed,
    )
    print(flush=True)
    for number, change in enumerate(changes):
        if change or number == 0:
            print(flush=True)
        if not os.path.samestat(root.stat(), status):
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
