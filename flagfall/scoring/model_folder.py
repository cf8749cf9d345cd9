"""JSON files that training writes into a model's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from flagfall.errors import ModelInvalid

_Content = TypeVar("_Content", bound=BaseModel)


def read_model_file(kind: type[_Content], model_path: str, name: str) -> _Content:
    """Read a file of a model's folder.

    Args:
        kind: The class of its content.
        model_path: The folder.
        name: The file's name.

    Raises:
        ModelInvalid: The file is missing or is not what training writes.
    """
    try:
        return kind.model_validate_json((Path(model_path) / name).read_bytes())
    except FileNotFoundError as missing:
        why = f"{name} is missing; run the model's training script, or correct model.path"
        raise ModelInvalid(model_path, why) from missing
    except ValidationError as error:
        raise ModelInvalid(model_path, f"{name}: {error}") from error
