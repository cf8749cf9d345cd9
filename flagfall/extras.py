"""What ``pip install flagfall`` leaves out, and how to get it.

``flagfall`` alone has the core and the command line, on disk. ``[airflow]``, ``[s3]``, ``[onnx]``
and ``[report]`` add the rest; ``[all]`` is all of them.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from flagfall.errors import InputError

Extra = Literal["airflow", "s3", "onnx", "report"]

LIBRARIES: dict[Extra, tuple[str, ...]] = {
    "airflow": ("airflow",),
    "s3": ("boto3", "obstore"),
    "onnx": ("onnxruntime",),
    "report": ("jinja2", "matplotlib"),
}
"""What each extra brings."""


class ExtraMissing(InputError):
    """A library is not installed that an extra of ``flagfall`` brings."""

    def __init__(self, library: str, extra: Extra) -> None:
        super().__init__(f"{library} is not installed; pip install 'flagfall[{extra}]'")


def require(extra: Extra) -> None:
    """See that the libraries of an extra are installed; it imports none of them.

    Raises:
        ExtraMissing: One is not.
    """
    for library in LIBRARIES[extra]:
        if find_spec(library) is None:
            raise ExtraMissing(library, extra)
