"""A model's folder: which files it has, and what ``card.json`` says of them.

``flagfall model init`` writes ``card.json``. A folder without it is used as it is: its version is
that of ``constants.json``, or the hash of its files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from flagfall.dataset.model import Scorer, Task
from flagfall.errors import ModelInvalid
from flagfall.stores.os_errors import translated
from flagfall.stores.places import is_file, is_folder

CARD_FILE = "card.json"  # not model.json: XGBoost calls its own file so
CONSTANTS_FILE = "constants.json"
REFERENCE_FILE = "reference.json"
ONNX_FILE = "model.onnx"
PYTHON_FILE = "model.py"

HASH_SHOWN = 12
"""Hex digits of a hash that make a version."""
_NOT_SCORING = frozenset({CARD_FILE, REFERENCE_FILE})
_NOTES = frozenset({".md", ".txt", ".parquet", ".csv"})
"""Endings of files that people keep beside a model, and that no score depends on."""

Content = TypeVar("Content", bound=BaseModel)


class Card(BaseModel):
    """What ``card.json`` says.

    Attributes:
        version: Of the model, as predictions carry it.
        sha256: Of the model's files when it was written; another one now is an error.
        task: What the model says of a row; ``None`` where it is not known.
        classes: Its classes in the order of its probabilities; empty where it has none.
        flagfall: Release that wrote it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: str
    sha256: str = ""
    task: Task | None = None
    classes: tuple[str, ...] = ()
    flagfall: str = ""


class _Versioned(BaseModel):
    """The one line of ``constants.json`` that names the model's version."""

    version: str = ""


class ModelFolder:
    """A model's folder.

    Args:
        path: Where it is.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def has(self, name: str) -> bool:
        """Whether it has a file of that name."""
        return is_file(Path(self.path) / name)

    @cached_property
    def card(self) -> Card | None:
        """What ``card.json`` says; ``None`` without one.

        Raises:
            ModelInvalid: It cannot be read, or is of other files than are there now.
        """
        if not self.has(CARD_FILE):
            return None
        card = read_model_file(Card, self.path, CARD_FILE)
        if card.sha256 and card.sha256 != self.sha256:
            why = f"its files are not those that {CARD_FILE} (version {card.version}) is of"
            raise ModelInvalid(self.path, f"{why}; run `flagfall model init` again")
        return card

    @cached_property
    def version(self) -> str:
        """Of the model, as predictions carry it.

        Raises:
            ModelInvalid: There is no such folder, or a file in it cannot be read.
        """
        if self.card is not None:
            return self.card.version
        if self.has(CONSTANTS_FILE):
            found = read_model_file(_Versioned, self.path, CONSTANTS_FILE).version
            if found:
                return found
        return f"sha256-{self.sha256[:HASH_SHOWN]}"

    @cached_property
    def sha256(self) -> str:
        """Hash of all files that a score may depend on: names and contents.

        Raises:
            ModelInvalid: There is no such folder.
        """
        digest = hashlib.sha256()
        for name in self._files():
            path = Path(self.path, name)
            with translated(path), path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{content}  {name}\n".encode())
        return digest.hexdigest()

    def _files(self) -> Iterator[str]:
        root = Path(self.path)
        if not is_folder(root):
            why = "there is no such folder; correct model.path, or `flagfall model init` makes it"
            raise ModelInvalid(self.path, why)
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root)
            hidden = any(part.startswith((".", "__pycache__")) for part in name.parts)
            if is_file(path) and not hidden and _counts(name):
                yield name.as_posix()


def _counts(name: Path) -> bool:
    return str(name) not in _NOT_SCORING and name.suffix.lower() not in _NOTES


def declared_task(scorer: Scorer) -> Task | None:
    """The task that the dataset file or ``card.json`` says, of whatever files; else ``None``."""
    if scorer.task is not None:
        return scorer.task
    try:
        return read_model_file(Card, scorer.path, CARD_FILE).task
    except ModelInvalid:
        return None


def read_model_file(kind: type[Content], model_path: str, name: str) -> Content:
    """Read a JSON file of a model's folder.

    Args:
        kind: The class of its content.
        model_path: The folder.
        name: The file's name.

    Raises:
        ModelInvalid: The file is missing or is not what ``flagfall model init`` writes.
        StoreError: It may not be read.
    """
    try:
        with translated(Path(model_path, name)):
            return kind.model_validate_json(Path(model_path, name).read_bytes())
    except FileNotFoundError as missing:
        why = f"{name} is missing; `flagfall model init` writes it from training data"
        raise ModelInvalid(model_path, why) from missing
    except ValidationError as error:
        raise ModelInvalid(model_path, f"{name}: {_problems(error)}") from error


def _problems(error: ValidationError) -> str:
    """What is wrong, by key, without the library's own pages and types."""
    found = [
        f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}"
        for one in error.errors(include_url=False)
    ]
    return "; ".join(found[:5])
