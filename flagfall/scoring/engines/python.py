"""A model that is a Python file of the team's own: ``load(folder)`` and ``predict(model, rows)``.

It runs in this process, or in the Python of another virtual environment, whose libraries cannot
clash with those of Airflow. There it is a process of its own, and a crash of it is an error here.
"""

from __future__ import annotations

import io
import json
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any, BinaryIO, Protocol

import polars as pl

from flagfall.errors import ModelCrashed, ModelInvalid
from flagfall.scoring.engines import python_worker
from flagfall.scoring.engines.outputs import NoScores, Outputs, by_class, matrix
from flagfall.scoring.engines.python_worker import LENGTH, MODEL_FILE, PythonModel, Refused

ENDS_WITHIN = 5.0
"""Seconds that a process has to end by itself."""
LAST_WORDS = 600
"""Characters of a process's output that an error shows when it has died."""


class _Runner(Protocol):
    about: dict[str, Any]

    def predict(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, bool]:
        """A table, and whether its columns have names."""


class PythonEngine:
    """A model in Python. One thread at a time: such models need not be safe for several.

    Args:
        folder: The model's folder.
        interpreter: Python of another virtual environment; empty for this process.

    Attributes:
        task: What ``TASK`` in ``model.py`` says; ``None`` where it does not.
        classes: The same of ``CLASSES``; empty.

    Raises:
        ModelInvalid: ``model.py`` is missing, lacks a function or cannot be loaded.
        ModelCrashed: Its process died as it was loaded.
    """

    def __init__(self, folder: str, interpreter: str = "") -> None:
        self.folder = folder
        self._interpreter = interpreter
        self._lock = Lock()
        self._runner: _Runner | None = None
        about = self._loaded().about
        self.task = about.get("task")
        self.classes = tuple(about.get("classes", ()))

    def check(self, columns: Sequence[str]) -> None:
        """See ``Engine.check``: it takes what it is given."""

    def inputs(self, columns: Sequence[str]) -> tuple[str, ...]:
        """See ``Engine.inputs``."""
        return tuple(columns)

    def predict(self, rows: pl.DataFrame) -> Outputs:
        """See ``Engine.predict``."""
        with self._lock:
            table, named = self._call(self._loaded(), rows)
        try:
            if named:
                return by_class(table, rows.height)
            return Outputs(matrix(table.to_numpy(), rows.height, "predict()"), self.classes)
        except NoScores as error:
            raise self._invalid(str(error)) from error

    def _loaded(self) -> _Runner:
        """The model; loaded again where its process has died."""
        if self._runner is None:
            try:
                if self._interpreter:
                    self._runner = _Process(self._interpreter, self.folder)
                else:
                    self._runner = PythonModel(self.folder)
            except Refused as refused:
                raise self._invalid(str(refused)) from refused
            except _Died as died:
                raise ModelCrashed(self.folder, str(died)) from died
        return self._runner

    def _call(self, runner: _Runner, rows: pl.DataFrame) -> tuple[pl.DataFrame, bool]:
        try:
            return runner.predict(rows)
        except Refused as refused:
            raise self._invalid(str(refused)) from refused
        except _Died as died:
            self._runner = None
            raise ModelCrashed(self.folder, str(died)) from died

    def _invalid(self, why: str) -> ModelInvalid:
        return ModelInvalid(self.folder, f"{MODEL_FILE}: {why}")


class _Died(Exception):
    """The process has ended; the message has its last words."""


class _Process:
    """``model.py`` in a process of another Python."""

    def __init__(self, interpreter: str, folder: str) -> None:
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the process runs
        # -I: its own libraries only, whatever this process has in its environment.
        command = [interpreter, "-I", python_worker.__file__, str(Path(folder).absolute())]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words
            )
        except OSError as error:
            self._words.close()
            why = f"cannot be run by {interpreter}: {error.strerror}; correct model.interpreter"
            raise Refused(why) from error
        weakref.finalize(self, _end, self._process, self._words)
        self.about, _ = self._answer()

    def predict(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, bool]:
        """See ``PythonModel.predict``."""
        buffer = io.BytesIO()
        rows.write_ipc_stream(buffer)
        data = buffer.getvalue()
        assert self._process.stdin is not None, "it is a pipe"
        try:
            self._process.stdin.write(len(data).to_bytes(LENGTH, "big") + data)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None
        about, answer = self._answer()
        return pl.read_ipc_stream(io.BytesIO(answer)), bool(about["named"])

    def _answer(self) -> tuple[dict[str, Any], bytes]:
        assert self._process.stdout is not None, "it is a pipe"
        head = self._process.stdout.readline()
        if not head.endswith(b"\n"):
            raise self._death()
        about: dict[str, Any] = json.loads(head)
        data = self._exactly(self._process.stdout)
        if "refused" in about:
            raise Refused(str(about["refused"]))
        return about, data

    def _exactly(self, stream: BinaryIO | Any) -> bytes:
        size = stream.read(LENGTH)
        data: bytes = stream.read(int.from_bytes(size, "big"))
        if len(size) < LENGTH or len(data) < int.from_bytes(size, "big"):
            raise self._death()
        return data

    def _death(self) -> _Died:
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._words.seek(0)
        words = self._words.read().decode(errors="replace").strip()[-LAST_WORDS:]
        more = f"; its last words: {words}" if words else "; see its memory and libraries"
        return _Died(f"its process ended with {how}{more}")


def _end(process: subprocess.Popen[bytes], words: IO[bytes]) -> None:
    """End the process: it stops when there are no more requests, or is killed."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(BrokenPipeError):  # the rest of a request to a process that has died
                stream.close()
    try:
        process.wait(ENDS_WITHIN)
    except subprocess.TimeoutExpired:  # it does not look for requests
        process.kill()
        process.wait()
    words.close()
