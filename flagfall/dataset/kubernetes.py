"""What Kubernetes takes: amounts of CPU and memory, names of its objects, images.

It refuses the others when a pod is made: at night, for the first batch.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from flagfall.dataset.values import NoUnit
from flagfall.errors import shown

LEAST_MEMORY = 128 << 20
"""Bytes. Airflow's supervisor takes 90 MiB, its task from 30 MiB on, ``flagfall stage`` 160 MiB."""

_CPU = re.compile(r"[0-9]+(\.[0-9]{1,3})?|[0-9]+m")
_MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([MGT]i?)")
_BYTES = {"M": 10**6, "G": 10**9, "T": 10**12, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_QUANTITY = re.compile(r"(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
)

_HOST = r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(:\d+)?"
_PART = r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"({_HOST}/)?{_PART}(/{_PART})*(:\w[\w.-]{{0,127}})?(@[A-Za-z][\w.+-]*:[0-9A-Fa-f]{{32,}})?",
    re.ASCII,
)


def _fits(
    form: re.Pattern[str], expected: str, value: object, error: type[ValueError] = ValueError
) -> str:
    is_word = isinstance(value, str | int | float) and not isinstance(value, bool)
    text = str(value) if is_word else ""
    if not form.fullmatch(text):
        raise error(f"expected {expected}, got {shown(value)}")
    return text


def _cpu(value: object) -> str:
    expected = "CPUs such as 2, 0.5 or 500m"
    text = _fits(_CPU, expected, value)
    if not re.search("[1-9]", text):
        raise ValueError(f"expected {expected}, got {shown(value)}")
    return text


def _memory(value: object) -> str:
    text = _fits(_MEMORY, "memory with a unit, such as 512Mi or 4Gi", value, NoUnit)
    number, unit = _MEMORY.fullmatch(text).groups()  # type: ignore[union-attr]
    if float(number) * _BYTES[unit] < LEAST_MEMORY:
        why = "a Python process of Airflow takes as much before it works"
        raise ValueError(f"expected {LEAST_MEMORY >> 20}Mi or more: {why}, got {shown(value)}")
    return text


def is_quantity(value: object) -> bool:
    """Whether Kubernetes takes a value for an amount: ``2``, ``500m``, ``1.5Gi``."""
    return not isinstance(value, bool) and bool(_QUANTITY.fullmatch(str(value)))


def _namespace(value: str) -> str:
    expected = "lower-case letters, digits and -, 63 characters at most, such as flagfall"
    return value and _fits(_LABEL, expected, value)


def _service_account(value: str) -> str:
    expected = "lower-case letters, digits, - and ., such as flagfall-task"
    return value and _fits(_SUBDOMAIN, expected, value)


def _image(value: str) -> str:
    expected = "an image such as registry.example/flagfall:0.1.0, lower-case and without blanks"
    return _fits(_IMAGE, expected, value)


Cpu = Annotated[str, BeforeValidator(_cpu)]
Memory = Annotated[str, BeforeValidator(_memory)]
Namespace = Annotated[str, AfterValidator(_namespace)]
"""Empty for none, as the account is."""
ServiceAccount = Annotated[str, AfterValidator(_service_account)]
Image = Annotated[str, AfterValidator(_image)]
