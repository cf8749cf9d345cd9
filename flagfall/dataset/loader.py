"""Reading dataset files: YAML, variables of the environment, and mistakes with their line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from errno import EINVAL
from pathlib import Path
from stat import S_ISREG
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from flagfall.dataset.model import class_name
from flagfall.dataset.schema import Dataset
from flagfall.dataset.values import Misfit, NoUnit
from flagfall.dataset.yaml_lines import Lines, key_of, parsed
from flagfall.errors import DatasetInvalid, NotThere, Problem, shown
from flagfall.stores.uri import why_unusable

_DAYS = re.compile(r"datetime\.timedelta\(days=(\d+)\)")
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


def _place(keys: tuple[str, ...], text: str, root: Path) -> str:
    """A place of the dataset file: a URI of a store as it is, a path as an absolute one.

    Raises:
        ValueError: Nothing can be there.
    """
    expanded = _expand(text)
    if not expanded:
        return expanded  # the key's own check says so
    got = repr(text)
    if keys not in _STORES and expanded != text:  # a store's URI may have a secret in it
        got = f"{expanded!r} of {text!r}"
    if "://" in expanded and keys not in _STORES:
        raise ValueError(f"expected a path on this machine, got {got}")
    if why := why_unusable(expanded):
        raise ValueError(f"{why}, got {got}")
    return expanded if "://" in expanded else str((root / expanded).absolute())


_STORES = (("landing", "uri"), ("landing", "archive"), ("lake", "uri"))
_PATHS = (
    *_STORES,
    *(("model", key) for key in ("path", "interpreter", "challenger")),
    ("model", "pod", "template"),
    ("features", "python"),
    ("evaluate", "python"),
)
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


def _resolve(raw: dict[str, Any], root: Path, lines: Lines) -> Iterator[Problem]:
    """Fill in what the environment has, and make paths absolute; gives what cannot be."""
    for keys, section in _sections(raw):
        text = section[keys[-1]]
        try:
            section[keys[-1]] = _place(keys, text, root) if keys in _PATHS else _expand(text)
        except ValueError as error:
            yield Problem(key_of(keys), lines.of(keys), str(error))


_IN_QUOTES = " (put it in quotes if it is meant so)"


def _class_names(raw: dict[str, Any]) -> Iterator[tuple[tuple[int | str, ...], Any]]:
    """Where a file names a class, and what YAML reads there."""
    model = raw.get("model")
    if isinstance(model, dict):
        yield ("model", "positive_class"), model.get("positive_class")
        classes = model.get("classes")
        for index, name in enumerate(classes if isinstance(classes, list) else ()):
            yield ("model", "classes", index), name


def _misread_classes(raw: dict[str, Any], lines: Lines) -> Iterator[Problem]:
    """Classes that would become other texts than what is written: YAML reads ``no`` as false."""
    known = {problem.key for problem in lines.misread}
    for where, value in _class_names(raw):
        written = lines.plain(where)
        if written is None or key_of(where) in known:
            continue
        if str(class_name(value)) not in (written, written.lower()):
            why = f"expected text, got {shown(value)}{lines.reading(where)}"
            yield Problem(key_of(where), lines.of(where), why)


_EXPECTED = {
    "missing": "expected this key, it is missing",
    "extra_forbidden": "this key is not known here; check its spelling and its indentation",
    "invalid_key": "expected text as a key",
    "model_type": "expected a mapping",
    "dict_type": "expected a mapping",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "int_type": "expected a whole number",
    "string_type": "expected text" + _IN_QUOTES,
    "string_too_short": "expected some text",
    "string_pattern_mismatch": "expected lower-case letters, digits and _, a letter first",
}


_FOUND_IS_IN_THE_MESSAGE = {"value_error", "missing", "extra_forbidden"}


def _problem(detail: ErrorDetails, lines: Lines) -> Problem:
    plain = detail["msg"].removeprefix("Value error, ").replace("Input should be", "expected", 1)
    plain = _DAYS.sub(r"\1d", plain.replace("datetime.timedelta(0)", "0s"))
    message = _EXPECTED.get(detail["type"], plain)
    if detail["input"] is None:
        message = message.removesuffix(_IN_QUOTES)
    if detail["type"] not in _FOUND_IS_IN_THE_MESSAGE:
        message = f"{message}, got {shown(detail['input'])}"
    error = detail.get("ctx", {}).get("error")
    below = error.location if isinstance(error, Misfit) else ()
    location = (*detail["loc"], *below)
    reading = "" if isinstance(error, NoUnit) else lines.reading(location)
    return Problem(key_of(location), lines.of(location), message + reading)


def _text(path: Path) -> str:
    try:
        if not S_ISREG(path.stat().st_mode):  # nobody may ever write to a FIFO
            raise OSError(EINVAL, "it is a folder, a FIFO, a socket or a device")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as missing:
        raise NotThere("dataset file", str(path)) from missing
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DatasetInvalid(str(path), [Problem("", line, f"expected UTF-8: {error}")]) from error
    except OSError as error:
        problem = Problem("", None, f"expected a file that can be read: {error.strerror}")
        raise DatasetInvalid(str(path), [problem]) from error


def read_dataset(path: Path | str) -> Dataset:
    """Read one dataset file.

    Args:
        path: The YAML file; its name without ``.yaml`` is the dataset's name.

    Raises:
        DatasetInvalid: Naming the file, the line, the key and what was expected.
        NotThere: There is no such file.
    """
    path = Path(path)
    try:
        return _read_dataset(path, _text(path))
    except (DatasetInvalid, NotThere):
        raise
    except Exception as error:  # a fault of ours with this file must not stop other feeds
        problem = Problem("", None, f"it cannot be read: {type(error).__name__}: {error}")
        raise DatasetInvalid(str(path), [problem]) from error


def _read_dataset(path: Path, text: str) -> Dataset:
    raw, lines = parsed(path, text)
    problems = [*lines.misread, *_misread_classes(raw, lines)]
    problems += _resolve(raw, path.absolute().parent.parent, lines)
    if "features_python" in raw:  # the dataset's own name for it
        why = "expected features: {python: FILE}"
        problems.append(Problem("features_python", lines.of(("features_python",)), why))
    if raw.setdefault("name", path.stem) != path.stem:
        why = f"expected {path.stem!r}, the file's name, or nothing"
        problems.append(Problem("name", lines.of(("name",)), why))
    try:
        dataset = Dataset.model_validate(raw)
    except ValidationError as error:
        named = {problem.key for problem in problems}
        told = "invalid_key" if lines.misread else ""
        more = (_problem(one, lines) for one in error.errors() if one["type"] != told)
        problems += [problem for problem in more if problem.key not in named]
    if problems:
        raise DatasetInvalid(str(path), problems)
    return dataset.read_from(text)


def with_lines(path: Path, problems: Iterable[Problem]) -> list[Problem]:
    """Problems that were found after a dataset file was read, with the lines of their keys.

    Raises:
        DatasetInvalid: It is no YAML any more.
        NotThere: There is no such file any more.
    """
    _, lines = parsed(path, _text(path))
    return [replace(problem, line=lines.of_key(problem.key)) for problem in problems]


def variables(path: Path | str) -> dict[str, str]:
    """What a dataset file takes from the environment: it is needed wherever the file is read.

    Raises:
        DatasetInvalid: It is no YAML.
        NotThere: There is no such file.
    """
    path = Path(path)
    raw, _ = parsed(path, _text(path))
    texts = [section[keys[-1]] for keys, section in _sections(raw)]
    names = {match[1] for text in texts for match in _VARIABLE.finditer(text)}
    return {name: os.environ[name] for name in sorted(names) if os.environ.get(name)}


def datasets_folder() -> Path:
    """The folder of dataset files: ``$FLAGFALL_DATASETS``, else ``datasets/`` here."""
    return Path(os.environ.get("FLAGFALL_DATASETS") or "datasets").absolute()


def dataset_files(folder: Path | None = None) -> list[Path]:
    """The dataset files of ``folder`` (default: ``datasets_folder()``), sorted by name.

    Hidden ones, such as an editor's lock, are left out.

    Raises:
        DatasetInvalid: The folder is there and cannot be listed.
    """
    return [path for path in _visible(folder or datasets_folder()) if path.suffix == ".yaml"]


def _visible(folder: Path) -> list[Path]:
    """What is in a folder and not hidden, sorted; nothing where there is no folder.

    Raises:
        DatasetInvalid: It cannot be listed. ``Path.glob`` finds nothing then.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        why = f"expected a folder of dataset files that can be listed: {error.strerror}"
        raise DatasetInvalid(str(folder), [Problem("", None, why)]) from error
    return sorted(folder / name for name in names if not name.startswith("."))


def find_dataset(name: str, folder: Path | None = None) -> Dataset:
    """The dataset of that name.

    Raises:
        NotThere: Naming the datasets that there are.
        DatasetInvalid: Its file cannot be used, or the folder cannot be listed.
    """
    files = {path.stem: path for path in dataset_files(folder)}
    if name not in files:
        for misnamed in _misnamed(folder or datasets_folder()):
            if Path(misnamed.path).stem == name:
                raise misnamed
        known = ", ".join(files) or "none"
        raise NotThere("dataset", name, f"{folder or datasets_folder()} has: {known}")
    return read_dataset(files[name])


def _misnamed(folder: Path) -> Iterator[DatasetInvalid]:
    """Files that somebody may take for dataset files, and that nothing reads."""
    for path in _visible(folder):
        if path.suffix.lower() in (".yml", ".yaml") and path.suffix != ".yaml":
            why = f"expected the ending .yaml, or this is no dataset: rename it to {path.stem}.yaml"
            yield DatasetInvalid(str(path), [Problem("", None, why)])


def usable_datasets(
    folder: Path | None = None, only: str = ""
) -> tuple[list[Dataset], list[DatasetInvalid]]:
    """Every dataset that can be used, and what is wrong with the others.

    A mistake in one feed's file must not stop the feeds beside it.

    Args:
        folder: Default: ``datasets_folder()``.
        only: Name of the one dataset that is wanted; where there is no such file, every one is.

    Raises:
        DatasetInvalid: The folder is there and cannot be listed.
    """
    usable: list[Dataset] = []
    broken = [*_misnamed(folder or datasets_folder())]
    files = dataset_files(folder)
    for path in [path for path in files if path.stem == only] or files:
        try:
            usable.append(read_dataset(path))
        except DatasetInvalid as invalid:
            broken.append(invalid)
        except NotThere as gone:
            broken.append(DatasetInvalid(str(path), [Problem("", None, str(gone))]))
    return usable, broken
