"""Markers, patterns and names that nobody thought of.

Hypothesis draws them, and where one fails it looks for the shortest that fails, too, and tells it.
They are the same ones every time that the same tests are run: constants of the modules that are
loaded are tried, too. Where a test keeps a tally, it is to see that the draws are not all alike:
good ones and bad ones have to be among them.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flagfall.dataset.feed import Feed
from flagfall.errors import MESSAGE_END, MESSAGE_START, BatchInvalid, MarkerPatternInvalid
from flagfall.inbox.inbox import Inbox
from flagfall.landing.formats.named import LONGEST_NAME
from flagfall.landing.manifest import parse_marker
from flagfall.landing.marker import Marker, MarkerPattern
from tests.faults.bad_inputs import COMMITTER, DIGEST, GOOD, MARKER
from tests.faults.test_bad_inputs import make_feed, snapshot, take_in

MOST_FILES = 4
ZONES = ("/landing/flights", "s3://bucket/landing/flights")
LANDED = datetime(2026, 11, 22, tzinfo=UTC)


def drawn(times: int) -> settings:
    return settings(
        max_examples=times,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no fault of a draw
    )


# ------------------------------------------------------------------------------ names and values

WAYS_OUT = (
    "..", "../", "/../", "a/../../b", ".", "/", "//", "\\", "..\\", "a\\..\\b", "%2e%2e", "%2f",
    "%00", "\0", "s3://", "s3a://bucket", "file://", "file:/", "http://x", "://",
    "/landing/flights", "/landing/flights/", "/landing/flights-other",
)  # fmt: skip
ODDITIES = (
    "\n", "\r", "\t", " ", "-", "_", "~", "$HOME", "`id`", "a", "b.csv", "rows.csv", "date=1", "é",
    "e\u0301", "\u202e", "\u200b", "\ufeff", "\ud800", "\udcff", "🏁", "CON", "bucket", ":", "?",
    "#", "*", "'", '"', "<b>", "=1+1", "n" * 300, "n" * 1_100, "{x}", "\x1b[31m", "\x7f", "'; --",
)  # fmt: skip
KEYS = (
    "resources", "path", "bytes", "hash", "entries", "url", "meta", "content_length", "name",
    "success", "filenames", "diagnostics", "exception", "mandatory",
)  # fmt: skip

ANY_TEXT = st.text(st.characters(), max_size=4)  # lone surrogates, too
PLAIN_NAMES = st.integers(0, 99).map("{}.csv".format)
PIECES = st.sampled_from(WAYS_OUT) | st.sampled_from(ODDITIES) | ANY_TEXT
ODD_NAMES = st.lists(PIECES, min_size=1, max_size=4).map("".join)
NAMES = PLAIN_NAMES | st.sampled_from(WAYS_OUT) | ODD_NAMES
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | NAMES | st.just(DIGEST)
ANY_VALUE = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | NAMES, inner, max_size=4)
    ),
    max_leaves=12,
)


def fit(name: str) -> str:
    """The same name where a disk can have it as one segment, in UTF-8."""
    text = name.replace("/", "").replace("\0", "").encode("utf-8", "ignore")[:240]
    return text.decode("utf-8", "ignore")


GOOD_LISTS = st.lists(PLAIN_NAMES, max_size=5)
ODD_LISTS = st.builds(lambda odd, good: [odd, *good], ODD_NAMES, st.lists(PLAIN_NAMES, max_size=2))
NAMES_ON_DISK = ODD_NAMES.map(fit)

# --------------------------------------------------------------------------------------- markers


def package(start: str, names: list[str]) -> Any:
    checked = [{"path": name, "bytes": 5, "hash": f"sha256:{DIGEST}"} for name in names[:2]]
    return {"resources": [*checked, {"path": names[2:]}] if names[2:] else checked}


def redshift_manifest(start: str, names: list[str]) -> Any:
    meta = {"content_length": 7}
    return {"entries": [{"url": f"{start}{name}", "meta": meta} for name in names]}


def committers_success(start: str, names: list[str]) -> Any:
    files = [f"{start}{name}" for name in names]
    return {"name": COMMITTER, "success": True, "filenames": files}


Place = tuple[Any, ...]  # keys and indexes that lead there


def places(value: Any) -> Iterator[Place]:
    """The way to everything in a JSON value; the first, empty, leads to all of it."""
    yield ()
    inner = dict(enumerate(value)) if isinstance(value, list) else value
    for key, one in inner.items() if isinstance(inner, dict) else ():
        yield from ((key, *place) for place in places(one))


def replaced(value: Any, place: Place, new: Any) -> Any:
    if not place:
        return new
    copy = value.copy()
    copy[place[0]] = replaced(value[place[0]], place[1:], new)
    return copy


@st.composite
def with_one_place_changed(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> Any:
    value = draw(values)
    place = draw(st.sampled_from(list(places(value))))
    return replaced(value, place, draw(ANY_VALUE))


@st.composite
def garbled(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> bytes:
    """With some bytes changed, cut out or put in."""
    content = draw(contents)
    at = draw(st.integers(0, len(content)))
    return content[:at] + draw(st.binary(max_size=3)) + content[at + draw(st.integers(0, 4)) :]


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def as_json(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return values.map(json.dumps).map(encoded)


MAKERS = {
    "package": package,
    "redshift-manifest": redshift_manifest,
    "committers-success": committers_success,
}


def contents(kind: str, zone: str) -> st.SearchStrategy[bytes]:
    """What may stand in a marker of this kind."""
    starts = st.sampled_from([f"{zone}/", "", zone, "/landing/flights/"])
    if kind == "sums":
        lines = sums(starts)
        return lines | garbled(lines)
    good = GOOD_LISTS.map(partial(MAKERS[kind], f"{zone}/"))
    odd = st.builds(MAKERS[kind], starts, ODD_LISTS)
    return as_json(odd) | as_json(with_one_place_changed(good)) | garbled(as_json(good))


def sums(folders: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """Good lines, and one that may be odd."""
    digests = st.sampled_from([*[DIGEST] * 4, DIGEST.upper(), "0" * 64, DIGEST[:-1], ""])
    starts, breaks = st.sampled_from(["", "\\"]), st.sampled_from(["  ", " *", " "])
    names = NAMES | st.builds(str.__add__, folders, NAMES)
    plain = st.builds("{}{}{}{}".format, starts, digests, breaks, names)
    tagged = st.builds("SHA256 ({}) = {}".format, names, digests)
    odd = plain | tagged | ODD_NAMES.map("# {}".format)
    good = GOOD_LISTS.map(lambda names: [f"{DIGEST}  {name}" for name in names])
    return st.builds(lambda lines, line: encoded("\n".join([*lines, line])), good, odd)


@pytest.mark.invariant(7)
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("kind", [*MAKERS, "sums"])
def test_a_marker_names_files_of_the_landing_zone_or_is_refused_in_words(
    kind: str, zone: str
) -> None:
    marker = Marker(f"{zone}/date=1/m", "date=1/m", "1", LANDED, 1, {})
    tally = Counter[str]()

    @drawn(1_000)
    @given(contents(kind, zone))
    def holds(content: bytes) -> None:
        tally["named" if named_or_refused(marker, content) else "refused"] += 1

    holds()
    assert tally["refused"] > 50
    assert tally["named"] > 25


STARTS = [b"", b"{", b"[", b'{"resources": [', b"\xef\xbb\xbf", b"\xff\xfe", f"{DIGEST}  ".encode()]
ANY_BYTES = st.builds(bytes.__add__, st.sampled_from(STARTS), st.binary(max_size=60))


@pytest.mark.invariant(7)
@drawn(1_500)
@given(ANY_BYTES | as_json(ANY_VALUE))
def test_any_bytes_and_any_json_are_no_crash(content: bytes) -> None:
    named_or_refused(Marker("/z/date=1/m", "date=1/m", "1", LANDED, 1, {}), content)


def named_or_refused(marker: Marker, content: bytes) -> list[str]:
    """The keys that a marker names, none where it is refused; any other error is the test's."""
    try:
        keys = [file.key for file in parse_marker(marker, content, MOST_FILES) or []]
    except BatchInvalid as invalid:
        assert_message(f"{invalid.reason}: {invalid}")
        return []
    assert len(keys) == len(set(keys)) <= MOST_FILES
    for key in keys:
        assert_inside(key)
    return keys


def assert_message(message: str) -> None:
    assert message.isprintable()
    assert 20 < len(message) <= MESSAGE_START + MESSAGE_END + 40
    message.encode()


def assert_inside(key: str) -> None:
    """A key that is a file below the landing zone, on any disk and in any bucket."""
    assert not {"", ".", ".."} & set(key.split("/"))
    assert ".." not in re.split(r"[/\\]", key)
    assert "\0" not in key
    assert len(key.encode()) <= LONGEST_NAME


# ------------------------------------------------------------------------------------- patterns

TOKENS = st.sampled_from(
    ["{a}", "{b}", "*", "date=", "/", ".ready", "x", "é", ".", "[", "(", "$", "%2e", "-"]
)


def usable(pattern: str) -> bool:
    """Whether it is a pattern; any other error than that it is none is the test's."""
    try:
        return bool(MarkerPattern(pattern))
    except MarkerPatternInvalid:
        return False


PATTERNS = (
    st.lists(TOKENS, min_size=1, max_size=7).map("".join).filter(usable).map(MarkerPattern)
)  # fmt: skip


@pytest.mark.invariant(7)
def test_what_a_pattern_is_filled_with_it_matches_again_and_stays_in_the_landing_zone() -> None:
    tally = Counter[str]()

    @drawn(1_000)
    @given(PATTERNS, NAMES, NAMES)
    def holds(pattern: MarkerPattern, a: str, b: str) -> None:
        try:
            key = pattern.fill({"a": a, "b": b})
        except MarkerPatternInvalid:
            return
        tally["filled"] += 1
        assert not {"", ".", ".."} & set(key.split("/"))
        assert "\0" not in key
        found = pattern.match(key)
        assert found is not None
        assert pattern.fill(found) == key

    holds()
    assert tally["filled"] > 150


@pytest.mark.invariant(7)
def test_a_field_never_matches_across_segments() -> None:
    tally = Counter[str]()

    @drawn(1_000)
    @given(PATTERNS, NAMES, NAMES, NAMES)
    def holds(pattern: MarkerPattern, a: str, b: str, star: str) -> None:
        key = pattern.text.replace("*", star).replace("{a}", a).replace("{b}", b)
        found = pattern.match(key)
        assert pattern.text.count("/") == key.count("/") or found is None
        for value in (found or {}).values():
            tally["matched"] += 1
            assert value
            assert "/" not in value

    holds()
    assert tally["matched"] > 150


def test_fields_are_what_a_regular_expression_would_find() -> None:
    """``[^/]+`` for a field and ``[^/]*`` for a star, each as long as can be."""
    tally = Counter[str]()
    filled = st.lists(st.tuples(TOKENS, st.text(".-xé[(", max_size=4)), min_size=1, max_size=7)

    @drawn(2_000)
    @given(filled.filter(lambda pairs: usable("".join(token for token, _ in pairs))))
    def holds(pairs: list[tuple[str, str]]) -> None:
        pattern = MarkerPattern("".join(token for token, _ in pairs))
        key = "".join(text if token in ("{a}", "{b}", "*") else token for token, text in pairs)
        found = pattern._regex.fullmatch(key)
        tally["matched"] += found is not None
        assert pattern.match(key) == (found.groupdict() if found else None)

    holds()
    assert tally["matched"] > 400


def test_no_name_makes_matching_slow() -> None:
    """A regular expression takes hours to find that these do not match."""
    assert MarkerPattern("*a" * 6 + "/x").match("a" * 1_000 + "/y") is None
    assert MarkerPattern("{a}_{b}_{c}_{d}_{e}_{f}.ready").match("_" * 1_000 + ".Ready") is None


# ---------------------------------------------------------------------------------------- names

REASONS_OF_NAMES = {"path-escapes", "no-data", "manifest-invalid", "format"}
"""A manifest may not name ``a\\..\\b.csv``; ``.csv`` is a hidden file, or one without ending."""


@pytest.mark.invariant(4)
@pytest.mark.invariant(5)
@pytest.mark.invariant(7)
def test_batches_and_files_of_any_name_are_taken_in_from_a_disk(tmp_path: Path) -> None:
    """Or turned away in words; and a good batch is accepted beside them all."""
    tally = Counter[str]()
    files = st.tuples(NAMES_ON_DISK, st.booleans())

    @drawn(40)
    @given(st.dictionaries(NAMES_ON_DISK.filter(bool), files, min_size=1, max_size=5))
    def holds(batches: dict[str, tuple[str, bool]]) -> None:
        with TemporaryDirectory(dir=tmp_path) as folder:
            tally.update(statuses_of(Path(folder), {**batches, "good": ("rows", False)}))

    holds()
    assert tally["accepted"] > tally["rejected"] > 0


def statuses_of(root: Path, batches: dict[str, tuple[str, bool]]) -> list[str]:
    """What becomes of good batches: by date, a file's name and whether the marker names it."""
    landing = root / "landing"
    dataset = make_feed(root, str(landing), str(root / "lake"))
    for date, (name, is_named) in batches.items():
        folder = landing / f"date={date}"
        folder.mkdir(parents=True)
        file = f"{name[:200]}.csv"
        (folder / file).write_text(GOOD)
        content = json.dumps({"resources": [{"path": file}]}) if is_named else ""
        (folder / MARKER).write_text(content)
    before, inbox = snapshot(landing), Inbox(Feed.of(dataset))
    markers = take_in(dataset, inbox)
    assert {marker.fields["date"] for marker in markers} == set(batches)
    statuses = {marker.fields["date"]: status_of(inbox, marker) for marker in markers}
    assert statuses["good"] == "accepted"
    assert snapshot(landing) == before
    assert {path.name for path in root.iterdir()} == {"landing", "lake", "datasets"}
    return list(statuses.values())


def status_of(inbox: Inbox, marker: Marker) -> str:
    receipt = inbox.receipts.find(marker)
    assert receipt is not None
    assert receipt.status == "accepted" or receipt.reason in REASONS_OF_NAMES, receipt
    if receipt.message:
        assert_message(receipt.message)
    return receipt.status


@drawn(500)
@given(st.sets(NAMES_ON_DISK, max_size=20))
def test_batch_ids_of_any_name_are_safe_and_differ(names: set[str]) -> None:
    ids = [Marker(f"/z/{n}", n, "1", LANDED, 1, {"date": n}).batch_id for n in names]
    assert len(set(ids)) == len(names)
    for batch_id in ids:
        assert batch_id == os.path.basename(batch_id)
        assert batch_id.isascii()
        assert len(batch_id) < 100
        assert not batch_id.startswith((".", "-"))
