"""Has a process kill itself at a chosen point; on ``PYTHONPATH`` of the campaign's Airflow only.

To arm a point, a file ``<point>@<dataset>`` is put into the folder ``$FLAGFALL_FAULTS``; it holds
who is to die. The first process that gets there takes the file away and dies: each kills once.
Every stage that is finished leaves a line in ``finished.log`` there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["FLAGFALL_FAULTS"]) if "FLAGFALL_FAULTS" in os.environ else None


def reached(point: str) -> None:
    """Die here, where the point is armed."""
    assert FOLDER is not None, "only called where there is one"
    armed = FOLDER / point
    try:
        who = armed.read_text()
        armed.unlink()
    except FileNotFoundError:
        return
    (FOLDER / "deaths.log").open("a").write(f"{point} {who} {os.getpid()}\n")
    _die(who)


def _die(who: str) -> None:
    if who == "machine":  # the component and all that it started
        for pid in _session(os.getsid(0)):
            os.kill(pid, signal.SIGKILL)
    if who == "worker":  # this process, and the one that watches over it
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _session(leader: int) -> list[int]:
    """The processes of a session, this one last."""
    me = os.getpid()
    others = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]
    return [pid for pid in others if pid != me and _leader(pid) == leader] + [me]


def _leader(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def _around(
    owner: Any, name: str, dataset: Callable[[Any], str], before: str = "", after: str = ""
) -> None:
    """Have a method pass a point before and after it does its work.

    Args:
        owner: Its class.
        name: Of the method.
        dataset: Gives the dataset's name, of the object.
        before: Point; ``{stage}`` stands for that attribute.
        after: The same.
    """
    function = getattr(owner, name)

    def passing(self: Any, *args: Any, **kwargs: Any) -> Any:
        stage = getattr(self, "stage", "")
        if before:
            reached(f"{before.format(stage=stage)}@{dataset(self)}")
        result = function(self, *args, **kwargs)
        if after:
            reached(f"{after.format(stage=stage)}@{dataset(self)}")
        return result

    setattr(owner, name, passing)


def _triggers(module: Any) -> None:
    _around(module, "payload", lambda feed: str(feed.dataset), before="detected")


def _shared_poll(module: Any) -> None:
    def dataset(store: Any) -> str:
        return Path(store.uri).parent.name

    _around(module, "look", dataset, after="sweeping")


def _inbox(module: Any) -> None:
    def dataset(inbox: Any) -> str:
        return str(inbox.feed.dataset)

    _around(module.Inbox, "receive", dataset, before="copied", after="received")


def _operators(module: Any) -> None:
    _around(module.ClaimOperator, "execute", _its_dataset, after="claim-returns")
    _around(
        module.StageOperator,
        "execute",
        _its_dataset,
        before="{stage}-begins",
        after="{stage}-returns",
    )
    _around(module.ReportOperator, "execute", _its_dataset, after="report-returns")


def _its_dataset(one: Any) -> str:
    return str(one.dataset)


def _lake(module: Any) -> None:
    finish = module.Lake.finish

    def finish_and_tell(lake: Any, record: Any, *args: Any) -> Any:
        found = lake.find(type(record), record.batch_id)
        done = finish(lake, record, *args)
        again = "again" if found is not None else "first"
        line = f"{type(record).__name__} {record.batch_id} {again}\n"
        (FOLDER / "finished.log").open("a").write(line)
        return done

    module.Lake.finish = finish_and_tell


def _install() -> None:
    from wrapt import when_imported

    patches: dict[str, Callable[[Any], None]] = {
        "flagfall.triggers.waiting": _triggers,
        "flagfall.watch.shared_poll": _shared_poll,
        "flagfall.inbox.inbox": _inbox,
        "flagfall.operators.stages": _operators,
        "flagfall.lake.output": _lake,
    }
    for name, patch in patches.items():
        when_imported(name)(patch)


if FOLDER is not None:
    _install()
