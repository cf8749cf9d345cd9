"""Functions of a team's own that take the place of a stage, or add to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from flagfall.errors import InputError
from flagfall.scoring.engines.python_worker import Refused, calling, function_of, load_module


class CodeInvalid(InputError):
    """A file of the team's own cannot be used, or its function fails."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")


@cache
def own_function(path: str, name: str) -> Callable[..., Any]:
    """A function of a file, whose errors name file and line.

    Args:
        path: The file.
        name: The function.

    Raises:
        CodeInvalid: There is no such file or function, or it cannot be loaded.
    """
    try:
        function = function_of(load_module(path), name)
    except Refused as refused:
        raise CodeInvalid(path, str(refused)) from refused

    def called(*arguments: Any) -> Any:
        try:
            return calling(path, function, *arguments)
        except Refused as refused:
            raise CodeInvalid(path, f"{name}(): {refused}") from refused

    return called
