"""Markers: how one is recognised, and what makes it the same one or a new one.

A marker's *identity* is its key in the landing zone and its version. The version changes whenever a
producer writes the marker again or, on a disk, adds to the batch's folder. A new version is a new
delivery: what it holds decides whether it brings anything new. A batch id, which is a hash of the
identity, names one delivery for ever, also where the landing zone is reached by another path.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from heapq import merge
from operator import attrgetter
from typing import Annotated, Any

from pydantic import AfterValidator, TypeAdapter

from flagfall.errors import MarkerPatternInvalid
from flagfall.landing.foreign_patterns import foreign

_TOKEN = re.compile(r"\{(\w*)\}|(\*)")
_IN_BRACES = re.compile(r"\{([^{}]*)\}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._=-]+")


def is_text(name: str) -> bool:
    """Whether the name of a file is UTF-8, as receipts need it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class _Segment:
    """A pattern of one name, matched from its end.

    A regular expression would try every way to share a name among several fields: a producer could
    choose one for which that takes hours.

    Attributes:
        start: Text before the first token.
        tokens: Fields (``""`` for a ``*``), each with the text behind it.
    """

    start: str
    tokens: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, text: str) -> _Segment:
        """The segment of a pattern that has been checked."""
        found = list(_TOKEN.finditer(text))
        ends = [*(match.start() for match in found[1:]), len(text)]
        return cls(
            text[: found[0].start()] if found else text,
            tuple((m[1] or "", text[m.end() : end]) for m, end in zip(found, ends, strict=False)),
        )

    def names(self) -> str | Callable[[str], bool]:
        """The one name that matches, or which do."""
        if not self.tokens:
            return self.start
        start, end = self.start, self.tokens[-1][1]
        if len(self.tokens) > 1:
            return lambda name: name.endswith(end) and self.match(name) is not None
        least = len(start) + len(end) + bool(self.tokens[0][0])
        return lambda name: name.endswith(end) and name.startswith(start) and len(name) >= least

    def match(self, name: str) -> list[tuple[str, str]] | None:
        """Fields and values in their order; ``None`` where it does not match."""
        if not self.tokens:
            return [] if name == self.start else None
        if not name.startswith(self.start) or not name.endswith(self.tokens[-1][1]):
            return None
        begin, end = len(self.start), len(name) - len(self.tokens[-1][1])
        found: list[tuple[str, str]] = []
        for index in range(len(self.tokens) - 1, -1, -1):
            field, longest = self.tokens[index][0], end - bool(self.tokens[index][0])
            text = self.tokens[index - 1][1] if index else ""
            if longest < begin:
                return None
            at = name.rfind(text, begin, longest) if index else begin
            if at < 0:
                return None
            found.append((field, name[at + len(text) : end]))
            end = at
        return [(field, value) for field, value in reversed(found) if field]


@dataclass(frozen=True)
class MarkerPattern:
    """The path of a marker below its landing zone, such as ``date={date}/_SUCCESS``.

    ``{field}`` matches one or more characters within a path segment, and the batch carries the
    value. ``*`` matches any characters within a segment. A field that stands twice must match the
    same text.

    Raises:
        MarkerPatternInvalid: It is empty, absolute, leaves the landing zone, has a bad field, or is
            written in another tool's language.
    """

    text: str

    def __post_init__(self) -> None:
        segments = self.text.split("/")
        if not self.text or "" in segments:
            raise MarkerPatternInvalid(self.text, "expected a path below the landing zone")
        if ".." in segments or "." in segments:
            raise MarkerPatternInvalid(self.text, "'.' and '..' are not allowed")
        if why := foreign(self.text):
            raise MarkerPatternInvalid(self.text, why)
        for name in _IN_BRACES.findall(self.text):
            if not name.isidentifier():
                why = f"{{{name}}} is not a field name: it has letters, digits and _"
                raise MarkerPatternInvalid(self.text, why)
        if re.search(r"[{}]", _TOKEN.sub("", self.text)):
            raise MarkerPatternInvalid(self.text, "a brace is not closed")

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, in the order in which they stand."""
        return tuple(dict.fromkeys(m[1] for m in _TOKEN.finditer(self.text) if m[2] is None))

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        seen: set[str] = set()
        regex, end = "", 0
        for match in _TOKEN.finditer(self.text):
            regex += re.escape(self.text[end : match.start()])
            if match[2]:
                regex += "[^/]*"
            elif match[1] in seen:
                regex += f"(?P={match[1]})"
            else:
                seen.add(match[1])
                regex += f"(?P<{match[1]}>[^/]+)"
            end = match.end()
        return re.compile(regex + re.escape(self.text[end:]), re.DOTALL)

    @cached_property
    def _segments(self) -> tuple[_Segment, ...]:
        return tuple(map(_Segment.of, self.text.split("/")))

    @cached_property
    def _shares(self) -> bool:
        """Whether several fields share a segment."""
        return any(len(segment.tokens) > 1 for segment in self._segments)

    @cached_property
    def _ending(self) -> str:
        """What every marker's key ends with."""
        return _TOKEN.split(self.text)[-1] or ""

    @cached_property
    def shape(self) -> tuple[str | Callable[[str], bool], ...]:
        """What a marker's key looks like: for every segment its name, or which names match."""
        return tuple(segment.names() for segment in self._segments)

    def match(self, key: str) -> dict[str, str] | None:
        """The fields of the marker at ``key``, or ``None`` where it is no marker.

        Where there are several ways to match, the first fields are as long as can be. It takes no
        longer than to read the key, unless a field that stands twice is found to differ.
        """
        if not key.endswith(self._ending):  # as most keys do not
            return None
        if not self._shares:
            return self._matched(key)
        names = key.split("/")
        if len(names) != len(self._segments):
            return None
        fields: dict[str, str] = {}
        agree = True
        for segment, name in zip(self._segments, names, strict=True):
            found = segment.match(name)
            if found is None:
                return None
            for field, value in found:
                agree &= fields.setdefault(field, value) == value
        return fields if agree else self._matched(key)

    def _matched(self, key: str) -> dict[str, str] | None:
        found = self._regex.fullmatch(key)
        return found.groupdict() if found else None

    def stem(self, key: str) -> str:
        """What the data files of the marker at ``key`` are called, where several share a folder.

        That is the marker's file name up to the end of its last field: ``2013-05-01`` for
        ``2013-05-01.ready`` or ``2013-05-01_SUCCESS``. Empty where the file name has no field. What
        hides a marker is none of it, since hidden files are no data: ``orders`` for
        ``.orders.ready`` where the pattern begins with that dot.
        """
        start, end = self._stem(key)
        return key[start:end]

    def after_stem(self, key: str) -> str:
        """What follows the stem in the marker's file name."""
        return key[self._stem(key)[1] :]

    def _stem(self, key: str) -> tuple[int, int]:
        tail = MarkerPattern(self.text.rpartition("/")[2])
        begin = key.rfind("/") + 1
        found = tail._regex.fullmatch(key, begin)
        if not found or not tail.fields:
            return begin, begin
        hidden = len(tail.text) - len(tail.text.lstrip("._"))
        return begin + hidden, found.end(tail.fields[-1])

    @cached_property
    def owns_folder(self) -> bool:
        """Whether a marker's folder is its batch's alone: its file name is always the same."""
        return not _TOKEN.search(self.text.rpartition("/")[2])

    def beginning(self, partition: dict[str, str]) -> str:
        """What keys begin with, up to the first field that is not in ``partition``.

        Args:
            partition: strftime patterns of fields.

        Returns:
            A strftime pattern; empty where the pattern begins with another field.
        """
        text, end, filled = "", 0, False
        for match in _TOKEN.finditer(self.text):
            if match[1] not in partition:
                break
            text += self.text[end : match.start()].replace("%", "%%") + partition[match[1]]
            end, filled = match.end(), True
        return text if filled else ""

    def fill(self, fields: Mapping[str, object]) -> str:
        """The path of the one marker that has these fields; a number or a day is taken as text.

        Raises:
            MarkerPatternInvalid: A field is missing, or the pattern has a ``*``.
        """
        if "*" in self.text:
            raise MarkerPatternInvalid(self.text, "a pattern with '*' does not name one marker")
        if missing := [name for name in self.fields if fields.get(name) in (None, "")]:
            raise MarkerPatternInvalid(self.text, f"no value for {', '.join(missing)}")
        texts = {name: str(fields[name]) for name in self.fields}
        if unsafe := [name for name, text in texts.items() if "/" in text]:
            raise MarkerPatternInvalid(self.text, f"'/' in the value of {', '.join(unsafe)}")
        key = _TOKEN.sub(lambda match: texts[match[1]], self.text)
        if {".", ".."} & set(key.split("/")) or "\0" in key:
            raise MarkerPatternInvalid(self.text, f"{key!r} is no path below the landing zone")
        return key


def digest_of(key: str) -> str:
    """Hash of a marker's key: 24 hexadecimal digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def delivery_hash(key: str, version: str, replay: int = 0) -> str:
    """Hash of the identity of a delivery: 16 hexadecimal digits."""
    identity = f"{key}\n{version}" + (f"\n{replay}" if replay else "")
    return hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]


LABEL_LENGTH = 60
"""Characters of a label that a batch id begins with."""

_BATCH_ID = "_batch_id"
"""Where a marker keeps its id. A ``cached_property`` would give each a dictionary, and Python's
collector, which stops every thread, twice as much to look at."""

_PIECE = 5_000
"""Markers that are sorted in a few milliseconds."""


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


_Moment = Annotated[datetime, AfterValidator(_in_utc)]


@dataclass(frozen=True)
class Marker:
    """One marker as a sweep saw it.

    Attributes:
        uri: The landing zone's URI, ``/`` and ``key``.
        key: Path below the landing zone.
        version: Differs each time the marker is written (see the store) and, where its folder is
            its batch's alone, each time that something is added to it or removed. On S3 that is
            seen by a sweep, of data that may be younger than the marker.
        landed_at: When it landed (UTC).
        size: Bytes.
        fields: Fields of the marker pattern.
        replay: 0 for the delivery itself, n for the n-th time that a person handed it out again.
        staged_from: Of a replay, the batch id whose staged rows it takes in again; empty for the
            files in the landing zone.
        first_landed_at: Of a replay, when the delivery itself landed (UTC).
    """

    uri: str
    key: str
    version: str
    landed_at: _Moment
    size: int
    fields: dict[str, str]
    replay: int = 0
    staged_from: str = ""
    first_landed_at: _Moment | None = None

    @property
    def batch_id(self) -> str:
        """Name of this delivery, safe in a path and an URL: ``<readable part>.<hash>``."""
        known: str | None = getattr(self, _BATCH_ID, None)
        if known is None:
            known = delivery_hash(self.key, self.version, self.replay)
            known = f"{self.label[:LABEL_LENGTH]}.{known}"
            object.__setattr__(self, _BATCH_ID, known)
        return known

    @property
    def label(self) -> str:
        """A short readable name: the fields' values, else the folder, else the file's name."""
        folder, _, name = self.key.rpartition("/")
        text = "-".join(self.fields.values()) or folder.rpartition("/")[2] or name
        return _UNSAFE.sub("-", text).strip(".-") or "batch"

    @cached_property
    def key_digest(self) -> str:
        """Hash of the key: the same for every delivery of this marker."""
        return digest_of(self.key)

    @property
    def delivered_at(self) -> datetime:
        """When its producer delivered it (UTC), however often it was handed out again."""
        return self.first_landed_at or self.landed_at

    @property
    def order(self) -> tuple[datetime, str]:
        """What markers are sorted by: the order in which they landed."""
        return self.landed_at, self.key

    def is_young(self, now: datetime, settle: timedelta) -> bool:
        """Whether it landed less than ``settle`` ago; a clock that is far off makes none young."""
        return abs(now - self.landed_at) < settle

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for XCom and JSON."""
        plain = {**asdict(self), "landed_at": self.landed_at.isoformat()}
        first = plain.pop("first_landed_at")
        return plain if first is None else {**plain, "first_landed_at": first.isoformat()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Marker:
        """The inverse of ``to_dict``; fields that a later release added are ignored.

        Raises:
            ValueError: It is no marker.
        """
        return _readable().validate_python(plain)

    @classmethod
    def from_json(cls, text: bytes) -> Marker:
        """The same of JSON.

        Raises:
            ValueError: It is no marker.
        """
        return _readable().validate_json(text)


@lru_cache
def _readable() -> TypeAdapter[Marker]:
    return TypeAdapter(Marker)


def in_order(markers: Sequence[Marker]) -> list[Marker]:
    """Markers in the order in which they landed.

    Python sorts without letting any other thread run; so it does that in pieces.
    """
    by_order = attrgetter("order")
    starts = range(0, len(markers), _PIECE)
    return [*merge(*(sorted(markers[n : n + _PIECE], key=by_order) for n in starts), key=by_order)]
