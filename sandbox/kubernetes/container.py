"""A pod's container as a process: what it runs, what it sees, and how it ends."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from kubernetes.utils.quantity import parse_quantity

from sandbox.kubernetes.image import Image, can_mount, on_host, root_script
from sandbox.kubernetes.memory import MemoryGroup
from sandbox.kubernetes.selectors import Object

POLL = 0.05
"""Seconds between two looks at a process."""
KILLED = 137
"""Exit code of a container that got a SIGKILL."""
_ENTER = 'echo $$ > "$FLAGFALL_GROUP"; unset FLAGFALL_GROUP; '
_HOG = "memory = bytearray()\nwhile True: memory += b'x' * 50_000_000"


class Container:
    """The first container of a pod.

    Args:
        pod: As it was created.
        image: What its image stands for.
        config_maps: The data of each config map, by name.
        folder: A folder of its own: volumes, root, log.
    """

    def __init__(
        self, pod: Object, image: Image, config_maps: Mapping[str, Mapping[str, str]], folder: Path
    ) -> None:
        self._spec: Object = pod["spec"]["containers"][0]
        self._image = image
        self._folder = folder
        self.log = folder / "log"
        self.is_out_of_memory = False
        self._hogs: list[subprocess.Popen[bytes]] = []
        made = self._made(pod["spec"].get("volumes") or [])
        self._volumes = {**image.shared, **dict(made)}
        given = {**image.environment, **self._environment(config_maps)}
        if not can_mount():
            seen = {**image.folders, **self._volumes}
            given = {name: on_host(value, seen) for name, value in given.items()}
            given |= {"TMPDIR": str(seen.get("/tmp", folder))}
        self._given = given
        self._group = MemoryGroup.make(pod["metadata"]["uid"], self.limit)
        self._process = self._start()

    @property
    def limit(self) -> int | None:
        """The limit of its memory in bytes."""
        text = self._resource("limits.memory")
        return int(parse_quantity(text)) if text else None

    @property
    def peak(self) -> int:
        """The most memory that it took, in bytes; 0 where this machine does not say."""
        return self._group.peak if self._group else 0

    def _made(self, volumes: list[Object]) -> Iterator[tuple[str, Path]]:
        """The volumes that it mounts, by where it has them."""
        known = {volume["name"] for volume in volumes}
        for mount in self._spec.get("volumeMounts") or []:
            if mount["name"] in known:
                made = self._folder / "volumes" / mount["name"]
                made.mkdir(parents=True, exist_ok=True)
                yield mount["mountPath"], made

    def _environment(self, config_maps: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in self._spec.get("envFrom") or []:
            found |= config_maps[source["configMapRef"]["name"]]
        for one in self._spec.get("env") or []:
            found[one["name"]] = self._value(one)
        return found

    def _value(self, one: Object) -> str:
        if "valueFrom" not in one:
            return str(one.get("value") or "")
        field = one["valueFrom"]["resourceFieldRef"]
        divisor = parse_quantity(field.get("divisor") or "1")
        return str(math.ceil(parse_quantity(self._resource(field["resource"])) / divisor))

    def _resource(self, path: str) -> str:
        kind, _, name = path.partition(".")
        resources: Any = self._spec.get("resources") or {}
        return str((resources.get(kind) or {}).get(name) or "")

    def _start(self) -> subprocess.Popen[bytes]:
        command = [*(self._spec.get("command") or []), *(self._spec.get("args") or [])]
        if not command:
            raise FileNotFoundError("no command")
        environment = self._variables()
        script = 'exec "$@"'
        workdir = self._spec.get("workingDir") or self._image.workdir
        if can_mount():
            command = self._in_a_root(command, workdir)
        else:
            seen = {**self._image.folders, **self._volumes}
            script = f"cd '{on_host(workdir, seen)}' && {script}"
        if self._group is not None:
            environment["FLAGFALL_GROUP"] = str(self._group.door)
            script = _ENTER + script
        with self.log.open("wb") as out:
            return subprocess.Popen(
                ["/bin/sh", "-c", script, "container", *command],
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
        build = root_script(root, self._image.folders, self._volumes, is_read_only)
        inner = (
            f'{build}\nexec {shutil.which("chroot")} "{root}" /bin/sh -c \'cd "$0" && exec "$@"\' '
        )
        unshare = [str(shutil.which("unshare")), "--mount", "--propagation", "private"]
        return [*unshare, "/bin/sh", "-c", f'{inner} "$@"', "root", workdir, *command]

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
        """SIGTERM to its first process, and SIGKILL to all after so many seconds."""
        if grace > 0 and self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            give_up = time.monotonic() + grace
            while self._process.poll() is None and time.monotonic() < give_up:
                time.sleep(POLL)
        self.kill()

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
