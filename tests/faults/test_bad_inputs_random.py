"""Thousands of markers, patterns and names that nobody thought of; the same ones every time.

Each test draws from a generator of its own with a fixed seed, and tells the draw that failed.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flagfall.errors import MESSAGE_END, MESSAGE_START, BatchInvalid, MarkerPatternInvalid
from flagfall.inbox import Feed, Inbox
from flagfall.manifest import parse_marker
from flagfall.marker import Marker, MarkerPattern
from flagfall.marker_formats.common import LONGEST_NAME
from tests.faults.bad_inputs import COMMITTER, DIGEST, GOOD, MARKER
from tests.faults.test_bad_inputs import make_feed, snapshot, take_in

MOST_FILES = 20
ZONES = ("/landing/flights", "s3://bucket/landing/flights")

PIECES = (
    "..", "../", "/../", "a/../../b", ".", "/", "//", "\\", "..\\", "%2e%2e", "%2f", "%00",
    "\0", "\n", "\r", "\t", " ", "-",
    "~", "$HOME", "`id`", "a", "b.csv", "rows.csv", "date=1", "é", "e\u0301", "\u202e", "\u200b",
    "\ufeff", "\ud800", "\udcff", "🏁", "CON", "s3://", "s3a://bucket", "file://", "file:/", "http://x",
    "://", "/landing/flights",
    "/landing/flights/", "/landing/flights-other", "bucket", ":", "?", "#", "*",
    "'", '"', "<b>", "=1+1", "n" * 300, "n" * 1_100, "{x}", "\x1b[31m", "\x7f", "'; --",
)  # fmt: skip


def name_of(draw: random.Random) -> str:
    if draw.random() < 0.6:
        return f"{draw.randrange(1_000)}.csv"
    return "".join(draw.choices(PIECES, k=draw.randint(0, 6)))


def value_of(draw: random.Random, depth: int = 0) -> Any:
    """Any value that JSON can have, and some that only Python's can."""
    kind = draw.randrange(11 if depth < 3 else 9)
    if kind == 9:
        return [value_of(draw, depth + 1) for _ in range(draw.randint(0, 4))]
    if kind == 10:
        return {key_of(draw): value_of(draw, depth + 1) for _ in range(draw.randint(0, 4))}
    plain = [None, True, False, -1, 10**30, 1.5, float("nan"), name_of(draw), DIGEST]
    return plain[kind]


KEYS = (
    "resources", "path", "bytes", "hash", "entries", "url", "meta", "content_length", "name",
    "success", "filenames", "diagnostics", "exception", "mandatory",
)  # fmt: skip


def key_of(draw: random.Random) -> str:
    return draw.choice(KEYS) if draw.random() < 0.9 else name_of(draw)


def sometimes(draw: random.Random, usual: Any) -> Any:
    """What belongs there, or anything."""
    return usual if draw.random() < 0.95 else value_of(draw)


def a_package(draw: random.Random) -> str:
    def resource() -> Any:
        paths = [name_of(draw) for _ in range(draw.randint(0, 3))]
        return sometimes(draw, {
            "path": sometimes(draw, draw.choice([name_of(draw), paths])),
            "bytes": sometimes(draw, draw.choice([None, 0, 5])),
            "hash": sometimes(draw, draw.choice([None, DIGEST, f"sha256:{DIGEST}"])),
        })  # fmt: skip

    listed = [resource() for _ in range(draw.randint(0, 5))]
    return json.dumps({"resources": sometimes(draw, listed)})


def a_redshift_manifest(draw: random.Random) -> str:
    def entry() -> Any:
        url = draw.choice(ZONES) + "/" + name_of(draw) if draw.random() < 0.95 else name_of(draw)
        meta = {"content_length": sometimes(draw, 7)}
        return sometimes(draw, {"url": sometimes(draw, url), "meta": sometimes(draw, meta)})

    return json.dumps({"entries": sometimes(draw, [entry() for _ in range(draw.randint(0, 3))])})


def a_committers_success(draw: random.Random) -> str:
    names = [
        draw.choice(["", *ZONES, "/landing/flights"]) + "/" + name_of(draw)
        for _ in range(draw.choice([0, 1, 3, 99, 100]))
    ]
    success = sometimes(draw, True)
    return json.dumps({"name": COMMITTER, "success": success, "filenames": sometimes(draw, names)})


def sums(draw: random.Random) -> str:
    def line() -> str:
        name, digest = (
            name_of(draw),
            draw.choice([*[DIGEST] * 8, DIGEST.upper(), DIGEST[:-1], "", "0" * 64]),
        )
        tagged = f"SHA256 ({name}) = {digest}"
        plain = draw.choice(["", "\\"]) + digest + draw.choice(["  ", " *", " "]) + name
        return draw.choice([tagged, plain, plain, "# " + name])

    return "\n".join([f"{DIGEST}  rows.csv"] * draw.randint(0, 1) + [line() for _ in range(4)])


def anything(draw: random.Random) -> str:
    return json.dumps(value_of(draw))


def garbled(draw: random.Random, content: bytes) -> bytes:
    """With some bytes changed, cut out or put in."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 3) if draw.random() < 0.2 else 0):
        at = draw.randrange(len(changed) + 1)
        changed[at : at + draw.randint(0, 4)] = draw.randbytes(draw.randint(0, 3))
    return bytes(changed)


FORMATS: list[Callable[[random.Random], str]] = [
    a_package, a_redshift_manifest, a_committers_success, sums, anything
]  # fmt: skip


@pytest.mark.invariant(7)
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__)
def test_a_marker_names_files_of_the_landing_zone_or_is_refused_in_words(
    make: Callable[[random.Random], str], zone: str
) -> None:
    draw = random.Random(f"{make.__name__} {zone}")
    marker = Marker(f"{zone}/date=1/m", "date=1/m", "1", datetime(2026, 11, 22, tzinfo=UTC), 1, {})
    named = refused = 0
    for number in range(2_000):
        content = garbled(draw, make(draw).encode("utf-8", "surrogatepass"))
        keys, message = parsed(marker, content)
        if message:
            refused += 1
            assert_message(message, (number, content))
            continue
        named += 1
        assert len(keys) == len(set(keys)) <= MOST_FILES, (number, content)
        for key in keys:
            assert_inside(key, (number, content))
    assert refused > 100
    assert named > (0 if make is anything else 100), "the draws were all alike"


@pytest.mark.invariant(7)
def test_any_bytes_are_no_crash() -> None:
    draw = random.Random(4)
    marker = Marker("/z/date=1/m", "date=1/m", "1", datetime(2026, 11, 22, tzinfo=UTC), 1, {})
    starts = [
        b"",
        b"{",
        b"[",
        b'{"resources": [',
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        DIGEST.encode() + b"  ",
    ]
    for _ in range(10_000):
        content = draw.choice(starts) + draw.randbytes(draw.randint(0, 60))
        keys, message = parsed(marker, content)
        for key in keys:
            assert_inside(key, content)
        if message:
            assert_message(message, content)


def parsed(marker: Marker, content: bytes) -> tuple[list[str], str]:
    """The keys that a marker names, and why it is refused; any other error is the test's."""
    try:
        return [file.key for file in parse_marker(marker, content, MOST_FILES) or []], ""
    except BatchInvalid as invalid:
        return [], f"{invalid.reason}: {invalid}"


def assert_message(message: str, draw: object) -> None:
    assert message.isprintable(), draw
    assert 20 < len(message) <= MESSAGE_START + MESSAGE_END + 40, draw
    message.encode()


def assert_inside(key: str, draw: object) -> None:
    """A key that is a file below the landing zone, on any disk and in any bucket."""
    assert not {"", ".", ".."} & set(key.split("/")), draw
    assert ".." not in re.split(r"[/\\]", key), draw
    assert "\0" not in key, draw
    assert len(key.encode()) <= LONGEST_NAME, draw


# ------------------------------------------------------------------------------------- patterns


def a_pattern(draw: random.Random) -> str:
    tokens = [
        "{a}",
        "{b}",
        "{a}",
        "*",
        "date=",
        "/",
        ".ready",
        "x",
        "é",
        ".",
        "[",
        "(",
        "$",
        "%2e",
        "-",
    ]
    return "".join(draw.choices(tokens, k=draw.randint(1, 7)))


def patterns(draw: random.Random, count: int) -> Iterator[MarkerPattern]:
    """Those that can be used; any other error than that one cannot be is the test's."""
    while count:
        with suppress(MarkerPatternInvalid):
            yield MarkerPattern(a_pattern(draw))
            count -= 1


@pytest.mark.invariant(7)
def test_what_a_pattern_is_filled_with_it_matches_again_and_stays_in_the_landing_zone() -> None:
    draw = random.Random(1)
    filled = 0
    for pattern in patterns(draw, 3_000):
        fields = {"a": name_of(draw), "b": name_of(draw)}
        try:
            key = pattern.fill(fields)
        except MarkerPatternInvalid:
            continue
        filled += 1
        assert not {"", ".", ".."} & set(key.split("/"))
        assert "\0" not in key
        found = pattern.match(key)
        assert found is not None, (pattern, fields)
        assert pattern.fill(found) == key, (pattern, fields)
    assert filled > 300


@pytest.mark.invariant(7)
def test_a_field_never_matches_across_segments() -> None:
    draw = random.Random(2)
    matched = 0
    for pattern in patterns(draw, 3_000):
        text = pattern.text.replace("*", name_of(draw))
        key = text.replace("{a}", name_of(draw)).replace("{b}", name_of(draw))
        found = pattern.match(key)
        assert pattern.text.count("/") == key.count("/") or found is None, (pattern, key)
        for value in (found or {}).values():
            matched += 1
            assert value, (pattern, key)
            assert "/" not in value, (pattern, key)
    assert matched > 300


def test_fields_are_what_a_regular_expression_would_find() -> None:
    """``[^/]+`` for a field and ``[^/]*`` for a star, each as long as can be."""
    draw = random.Random(6)
    matched = 0
    for pattern in patterns(draw, 20_000):
        key = pattern.text
        for token in ("{a}", "{b}", "*"):
            while token in key:
                key = key.replace(token, "".join(draw.choices(".-xé[(", k=draw.randint(0, 4))), 1)
        found = pattern._regex.fullmatch(key)
        matched += found is not None
        assert pattern.match(key) == (found.groupdict() if found else None), (pattern, key)
    assert matched > 3_000


def test_no_name_makes_matching_slow() -> None:
    """A regular expression takes hours to find that these do not match."""
    assert MarkerPattern("*a" * 6 + "/x").match("a" * 1_000 + "/y") is None
    assert MarkerPattern("{a}_{b}_{c}_{d}_{e}_{f}.ready").match("_" * 1_000 + ".Ready") is None


# ---------------------------------------------------------------------------------------- names


@pytest.mark.invariant(4)
@pytest.mark.invariant(5)
@pytest.mark.invariant(7)
def test_batches_and_files_of_any_name_are_taken_in_from_a_disk(tmp_path: Path) -> None:
    """Or turned away in words; and a good batch is accepted beside them all."""
    draw = random.Random(3)
    landing = tmp_path / "landing"
    dataset = make_feed(tmp_path, str(landing), str(tmp_path / "lake"))
    dates = {"good"} | {name for name in map(fit, (name_of(draw) for _ in range(120))) if name}
    for number, date in enumerate(sorted(dates)):
        folder = landing / f"date={date}"
        folder.mkdir(parents=True)
        name = "rows.csv" if date == "good" else f"{fit(name_of(draw))[:200]}.csv"
        (folder / name).write_text(GOOD)
        content = json.dumps({"resources": [{"path": name}]}) if number % 2 else ""
        (folder / MARKER).write_text(content)
    before = snapshot(landing)
    inbox = Inbox(Feed.of(dataset))
    markers = take_in(dataset, inbox)
    assert {marker.fields["date"] for marker in markers} == dates
    receipts = {marker.fields["date"]: inbox.receipts.find(marker) for marker in markers}
    for date, receipt in receipts.items():
        assert receipt is not None, date
        assert receipt.status == "accepted" or receipt.reason in REASONS_OF_NAMES, (date, receipt)
        if receipt.message:
            assert_message(receipt.message, date)
    good = receipts["good"]
    assert good is not None
    assert good.status == "accepted"
    assert sum(r.status == "accepted" for r in receipts.values() if r) > len(dates) / 2
    assert snapshot(landing) == before
    assert {path.name for path in tmp_path.iterdir()} == {"landing", "lake", "datasets"}


REASONS_OF_NAMES = {"path-escapes", "no-data", "manifest-invalid", "format"}
"""A manifest may not name ``a\\..\\b.csv``; ``.csv`` is a hidden file, or one without ending."""


def fit(name: str) -> str:
    """The same name where a disk can have it as one segment, in UTF-8."""
    text = name.replace("/", "").replace("\0", "").encode("utf-8", "ignore")[:240]
    return text.decode("utf-8", "ignore")


def test_batch_ids_of_any_name_are_safe_and_differ(tmp_path: Path) -> None:
    draw = random.Random(5)
    names = {fit(name_of(draw)) for _ in range(3_000)}
    when = datetime(2026, 11, 22, tzinfo=UTC)
    ids = [Marker(f"/z/{n}", n, "1", when, 1, {"date": n}).batch_id for n in names]
    assert len(set(ids)) == len(names)
    for batch_id in ids:
        assert batch_id == os.path.basename(batch_id)
        assert batch_id.isascii()
        assert len(batch_id) < 100
        assert not batch_id.startswith((".", "-"))
