"""Every error that Flagfall raises on purpose.

::

    FlagfallError
    ├── NotFinished           batches of a run; they are handed out again
    ├── InputError            somebody has to change something; trying again cannot help
    │   ├── DatasetInvalid        a dataset file
    │   ├── DatasetsInvalid       several of them
    │   ├── MarkerPatternInvalid  the pattern of a marker
    │   ├── BatchInvalid          a marker or its data: becomes a rejected receipt
    │   ├── ModelInvalid          the model's folder
    │   ├── ServerRefused         an inference server: token, model, request
    │   ├── NotThere              a name that a person typed: dataset, batch, directory
    │   ├── Ambiguous             a label that several batches have
    │   ├── NameRefused           a name for a new dataset that cannot be used
    │   └── SampleInvalid         a sample that no dataset file can be made of
    ├── ServerUnavailable     an inference server; may heal by itself
    ├── ModelCrashed          the process that runs a model; may heal by itself
    └── StoreError
        ├── StoreRefused          permission, credentials, an address that cannot be right
        │   ├── Damaged               output in the lake that is damaged or gone
        │   ├── AccessDenied          an object that may not be read; others perhaps may
        │   ├── NameTooLong           a path that the file system does not take
      │   └── NotAFile              a link, a FIFO or a directory where a file is expected
        └── StoreUnavailable      may heal by itself: try again later
            └── NotSettled            a batch that may not be complete

An operator of Airflow can therefore retry ``StoreUnavailable`` and fail ``InputError`` at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import Repr


class FlagfallError(Exception):
    """Base of all errors that are raised on purpose.

    Its text goes to logs, terminals, mails and receipts, and quotes names: so each line is written
    out as ``printable`` does, and only who raises it can begin another line.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(map(printable, lines)))


class InputError(FlagfallError):
    """Bad input: retrying without a change cannot help."""


_PASSWORD = re.compile(r"(:/+)[^\s/:@]*:\S*@")
"""Of an address such as ``s3://key:secret@bucket``."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a dataset file. As text it has no password, and is not long.

    Attributes:
        key: Path of the key, such as ``schema.fields[3].type``; empty for the whole file.
        line: Line in the file, counted from 1; ``None`` where the key is missing altogether.
        message: What was expected and what was found.
    """

    key: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line is not None else ""
        message = _without_middle(_PASSWORD.sub(r"\1***@", self.message))
        return f"{place}{self.key}: {message}" if self.key else f"{place}{message}"


class DatasetInvalid(InputError):
    """A dataset file cannot be used."""

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        super().__init__(*(f"{path}: {problem}" for problem in self.problems))


class DatasetsInvalid(InputError):
    """Some files of a folder of datasets cannot be used.

    Attributes:
        problems: One for each file.
    """

    def __init__(self, problems: Sequence[DatasetInvalid]) -> None:
        self.problems = tuple(problems)
        lines = [line for problem in problems for line in str(problem).split("\n")]
        super().__init__("dataset files that cannot be used:", *lines)


class MarkerPatternInvalid(InputError):
    """A marker pattern cannot be used."""

    def __init__(self, pattern: str, why: str) -> None:
        self.pattern = pattern
        super().__init__(f"marker pattern {pattern!r}: {why}")


MESSAGE_START, MESSAGE_END = 600, 300
"""Characters of a message for a producer that are kept where it is longer, of either end."""


class BatchInvalid(InputError):
    """A batch cannot be taken in; the message is written for its producer.

    It goes into a receipt, and quotes what a producer wrote: so the middle of a long message is
    left out. The file stands at its beginning, the remedy at its end.

    Attributes:
        reason: A short stable word for counting, such as ``size-differs``.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(_without_middle(printable(message)))


def printable(text: str) -> str:
    """Text on one line, with what does not print, or turns text around, written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_REPR = Repr()
_REPR.maxlevel, _REPR.maxlist, _REPR.maxdict = 3, 20, 20
_REPR.maxstring = _REPR.maxother = 300


def shown(value: object) -> str:
    """A value as a message shows it: the beginning of it, where aliases of YAML make it huge."""
    try:
        return _REPR.repr(value)
    except ValueError:
        return "a number of too many digits"


def _without_middle(text: str) -> str:
    if len(text) <= MESSAGE_START + MESSAGE_END:
        return text
    return f"{text[:MESSAGE_START]} … {text[-MESSAGE_END:]}"


class ModelInvalid(InputError):
    """A model's folder lacks something or does not fit its dataset."""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        super().__init__(f"model {path}: {why}")


class ModelCrashed(FlagfallError):
    """The process that runs a model has died, as for lack of memory; another try may help."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"model {path}: {why}")


class NotThere(InputError):
    """Something that a person named does not exist."""

    def __init__(self, what: str, name: str, hint: str = "") -> None:
        super().__init__(f"no {what} {name!r}" + (f"; {hint}" if hint else ""))


class Ambiguous(InputError):
    """A label that a person gave means several batches."""

    def __init__(self, label: str, batches: Sequence[str]) -> None:
        more = f" and {len(batches) - 20} more" if len(batches) > 20 else ""
        super().__init__(
            f"{label!r} names {len(batches)} batches: {', '.join(batches[:20])}{more}; give the id"
            " of one of them"
        )


class NameRefused(InputError):
    """A name cannot be the one of a new dataset."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"dataset {name!r}: {why}")


class SampleInvalid(InputError):
    """No dataset file can be written from a sample."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"sample {place}: {why}")


class PodRefused(InputError):
    """A stage that ran in a pod of its own ended, and trying it again cannot help."""

    def __init__(self, stage: str, why: str) -> None:
        super().__init__(f"{stage} in a pod: {why}")


class ServerRefused(InputError):
    """An inference server refuses, or does not have the dataset's model."""

    def __init__(self, dataset: str, url: str, why: str) -> None:
        self.url = url
        super().__init__(f"dataset {dataset}: inference server {url}: {printable(why)}")


class ServerUnavailable(FlagfallError):
    """An inference server does not answer now.

    Attributes:
        wait: Seconds after which it may be asked again, at the soonest; ``None`` where asking again
            soon is not worth it.
    """

    def __init__(self, dataset: str, url: str, why: str, wait: float | None = 0) -> None:
        self.url = url
        self.wait = wait
        super().__init__(f"dataset {dataset}: inference server {url}: {printable(why)}")


class NotFinished(FlagfallError):
    """Batches that a run took on were not received, or accepted and not evaluated.

    Attributes:
        batch_ids: Which ones.
    """

    def __init__(self, batch_ids: Sequence[str], of: int, report: str) -> None:
        self.batch_ids = tuple(batch_ids)
        more = f" and {len(batch_ids) - 10} more" if len(batch_ids) > 10 else ""
        super().__init__(
            f"{len(batch_ids)} of {of} batches of this run were not finished:"
            f" {', '.join(batch_ids[:10])}{more}; the log of the task that failed says why, and"
            f" they are handed out again by themselves. The report of what was received: {report}"
        )


class StoreError(FlagfallError):
    """A store could not do what was asked."""

    def __init__(self, uri: str, why: str) -> None:
        self.uri = uri
        super().__init__(f"{uri}: {why}")


class StoreRefused(StoreError):
    """The store refuses, and will refuse again until somebody changes something."""


class Damaged(StoreRefused):
    """Output in the lake is damaged, or a part of it is gone."""


class AccessDenied(StoreRefused):
    """An object may not be read, or not be written; others perhaps may."""


class NameTooLong(StoreRefused):
    """A path is longer than the file system allows."""


class NotAFile(StoreRefused):
    """A link, a FIFO or a directory stands where a regular file is expected."""


class StoreUnavailable(StoreError):
    """The store fails in a way that may heal by itself."""


class NotSettled(StoreUnavailable):
    """A batch may not be complete: it has to be looked at once more."""


HOPELESS = (InputError, StoreRefused)
"""Trying again cannot help: somebody has to change something first."""
HOPELESS_EXIT = 65
"""How the command line ends then (``EX_DATAERR`` of sysexits.h); other errors end with 1."""
