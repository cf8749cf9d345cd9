"""Reading dataset files: YAML, variables of the environment, and mistakes with their line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from yaml.constructor import ConstructorError

from flagfall.dataset.schema import Dataset
from flagfall.dataset.values import Misfit
from flagfall.errors import DatasetInvalid, NotThere, Problem

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def _expand(text: str) -> str:
    """``text`` with its variables; as in a shell an empty one counts as missing for ``:-``."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1]) or match[2]
        if found is None:
            raise ValueError(f"expected the environment to have {match[1]}")
        return found

    if "${" in _VARIABLE.sub("", text):
        raise ValueError(f"expected ${{NAME}} or ${{NAME:-default}}, got {text!r}")
    return _VARIABLE.sub(value, text)


def _absolute(uri: str, root: Path) -> str:
    expanded = _expand(uri)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", expanded) or not expanded:
        return expanded  # not a path: the store understands it, or refuses it
    return str((root / expanded).absolute())


_PATHS = (("landing", "uri"), ("lake", "uri"), ("model", "path"), ("model", "pod", "template"))


_NAMES = (
    ("landing", "conn_id"),
    ("landing", "sqs_queue"),
    ("lake", "conn_id"),
    *(("model", "server", key) for key in ("url", "name", "version", "conn_id")),
    *(("model", "pod", key) for key in ("image", "namespace", "service_account", "conn_id")),
)
"""Keys in whose values the environment is looked up."""


def _sections(raw: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every key of those that is there with a text, and the mapping that it is in."""
    for keys in (*_PATHS, *_NAMES):
        section: Any = raw
        for key in keys[:-1]:
            section = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(section.get(keys[-1]), str):
            yield keys, section


def _resolve(raw: dict[str, Any], root: Path) -> None:
    """Fill in what the environment has, and make paths absolute."""
    for keys, section in _sections(raw):
        text = section[keys[-1]]
        try:
            section[keys[-1]] = _absolute(text, root) if keys in _PATHS else _expand(text)
        except ValueError as error:
            raise Misfit(keys, str(error)) from error


class _Loader(yaml.SafeLoader):
    """As PyYAML's; a value that is none, such as 30 February, is an error with a line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, LookupError) as error:
            raise ConstructorError(None, None, str(error), node.start_mark) from error


class _Lines:
    """The line of every key of a YAML document, counted from 1; and keys that stand twice."""

    def __init__(self, document: yaml.Node | None) -> None:
        self._found: dict[str, int] = {}
        self._seen: set[int] = set()
        self.repeated: list[Problem] = []
        self._visit(document, "")

    def of(self, location: Sequence[int | str]) -> int | None:
        """The line of a key, or of what it should be in; ``None`` for a missing one at the top."""
        ways = (_key(location[:end]) for end in range(len(location), 0, -1))
        return next((self._found[key] for key in ways if key in self._found), None)

    def _visit(self, node: yaml.Node | None, prefix: str) -> None:
        if id(node) in self._seen:  # an alias may lead back to where it stands
            return
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self._enter(key, value, f"{prefix}.{key.value}" if prefix else str(key.value))
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._enter(value, value, f"{prefix}[{index}]")

    def _enter(self, place: yaml.Node, value: yaml.Node, path: str) -> None:
        line = place.start_mark.line + 1
        if path in self._found:
            why = f"expected every key once, it stands on line {self._found[path]} too"
            self.repeated.append(Problem(path, line, why))
        self._found[path] = line
        self._visit(value, path)


def _key(location: Sequence[int | str]) -> str:
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    return key


_EXPECTED = {
    "missing": "expected this key, it is missing",
    "extra_forbidden": "this key is not known here; check its spelling and its indentation",
    "invalid_key": "expected text as a key",
    "model_type": "expected a mapping",
    "dict_type": "expected a mapping",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "string_type": "expected text (put it in quotes if it is meant so)",
    "string_too_short": "expected some text",
    "string_pattern_mismatch": "expected lower-case letters, digits and _, a letter first",
}


_FOUND_IS_IN_THE_MESSAGE = {"value_error", "missing", "extra_forbidden"}


def _problem(detail: ErrorDetails, lines: _Lines) -> Problem:
    plain = detail["msg"].removeprefix("Value error, ").replace("Input should be", "expected", 1)
    message = _EXPECTED.get(detail["type"], plain)
    if detail["type"] not in _FOUND_IS_IN_THE_MESSAGE:
        message = f"{message}, got {detail['input']!r}"
    error = detail.get("ctx", {}).get("error")
    below = error.location if isinstance(error, Misfit) else ()
    location = (*detail["loc"], *below)
    return Problem(_key(location), lines.of(location), message)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as missing:
        raise NotThere("dataset file", str(path)) from missing
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DatasetInvalid(str(path), [Problem("", line, f"expected UTF-8: {error}")]) from error
    except OSError as error:
        problem = Problem("", None, f"expected a file that can be read: {error.strerror}")
        raise DatasetInvalid(str(path), [problem]) from error


def _parsed(path: Path, text: str) -> tuple[dict[str, Any], _Lines]:
    try:
        loader = _Loader(text)
        document = loader.get_single_node()
        lines = _Lines(document)
        raw = loader.construct_document(document) if document else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        problem = Problem("", line, f"expected YAML: {error.problem}")
        raise DatasetInvalid(str(path), [problem]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = Problem("", line, f"expected YAML: {error.reason}")
        raise DatasetInvalid(str(path), [problem]) from error
    except RecursionError as error:
        raise DatasetInvalid(str(path), [Problem("", None, "nested too deeply")]) from error
    if lines.repeated:
        raise DatasetInvalid(str(path), lines.repeated)
    if not isinstance(raw, dict):
        found = "an empty file" if raw is None else repr(raw)[:100]
        problem = Problem("", 1, f"expected a mapping at the top, got {found}")
        raise DatasetInvalid(str(path), [problem])
    return raw, lines


def read_dataset(path: Path | str) -> Dataset:
    """Read one dataset file.

    Args:
        path: The YAML file; its name without ``.yaml`` is the dataset's name.

    Raises:
        DatasetInvalid: Naming the file, the line, the key and what was expected.
        NotThere: There is no such file.
    """
    path = Path(path)
    raw, lines = _parsed(path, _text(path))
    try:
        if raw.setdefault("name", path.stem) != path.stem:
            raise Misfit(("name",), f"expected {path.stem!r}, the file's name, or nothing")
        _resolve(raw, path.absolute().parent.parent)
        return Dataset.model_validate(raw)
    except ValidationError as error:
        problems = [_problem(detail, lines) for detail in error.errors()]
        raise DatasetInvalid(str(path), problems) from error
    except Misfit as misfit:
        problem = Problem(_key(misfit.location), lines.of(misfit.location), str(misfit))
        raise DatasetInvalid(str(path), [problem]) from misfit


def variables(path: Path | str) -> dict[str, str]:
    """What a dataset file takes from the environment: it is needed wherever the file is read.

    Raises:
        DatasetInvalid: It is no YAML.
        NotThere: There is no such file.
    """
    path = Path(path)
    raw, _ = _parsed(path, _text(path))
    texts = [section[keys[-1]] for keys, section in _sections(raw)]
    names = {match[1] for text in texts for match in _VARIABLE.finditer(text)}
    return {name: os.environ[name] for name in sorted(names) if os.environ.get(name)}


def datasets_folder() -> Path:
    """The folder of dataset files: ``$FLAGFALL_DATASETS``, else ``datasets/`` here."""
    return Path(os.environ.get("FLAGFALL_DATASETS") or "datasets").absolute()


def dataset_files(folder: Path | None = None) -> list[Path]:
    """The dataset files of ``folder`` (default: ``datasets_folder()``), sorted by name.

    Hidden ones, such as an editor's lock, are left out.
    """
    found = (folder or datasets_folder()).glob("*.yaml")
    return sorted(path for path in found if not path.name.startswith("."))


def find_dataset(name: str, folder: Path | None = None) -> Dataset:
    """The dataset of that name.

    Raises:
        NotThere: Naming the datasets that there are.
        DatasetInvalid: Its file cannot be used.
    """
    files = {path.stem: path for path in dataset_files(folder)}
    if name not in files:
        known = ", ".join(files) or "none"
        raise NotThere("dataset", name, f"{folder or datasets_folder()} has: {known}")
    return read_dataset(files[name])


def usable_datasets(folder: Path | None = None) -> tuple[list[Dataset], list[DatasetInvalid]]:
    """Every dataset that can be used, and what is wrong with the others.

    A mistake in one feed's file must not stop the feeds beside it.
    """
    usable: list[Dataset] = []
    broken: list[DatasetInvalid] = []
    for path in dataset_files(folder):
        try:
            usable.append(read_dataset(path))
        except DatasetInvalid as invalid:
            broken.append(invalid)
        except NotThere as gone:
            broken.append(DatasetInvalid(str(path), [Problem("", None, str(gone))]))
    return usable, broken
