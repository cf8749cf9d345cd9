"""A pod's container as a process: what it runs, what it sees, and how it ends."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote

import psutil

from sandbox.kubernetes.environment import expanded
from sandbox.kubernetes.image import Image, can_mount, on_host, root_script
from sandbox.kubernetes.memory import MemoryGroup
from sandbox.kubernetes.selectors import Object
from sandbox.kubernetes.validation import quantity
from sandbox.kubernetes.volumes import Mounts

POLL = 0.05
"""Seconds between two looks at a process."""
KILLED = 137
"""Exit code of a container that got a SIGKILL."""
START = "StartError"
"""The name of the shell that starts a command: what it says of it begins with that."""
TERMINATION_LOG = "/dev/termination-log"
LONGEST_MESSAGE, LONGEST_LOG, LAST_LINES = 4096, 2048, 80
"""Bytes of a message, and bytes and lines of it if it comes from the log."""
_ENTER = 'echo $$ > "$FLAGFALL_GROUP"; unset FLAGFALL_GROUP; '
_HOG = "memory = bytearray()\nwhile True: memory += b'x' * 50_000_000"


class Container:
    """The first container of a pod.

    Args:
        pod: As it was created.
        image: What its image stands for.
        mounts: Its volumes.
        given: Its variables, without those of the image.
        folder: A folder of its own: volumes, root, log.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self, pod: Object, image: Image, mounts: Mounts, given: Mapping[str, str], folder: Path
    ) -> None:
        self._spec: Object = pod["spec"]["containers"][0]
        self._image = image
        self._mounts = mounts
        self._folder = folder
        self.log = folder / "log"
        self.is_out_of_memory = False
        self._hogs: list[subprocess.Popen[bytes]] = []
        self._give_up = math.inf
        self._said = folder / "termination-log"
        self._said.touch()
        parts = [*(self._spec.get("command") or []), *(self._spec.get("args") or [])]
        self._command = [expanded(part, given) for part in parts]
        self._given = self._seen({**image.environment, **given})
        self._group = MemoryGroup.make(pod["metadata"]["uid"], self.limit)
        self._process = self._start()

    def _seen(self, given: dict[str, str]) -> dict[str, str]:
        """Variables with paths as the container has them."""
        if can_mount():
            return given
        folders = self._on_host
        found = {name: on_host(value, folders) for name, value in given.items()}
        return {**found, "TMPDIR": str(folders.get("/tmp", self._folder))}

    @property
    def _on_host(self) -> dict[str, Path]:
        """All its folders."""
        image, mounts = self._image, self._mounts
        return {**image.folders, **image.shared, **mounts.read, **mounts.written}

    @property
    def limit(self) -> int | None:
        """The limit of its memory in bytes."""
        limits = (self._spec.get("resources") or {}).get("limits") or {}
        return int(quantity(limits["memory"])) if "memory" in limits else None

    @property
    def is_over(self) -> bool:
        """Whether its first process has ended."""
        return self._process.poll() is not None

    @property
    def peak(self) -> int:
        """The most memory that it took, in bytes; 0 where this machine does not say."""
        return self._group.peak if self._group else 0

    def _start(self) -> subprocess.Popen[bytes]:
        command = self._command
        environment = self._variables()
        script = 'exec "$@"'
        workdir = self._spec.get("workingDir") or self._image.workdir
        if can_mount():
            command = self._in_a_root(command, workdir)
        else:
            script = f"cd {quote(on_host(workdir, self._on_host))} && {script}"
        if self._group is not None:
            environment["FLAGFALL_GROUP"] = str(self._group.door)
            script = _ENTER + script
        with self.log.open("wb") as out:
            return subprocess.Popen(
                ["/bin/sh", "-c", script, START, *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _variables(self) -> dict[str, str]:
        """The container's own, with a path that leads to this environment's programs."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {"PATH": path, **self._given}

    def _in_a_root(self, command: list[str], workdir: str) -> list[str]:
        root = self._folder / "root"
        root.mkdir()
        rights = self._spec.get("securityContext") or {}
        is_read_only = bool(rights.get("readOnlyRootFilesystem"))
        where = self._spec.get("terminationMessagePath") or TERMINATION_LOG
        read = {**self._image.folders, **self._mounts.read}
        written = {**self._image.shared, **self._mounts.written, where: self._said}
        build = root_script(root, read, written, is_read_only)
        inner = (
            f'{build}\nexec {shutil.which("chroot")} "{root}" '
            f'/bin/sh -c \'cd "$1" && shift && exec "$@"\' {START} "$@"'
        )
        unshare = [str(shutil.which("unshare")), "--mount", "--propagation", "private"]
        return [*unshare, "/bin/sh", "-c", inner, "root", workdir, *command]

    def wait(self) -> int:
        """Its exit code, as Kubernetes has it, when it has ended."""
        while self._process.poll() is None:
            if self._group is not None and self._group.killed:
                self.is_out_of_memory = True
                self.kill()
            time.sleep(POLL)
        self.kill()  # what it left behind
        for hog in self._hogs:
            hog.wait()
        code = self._process.returncode
        if self.is_out_of_memory or (self._group is not None and self._group.killed):
            self.is_out_of_memory = True
            return KILLED
        return 128 - code if code < 0 else code

    def end(self, grace: float) -> None:
        """SIGTERM to its first process, and SIGKILL to all after so many seconds.

        A second call can only shorten that time.
        """
        if grace > 0 and self._give_up == math.inf and not self.is_over:
            with suppress(ProcessLookupError):
                self._process.terminate()
        self._give_up = min(self._give_up, time.monotonic() + grace)
        while not self.is_over and time.monotonic() < self._give_up:
            time.sleep(POLL)
        self.kill()

    def start_error(self) -> str:
        """Why its command could not be started; empty if it was."""
        began = f"{START}: ".encode()
        with self.log.open("rb") as file:
            if not self._process.returncode or file.read(len(began)) != began:
                return ""
            said = file.read().decode(errors="replace").strip()
        self.log.write_bytes(b"")
        return said

    def message(self, code: int) -> str:
        """What it leaves behind for its status, when it has ended with a code."""
        said = self._said.read_bytes()[:LONGEST_MESSAGE]
        is_fallback = self._spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if code and is_fallback and not said:
            lines = self.log.read_bytes().split(b"\n")[-LAST_LINES - 1 :]
            said = b"\n".join(lines)[-LONGEST_LOG:]
        return said.decode(errors="replace")

    def kill(self) -> None:
        """SIGKILL to all that runs in it."""
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _pids(self) -> list[int]:
        if self._group is not None:
            return self._group.pids
        return [one for one in psutil.pids() if _session(one) == self._process.pid]

    def exhaust(self) -> None:
        """Have a process in it take memory without end, as a library that leaks does.

        Raises:
            RuntimeError: It has no limit that this machine could hold it to.
        """
        if self._group is None or self.limit is None:
            raise RuntimeError("memory can be limited only by root, with a cgroup")
        hog = subprocess.Popen(
            ["/bin/sh", "-c", f'{_ENTER}exec "$@"', "hog", sys.executable, "-S", "-c", _HOG],
            env={"FLAGFALL_GROUP": str(self._group.door)},
            start_new_session=True,
        )
        self._hogs.append(hog)

    def remove(self) -> None:
        """Remove what it has written, but its log."""
        if self._group is not None:
            self._group.remove()
        for name in ("volumes", "root"):
            shutil.rmtree(self._folder / name, ignore_errors=True)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0
