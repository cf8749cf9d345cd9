"""A dataset file as YAML: what stands on which line, and where YAML does not read what people do.

YAML 1.1 takes ``010`` for 8, ``1:30`` for 90 and ``no`` for false.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from flagfall.errors import DatasetInvalid, Problem, shown

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_VALUE = "tag:yaml.org,2002:value"
"""Of ``=``, which PyYAML cannot construct."""
_TEXTS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge", _VALUE)
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
_PARTS = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
_QUOTES = "put text that begins with one of * & % @ ! { [ or has ': ' in it in quotes"


_ON_OF_A_NOTICE = re.compile(r"notify\[\d+\]\.on")
"""A key that YAML reads as true, and people know from elsewhere."""


_EXACT = 2**53
"""Whole numbers below are exact as floats."""


DEEPEST = 100
"""Levels of a file: libyaml's composer calls itself at each, until the process has no stack."""


MOST_KEYS = 10_000
"""Of one mapping. Merging with ``<<`` can make ten times as many at each of a few lines."""


class _Loader(yaml.CSafeLoader):
    """As libyaml's, which is ten times as fast as the one in Python.

    A value that is none, such as 30 February, is an error with a line, and ``=`` is text.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, LookupError, AttributeError, TypeError) as error:
            raise ConstructorError(None, None, _why_none(node, error), node.start_mark) from error

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MOST_KEYS:
            why = "too many keys, merged from other mappings"
            raise ConstructorError(None, None, why, node.start_mark)


def _text_of(loader: _Loader, node: yaml.Node) -> Any:
    return loader.construct_yaml_str(node)


_Loader.add_constructor(_VALUE, _text_of)


def _why_none(node: yaml.Node, error: Exception) -> str:
    kind = node.tag.rpartition(":")[2]
    shown = repr(node.value[:100]) if isinstance(node, yaml.ScalarNode) else "a mapping or a list"
    reason = f" ({error})" if isinstance(error, ValueError | OverflowError) else ""
    return f"{shown} is no {kind}{reason}: put it in quotes if it is text"


class Lines:
    """The line of every key of a YAML document, counted from 1.

    Attributes:
        repeated: Keys that stand twice.
        misread: Keys and numbers that YAML reads as something else than people do.
    """

    def __init__(self, document: yaml.Node | None) -> None:
        self._found: dict[str, int] = {}
        self._nodes: dict[str, yaml.Node] = {}
        self._seen: set[int] = set()
        self.repeated: list[Problem] = []
        self.misread: list[Problem] = []
        self._visit(document, "")

    def of(self, location: Sequence[int | str]) -> int | None:
        """The line of a key, or of what it should be in; ``None`` for a missing one at the top."""
        ways = (key_of(location[:end]) for end in range(len(location), 0, -1))
        return next((self._found[key] for key in ways if key in self._found), None)

    def of_key(self, key: str) -> int | None:
        """The same for a place that is one text (see ``key_of``)."""
        return self.of([int(index) if index else name for index, name in _PARTS.findall(key)])

    def _visit(self, node: yaml.Node | None, prefix: str) -> None:
        if id(node) in self._seen:  # an alias may lead back to where it stands
            return
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            before: yaml.Node | None = None
            for key, value in node.value:
                path = f"{prefix}.{key.value}" if prefix else str(key.value)
                if not _ON_OF_A_NOTICE.fullmatch(path):
                    self._misreads(path, key, _split_number(before, key) or _misread_key(key))
                self._enter(key, value, path)
                before = value
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._enter(value, value, f"{prefix}[{index}]")

    def _enter(self, place: yaml.Node, value: yaml.Node, path: str) -> None:
        line = place.start_mark.line + 1
        if path in self._found:
            why = f"expected every key once, it stands on line {self._found[path]} too"
            self.repeated.append(Problem(path, line, why))
        self._found[path] = line
        self._nodes[path] = value
        self._misreads(path, value, _misread_number(value))
        self._visit(value, path)

    def _misreads(self, path: str, node: yaml.Node, why: str) -> None:
        if why:
            self.misread.append(Problem(path, node.start_mark.line + 1, why))

    def plain(self, location: Sequence[int | str]) -> str | None:
        """The value there as it is written; ``None`` where it is in quotes, or no single value."""
        node = self._nodes.get(key_of(location))
        return node.value if isinstance(node, yaml.ScalarNode) and not node.style else None

    def reading(self, location: Sequence[int | str]) -> str:
        """How YAML reads the value there, where people read another; empty where they do not."""
        node = self._nodes.get(key_of(location))
        if not isinstance(node, yaml.ScalarNode) or node.style:
            return ""
        value = _value(node)
        if isinstance(value, str):
            return _number_as_text(value)
        if not node.value:
            return "; leave it out, or give it a value"
        is_plain = isinstance(value, int | float) and str(value) == node.value
        if is_plain or isinstance(value, dict | list):
            return ""
        shown = f"'{value}'" if isinstance(value, date) else repr(value)
        return f"; YAML reads {node.value} as {shown}: put it in quotes if it is text"


def key_of(location: Sequence[int | str]) -> str:
    """A place as one text, such as ``schema.fields[3].type``."""
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    return key


def _value(node: yaml.ScalarNode) -> Any:
    """What YAML reads there; the text as it stands where YAML can make nothing of it."""
    try:
        return _Loader("").construct_object(node)
    except ConstructorError:
        return node.value


def _misread_key(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or node.style or node.tag in _TEXTS:
        return ""
    value = _value(node)
    return f"expected text as a key, YAML reads {node.value} as {value!r}: put it in quotes"


def _split_number(before: yaml.Node | None, key: yaml.Node) -> str:
    """Why a key is the rest of a number such as ``{share: 0,05}``; empty where it is not."""
    if not isinstance(before, yaml.ScalarNode) or before.tag not in _NUMBERS:
        return ""
    if before.end_mark.line != key.start_mark.line or not str(key.value).isdigit():
        return ""
    whole, rest = before.value, key.value
    return (
        f"expected a number without a comma, which begins another key here: write {whole}.{rest}"
        f" for {whole},{rest} with a decimal comma, {whole}{rest} for thousands"
    )


def _misread_number(node: yaml.Node) -> str:
    """Why a number is not the one that people read; empty where it is."""
    if not isinstance(node, yaml.ScalarNode) or node.style or node.tag not in _NUMBERS:
        return ""
    if ":" not in node.value and not _OCTAL.fullmatch(node.value):
        return ""
    base = "a number of base 60" if ":" in node.value else "an octal number"
    value = _value(node)
    return (
        f"expected a plain number or text: YAML reads {node.value} as {value!r},"
        f" {base}; write {value!r} if that is meant, {node.value!r} in quotes if not"
    )


def _number_as_text(value: str) -> str:
    """Say that something is no number to YAML, such as ``1e5`` without a dot."""
    try:
        number = float(value.replace(",", "" if _THOUSANDS.fullmatch(value) else "."))
    except ValueError:
        return ""
    shown = int(number) if number.is_integer() and abs(number) < _EXACT else number
    return f"; YAML reads {value} as text: write {shown!r} if it is a number"


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise RecursionError


def parsed(path: Path, text: str) -> tuple[dict[str, Any], Lines]:
    """The mapping that a file's text is, and its lines.

    Raises:
        DatasetInvalid: It is no YAML, or no mapping with each key once.
    """
    try:
        _check_depth(text)
        loader = _Loader(text)
        document = loader.get_single_node()
        lines = Lines(document)
        raw = loader.construct_document(document) if document else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        remedy = "" if isinstance(error, ConstructorError) else f"; {_QUOTES}"
        problem = Problem("", line, f"expected YAML: {error.problem}{remedy}")
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
        found = "an empty file" if raw is None else shown(raw)
        problem = Problem("", 1, f"expected a mapping at the top, got {found}")
        raise DatasetInvalid(str(path), [problem])
    return raw, lines
