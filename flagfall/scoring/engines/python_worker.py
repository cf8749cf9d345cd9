"""Runs a team's ``model.py``: in a task's process, or as a script in another Python.

It imports nothing of Flagfall, so that another virtual environment needs no more than polars and
what the model itself needs. As a script it answers requests on standard input, each a length of
eight bytes and rows as an Arrow stream, with a line of JSON, a length and a table of the same kind.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
import traceback
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import polars as pl

MODEL_FILE = "model.py"
LENGTH = 8


class Refused(Exception):
    """What ``model.py`` lacks or has returned, in words."""


def load_module(path: str) -> ModuleType:
    """Import a file; files beside it can be imported by it.

    Raises:
        Refused: There is none, or it fails.
    """
    if not os.path.isfile(path):
        raise Refused("is missing")
    name = "flagfall_model_" + "".join(c if c.isalnum() else "_" for c in path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Refused("is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _import_from(os.path.dirname(os.path.abspath(path)))
    calling(path, spec.loader.exec_module, module)
    return module


_folders: set[str] = set()
"""Folders of the files that have been loaded."""


def _import_from(folder: str) -> None:
    """Have a file import those beside it, not those of the same names beside another one."""
    for name in [entry.removesuffix(".py") for entry in os.listdir(folder)]:
        file = getattr(sys.modules.get(name), "__file__", None) or ""
        if os.path.dirname(file.removesuffix(f"{os.sep}__init__.py")) in _folders - {folder}:
            for one in [one for one in sys.modules if f"{one}.".startswith(f"{name}.")]:
                del sys.modules[one]
    _folders.add(folder)
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)


def calling(path: str, function: Any, *arguments: Any) -> Any:
    """Call a function of a file.

    Raises:
        Refused: It raises; with the line in that file.
    """
    try:
        return function(*arguments)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == path]
        place = f"line {lines[-1]}: " if lines else ""
        raise Refused(f"{place}{type(error).__name__}: {_first_line(error)}") from error
    except SystemExit as error:
        raise Refused(f"it ends the process (exit {error.code})") from error


def _first_line(error: Exception) -> str:
    """Libraries add pages to theirs."""
    return next(iter(str(error).splitlines()), "")


def function_of(module: ModuleType, name: str) -> Any:
    """A function of a file.

    Raises:
        Refused: There is none of that name.
    """
    found = getattr(module, name, None)
    if not callable(found):
        raise Refused(f"has no function {name}()")
    return found


class PythonModel:
    """A model's ``model.py``, loaded.

    Attributes:
        about: What its constants ``TASK``, ``CLASSES`` and ``VERSION`` say.

    Raises:
        Refused: It lacks a function, or fails.
    """

    def __init__(self, folder: str) -> None:
        self._path = str(Path(folder) / MODEL_FILE)
        module = load_module(self._path)
        self._predict = function_of(module, "predict")
        load = function_of(module, "load")
        self.about = {
            "task": getattr(module, "TASK", None),
            "classes": [_name(name) for name in getattr(module, "CLASSES", ())],
        }
        self._model = calling(self._path, load, folder)

    def predict(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, bool]:
        """A table of what it returns, and whether its columns have names."""
        table, named = as_table(calling(self._path, self._predict, self._model, rows))
        if table.height != rows.height:
            raise Refused(f"predict() returned {table.height} rows for {rows.height}")
        return table, named


def as_table(found: Any) -> tuple[pl.DataFrame, bool]:
    """A table of an array, a list, a series, a mapping or a data frame; whether it has names.

    Raises:
        Refused: It is none of these.
    """
    try:
        if isinstance(found, pl.DataFrame):
            return found, True
        if isinstance(found, dict):
            return pl.DataFrame({_name(name): _plain(one) for name, one in found.items()}), True
        if hasattr(found, "to_dict") and hasattr(found, "columns"):  # a pandas.DataFrame
            return pl.DataFrame({_name(name): _plain(found[name]) for name in found.columns}), True
        plain = _plain(found)
        if getattr(plain, "ndim", 1) == 2:
            columns = {str(index): _plain(plain[:, index]) for index in range(plain.shape[1])}
            return pl.DataFrame(columns), False
        return pl.DataFrame({"0": plain}), False
    except Exception as error:
        what = f"predict() returned {type(found).__name__}"
        raise Refused(f"{what}, which is no table of numbers: {error}") from error


def _name(found: Any) -> str:
    """The name of a class: ``true`` of True, as labels have it."""
    text = str(found)
    return text.lower() if type(found).__name__ in ("bool", "bool_") else text


def _plain(found: Any) -> Any:
    """A numpy array of a tensor, a pandas series or a list; a polars series as it is."""
    if isinstance(found, pl.Series):
        return found
    if hasattr(found, "detach"):
        found = found.detach().cpu()
    import numpy as np

    array = np.asarray(found)
    # polars would keep objects as what they are, which no other process can read.
    return array.tolist() if array.dtype == object and array.ndim == 1 else array


def write(stream: BinaryIO, about: dict[str, Any], table: pl.DataFrame | None = None) -> None:
    """Write an answer."""
    data = b""
    if table is not None:
        buffer = io.BytesIO()
        table.write_ipc_stream(buffer)
        data = buffer.getvalue()
    stream.write(json.dumps(about).encode() + b"\n" + len(data).to_bytes(LENGTH, "big") + data)
    stream.flush()


def serve(folder: str, requests: BinaryIO, answers: BinaryIO) -> None:
    """Load a model and answer requests until there are no more."""
    try:
        model = PythonModel(folder)
    except Refused as refused:
        write(answers, {"refused": str(refused)})
        return
    write(answers, model.about)
    while head := requests.read(LENGTH):
        rows = pl.read_ipc_stream(io.BytesIO(requests.read(int.from_bytes(head, "big"))))
        try:
            table, named = model.predict(rows)
        except Refused as refused:
            write(answers, {"refused": str(refused)})
        else:
            write(answers, {"named": named}, table)


if __name__ == "__main__":
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)  # a model that asks somebody does not get requests
    os.dup2(2, 1)  # what the model prints goes to the log, not between the answers
    # Whoever waits for this process sees its end, though a process that the model forked lives on.
    for pipe in (requests, answers):
        os.register_at_fork(after_in_child=partial(os.dup2, nothing, pipe))
    serve(sys.argv[1], os.fdopen(requests, "rb"), os.fdopen(answers, "wb"))
