"""A Dockerfile's instructions, and their execution in a folder instead of a container."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]

NOT_RUN = {
    "apt-get": "it would change this machine",
    "groupadd": "it would change this machine's users",
}
"""Steps that a folder cannot take the place of, by their first word, and why."""


@dataclass(frozen=True)
class Step:
    """One instruction: its name, its text on one line, and the stage that it is in, from 0."""

    name: str
    text: str
    stage: int


def steps(file: Path) -> Iterator[Step]:
    """The instructions of a Dockerfile; comments are left out, and lines that go on are joined."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    stage = -1
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, text = line.split(maxsplit=1)
            stage += name == "FROM"
            yield Step(name, " ".join(text.split()), stage)


@dataclass
class Image:
    """A folder that stands for the file system of an image, of all its stages together.

    Args:
        root: The folder; empty.
    """

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    folder: Path = Path("/")

    def build(self, file: Path) -> None:
        """Execute the instructions in their order.

        Raises:
            AssertionError: An instruction failed, or is not known here.
        """
        self._base_image()
        for step in steps(file):
            getattr(self, f"_{step.name.lower()}")(step)

    def here(self, path: str | Path) -> Path:
        """Where a path of the image is on this machine."""
        return self.root / str(self.folder / path).lstrip("/")

    def run(self, command: str, more: Mapping[str, str] | None = None) -> str:
        """What a shell command in the image printed, as the image's user would run it."""
        inherited = ("HOME", "LANG", "PIP_", "UV_", "SSL_", "HTTP", "http", "TMPDIR")
        outside = {k: v for k, v in os.environ.items() if k.startswith(inherited)}
        done = subprocess.run(
            ["/bin/sh", "-c", self._moved(command)],
            cwd=self.here("."),
            env={"PATH": self._path, **outside, **self.environment, **(more or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    @property
    def _path(self) -> str:
        return f"{self.root}/usr/local/bin:/usr/bin:/bin"

    def _base_image(self) -> None:
        """Python where its image has it."""
        subprocess.run([sys.executable, "-m", "venv", self.root / "usr/local"], check=True)

    def _moved(self, text: str) -> str:
        return re.sub(r"(?<![\w.$}])/(?=(opt|build|entrypoint)\b)", f"{self.root}/", text)

    def _arg(self, step: Step) -> None:
        assert step.text.startswith("PYTHON="), step

    def _from(self, step: Step) -> None:
        self.environment.clear()
        self.folder = Path("/")

    def _env(self, step: Step) -> None:
        for name, value in re.findall(r"(\w+)=(\S+)", step.text):
            before = self.environment.get(name, self._path)
            self.environment[name] = self._moved(value).replace(f"${name}", before)

    def _workdir(self, step: Step) -> None:
        self.folder = Path(step.text)
        self.here(".").mkdir(parents=True, exist_ok=True)

    def _copy(self, step: Step) -> None:
        *sources, target = step.text.split()
        if sources[0].startswith("--from="):
            assert sources[1:] == [target], "stages share one folder here"
            return
        for source in sources:
            self._copy_one(ROOT / source, target)

    def _copy_one(self, source: Path, target: str) -> None:
        into = self.here(target)
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, into, dirs_exist_ok=True, ignore=ignored)
            return
        into = into / source.name if target.endswith("/") or target == "./" else into
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, into)

    def _run(self, step: Step) -> None:
        command = re.sub(r"--mount=\S+ ", "", step.text)
        if reason := NOT_RUN.get(command.split()[0]):
            self.left_out[command] = reason
            return
        self.run(command)
        self.ran.append(command)

    def _user(self, step: Step) -> None:
        self.environment["USER"] = step.text

    def _entrypoint(self, step: Step) -> None:
        assert Path(self._moved(json.loads(step.text)[0])).exists()

    def _cmd(self, step: Step) -> None:
        self.command: list[str] = json.loads(step.text)
