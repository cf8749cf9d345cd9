"""What ``pip install flagfall`` leaves out, and how to get it.

``flagfall`` alone has the core and the command line, on disk. ``[airflow]``, ``[s3]``, ``[onnx]``
and ``[report]`` add the rest; ``[all]`` is all of them. ``[delta]`` and ``[trees]`` are apart. An
Airflow that is too old is refused here, so that no room needs a check of its own.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Literal

from flagfall.errors import InputError

Extra = Literal["airflow", "s3", "onnx", "report", "delta", "trees"]

LIBRARIES: dict[Extra, tuple[str, ...]] = {
    "airflow": ("airflow",),
    "s3": ("boto3", "obstore"),
    "onnx": ("onnxruntime",),
    "report": ("jinja2", "matplotlib"),
    "delta": ("deltalake",),
    "trees": ("numba", "onnx"),
}
"""What each extra brings."""
OLDEST_AIRFLOW = (3, 2)


class ExtraMissing(InputError):
    """A library is not installed that an extra of ``flagfall`` brings."""

    def __init__(self, library: str, extra: Extra) -> None:
        super().__init__(f"{library} is not installed; pip install 'flagfall[{extra}]'")


class AirflowTooOld(InputError):
    """Flagfall cannot run on this release of Airflow."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"Airflow {found} is too old: Flagfall needs 3.2 or 3.3. The triggerer of 3.1 dies when"
            " a trigger reads a connection in a thread (apache/airflow #64620); upgrade Airflow"
        )


def has(extra: Extra) -> bool:
    """Whether the libraries of an extra are installed; it imports none of them."""
    return all(map(find_spec, LIBRARIES[extra]))


def require(extra: Extra) -> None:
    """Check that the libraries of an extra are installed; it imports none of them.

    Raises:
        ExtraMissing: One is not.
        AirflowTooOld: Airflow is, in a release that Flagfall cannot run on.
    """
    for library in LIBRARIES[extra]:
        if find_spec(library) is None:
            raise ExtraMissing(library, extra)
    if extra == "airflow":
        airflow_release()


def airflow_release() -> tuple[int, int]:
    """Major and minor number of the Airflow that is installed; it is not imported.

    Raises:
        AirflowTooOld: Flagfall cannot run on it.
    """
    installed = _airflow_version()
    major, minor = installed.split(".")[:2]
    if (found := (int(major), int(minor))) < OLDEST_AIRFLOW:
        raise AirflowTooOld(installed)
    return found


def _airflow_version() -> str:
    """Since 3.0 the code of Airflow is in a distribution of another name."""
    try:
        return version("apache-airflow-core")
    except PackageNotFoundError:
        return version("apache-airflow")
