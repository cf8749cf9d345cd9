"""Batches as they should not be, and some that only look so: a table of cases.

Needs no pytest: a script may take the table, write ``dataset_file`` for a feed, ``drop`` every case
into its landing zone and compare the receipts with what stands here. Each case has a folder of its
own, ``date=<partition>/``, and its marker, which says in any of its formats what belongs to the
batch, comes last.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import polars as pl

MARKER = "datapackage.json"
PATTERN = f"date={{date}}/{MARKER}"

HEADER = "id,value,day,note\n"
GOOD = f"{HEADER}1,0.5,2026-11-01,a\n2,1.5,2026-11-02,b\n"
DIGEST = hashlib.sha256(GOOD.encode()).hexdigest()
HTML = "<img src=x onerror=alert(1)>"
FORMULA = '=HYPERLINK("http://evil.example","x")+cmd|\' /C calc\'!A0'
MIB = 1 << 20

Write = Callable[[Path], None]
Content = str | bytes | Callable[[], str | bytes]
"""Of a file; a function makes what is large, and only when it is dropped."""
Reasons = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Case:
    """A batch and what must become of it.

    Attributes:
        name: Unique, and a folder's name.
        group: What it is about.
        write: Writes data and marker into the batch's folder, the marker last.
        reason: Of the receipt; empty where the batch is accepted.
        says: A phrase of the receipt's message.
        rows: Rows that are accepted.
        bad: Reasons of rejected rows, and how many rows each.
        partition: Value of ``date``; empty: the case's name.
        on: Where it can be: links, pipes and names that are no text only on a disk.
        reason_on_s3: Its reason there, where it is another: S3 can store names that no file has.
        heavy: What takes a second or more to make or to take in.
    """

    name: str
    group: str
    write: Write
    reason: str = ""
    says: str = ""
    rows: int = 0
    bad: Reasons = ()
    partition: str = ""
    on: Literal["any", "disk"] = "any"
    reason_on_s3: str = field(default="", kw_only=True)
    heavy: bool = field(default=False, kw_only=True)

    @property
    def status(self) -> Literal["accepted", "rejected"]:
        return "rejected" if self.reason else "accepted"

    @property
    def date(self) -> str:
        return self.partition or self.name

    @property
    def key(self) -> str:
        """The marker's path below the landing zone."""
        return f"date={self.date}/{MARKER}"


def drop(case: Case, landing: Path) -> Path:
    """Write a case's batch into a landing zone; gives its marker."""
    folder = landing / f"date={case.date}"
    folder.mkdir(parents=True)
    case.write(folder)
    return folder / MARKER


def dataset_file(landing: str, lake: str, more: str = "") -> str:
    """The YAML of the feed that the cases are for; ``more`` is YAML for its end."""
    return f"""\
title: Bad input
landing: {{uri: "{landing}", marker: "{PATTERN}", settle: 1s}}
lake: {{uri: "{lake}"}}
schema:
  fields:
    - {{name: id, type: integer, constraints: {{required: true}}}}
    - {{name: value, type: number, constraints: {{minimum: 0}}}}
    - {{name: day, type: date}}
    - {{name: note, type: string}}
  primaryKey: [id]
thresholds: {{rejected_share: 0.5}}
{more}"""


# ------------------------------------------------------------------------------ how a batch is made


def _bytes(content: Content) -> bytes:
    made = content() if callable(content) else content
    return made.encode() if isinstance(made, str) else made


def _mark(folder: Path, content: Content) -> None:
    """The marker, in one step."""
    (folder / ".marker").write_bytes(_bytes(content))
    (folder / ".marker").rename(folder / MARKER)


def says(content: Content) -> Write:
    """A good file, and a marker with this content."""

    def write(folder: Path) -> None:
        (folder / "rows.csv").write_text(GOOD)
        _mark(folder, content)

    return write


def package(*resources: Any) -> Write:
    """A good file, and a Data Package with these resources."""
    return says(json.dumps({"resources": list(resources)}))


def of(**resource: Any) -> Write:
    """A Data Package of one file, ``rows.csv`` unless it is told otherwise."""
    return package({"path": "rows.csv", **resource})


def file(content: Content, name: str = "rows.csv") -> Write:
    """A file beside an empty marker."""

    def write(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_bytes(content))
        _mark(folder, "")

    return write


def rows(*lines: str) -> Write:
    """A CSV of these lines and three good ones before them."""
    return file(HEADER + "".join(f"{n},1,,\n" for n in (101, 102, 103)) + "\n".join(lines) + "\n")


def lines(*texts: str | bytes) -> Write:
    """JSON lines: these, and three good ones before them."""
    good = [b'{"id": %d, "value": 1, "day": null, "note": ""}' % n for n in (101, 102, 103)]
    return file(b"\n".join([*good, *map(_bytes, texts), b""]), "rows.jsonl")


def parquet(frame: pl.DataFrame, **how: Any) -> bytes:
    written = io.BytesIO()
    frame.write_parquet(written, **how)
    return written.getvalue()


def table(**columns: Any) -> pl.DataFrame:
    """Two good rows, with these columns in the place of theirs."""
    days = pl.Series(["2026-11-01", "2026-11-02"]).str.to_date()
    good = {"id": [1, 2], "value": [0.5, 1.5], "day": days, "note": ["a", "b"]}
    return pl.DataFrame({**good, **columns})


def in_turn(*steps: Write) -> Write:
    def write(folder: Path) -> None:
        for step in steps:
            step(folder)

    return write


def beside(name: str, content: Content = GOOD) -> Write:
    """One more file."""

    def write(folder: Path) -> None:
        (folder / name).write_bytes(_bytes(content))

    return write


# ---------------------------------------------------------------------------------------- manifests

UNKNOWN, INVALID, ESCAPES = "marker-not-understood", "manifest-invalid", "path-escapes"
COMMITTER = "org.apache.hadoop.fs.s3a.commit.files.SuccessData/1"


def manifests() -> Iterator[Case]:
    def case(name: str, write: Write, reason: str, phrase: str) -> Case:
        return Case(name, "manifest", write, reason, phrase)

    what = "expected an empty file, a Data Package descriptor"
    yield case("text", says("done"), UNKNOWN, what)
    yield case("cut-short", says('{"resources": [{"path": "ro'), UNKNOWN, "not JSON: Unterminated")
    yield case("not-utf8", says(b'{"resources": [{"path": "\xff"}]}'), UNKNOWN, "not UTF-8")
    yield case("utf-16", says('{"resources": []}'.encode("utf-16")), UNKNOWN, "not UTF-8")
    yield case("zeros-after-a-crash", says(b"\0" * 512), UNKNOWN, what)
    yield case("nested-lists", says("[" * 200_000), UNKNOWN, "nested too deeply")
    yield case("nested-objects", says('{"a":' * 200_000), UNKNOWN, "nested too deeply")
    yield case("nested-and-closed", says("[" * 9_999 + "]" * 9_999), UNKNOWN, what)
    yield case(
        "huge-number", says(b'{"resources": ' + b"9" * 5_000 + b"}"), UNKNOWN, "a number with"
    )
    twice = '{"resources": [{"path": "rows.csv"}], "resources": [{"path": "b"}]}'
    yield case("key-twice", says(twice), UNKNOWN, "the key 'resources' stands twice")
    inner = '{"resources": [{"path": "rows.csv", "path": "/etc/passwd"}]}'
    yield case("path-key-twice", says(inner), UNKNOWN, "the key 'path' stands twice")
    yield case("json-null", says("null"), UNKNOWN, what)
    yield case("json-number", says("1"), UNKNOWN, what)
    yield case("json-list", says("[]"), UNKNOWN, what)
    yield case("json-object", says("{}"), UNKNOWN, what)
    yield case("json-nan", says("NaN"), UNKNOWN, what)
    yield Case("100-megabytes", "manifest", _hundred_megabytes, "marker-too-large",
               "limits.marker_bytes", heavy=True)  # fmt: skip
    yield Case("a-million-resources", "manifest", _million, "marker-too-large",
               "write several batches", heavy=True)  # fmt: skip
    names = ({"path": f"{n}.csv"} for n in range(10_001))
    yield case("10001-resources", package(*names), "too-many-files", "names more than 10000 files")


def _hundred_megabytes(folder: Path) -> None:
    """Sparse: it takes no room on the disk."""
    (folder / ".marker").write_text('{"resources": [{"path": "rows.csv"}]}')
    os.truncate(folder / ".marker", 100_000_000)
    (folder / "rows.csv").write_text(GOOD)
    (folder / ".marker").rename(folder / MARKER)


def _million(folder: Path) -> None:
    one = '{"path": "rows.csv"}'
    says(f'{{"resources": [{",".join([one] * 1_000_000)}]}}')(folder)


def wrong_types() -> Iterator[Case]:
    def case(name: str, write: Write, phrase: str) -> Case:
        return Case(name, "types in manifests", write, INVALID, phrase)

    yield case("resources-null", says('{"resources": null}'), "resources: expected a list of files")
    yield case("resources-object", says('{"resources": {}}'), "resources: expected a list of files")
    yield case("resources-empty", package(), "resources: expected a list of files")
    yield case("resource-text", package("rows.csv"), "resources[0]: expected an object")
    yield case("resource-null", package(None), "resources[0]: expected an object")
    yield case("path-missing", package({"bytes": 1}), "resources[0].path: expected a file's path")
    yield case("path-number", of(path=1), "expected a file's path, got 1")
    yield case("path-null", of(path=None), "expected a file's path, got null")
    yield case("path-true", of(path=True), "expected a file's path, got true")
    yield case("path-empty", of(path=""), "expected a file's path, got ''")
    yield case("path-list-with-null", of(path=["rows.csv", None]), "expected a file's path")
    yield case("path-object", of(path={"a": 1}), "expected a file's path, got an object")
    yield case("bytes-text", of(bytes="1"), "bytes: expected a count, got '1'")
    yield case("bytes-negative", of(bytes=-1), "bytes: expected a count, got -1")
    yield case("bytes-true", of(bytes=True), "bytes: expected a count, got true")
    yield case("bytes-fraction", of(bytes=1.5), "bytes: expected a count, got 1.5")
    yield case("bytes-nan", of(bytes=float("nan")), "bytes: expected a count, got nan")
    infinite = says('{"resources": [{"path": "rows.csv", "bytes": 1e999}]}')
    yield case("bytes-infinite", infinite, "bytes: expected a count, got inf")
    two = of(path=["rows.csv", "b.csv"], bytes=1)
    yield case("bytes-of-two-paths", two, "one resource per file")
    yield case("hash-md5", of(hash="d41d8cd98f00b204e9800998ecf8427e"), "expected 'sha256:'")
    yield case("hash-short", of(hash=f"sha256:{DIGEST[:-1]}"), "expected 'sha256:' and 64 hex")
    yield case("hash-number", of(hash=1), "expected 'sha256:' and 64 hex digits, got 1")
    yield case("file-twice", package(*[{"path": "rows.csv"}] * 2), "names 'date=")
    disguised = package({"path": "rows.csv"}, {"path": "./rows.csv"})
    yield case("file-twice-in-disguise", disguised, "name every file once")
    yield case("the-folder-itself", of(path="."), "expected a file's path, got '.'")
    yield case("lone-surrogate", says(r'{"resources": [{"path": "\ud800.csv"}]}'), "a file's path")


def escapes() -> Iterator[Case]:
    def case(name: str, write: Write, phrase: str) -> Case:
        return Case(name, "out of the landing zone", write, ESCAPES, phrase)

    remedy = "leaves the marker's folder; use a path below it"
    yield case("dots", of(path=".."), remedy)
    yield case("dots-to-a-neighbour", of(path="../date=good/rows.csv"), remedy)
    yield case("dots-in-the-middle", of(path="a/../../b"), remedy)
    yield case("dots-with-backslashes", of(path="..\\..\\b"), remedy)
    yield case("dots-in-a-list", of(path=["rows.csv", "../b.csv"]), remedy)
    yield case("absolute", of(path="/etc/passwd"), remedy)
    yield case("network-share", of(path="\\\\host\\share"), remedy)
    yield case("two-slashes", of(path="//host/share"), remedy)
    yield case("file-uri", of(path="file:///etc/passwd"), remedy)
    yield case("metadata-service", of(path="http://169.254.169.254/latest"), remedy)
    yield case("another-bucket", of(path="s3://another-bucket/rows.csv"), remedy)
    yield case("nul", of(path="rows\0.csv"), "has a NUL character")
    zero = says(f"{DIGEST}  rows.csv\0{DIGEST}  b.csv\0")
    yield case("sums-of-zero", zero, "NUL characters, as of sha256sum --zero")
    yield case("dots-that-stay", of(path="x/../rows.csv"), "has '..' in it; write the path without")
    outside = "lies outside the landing zone"
    yield case("redshift-another-bucket", _entry(url="s3://another-bucket/rows.csv"), outside)
    yield case("redshift-absolute", _entry(url="/etc/passwd"), outside)
    yield case("redshift-http", _entry(url="https://evil.example/rows.csv"), outside)
    yield case("hadoop-another-bucket", _committed("s3a://another-bucket/rows.csv"), outside)
    yield case("hadoop-root", _committed("/etc/passwd"), outside)
    yield case("sums-absolute", says(f"{DIGEST}  /etc/passwd\n"), outside)
    yield case("sums-dots", says(f"{DIGEST}  ../rows.csv\n"), remedy)
    yield case("sums-escaped", says(f"\\{DIGEST}  ..\\\\rows.csv\n"), remedy)

    def zone(start: Callable[[Path], str], *after: str) -> Write:
        return lambda folder: in_turn(beside("rows.csv"), lambda at: _mark(at, json.dumps({
            "name": COMMITTER, "filenames": [f"{start(folder.parent)}{rest}" for rest in after],
        })))(folder)  # fmt: skip

    encoded = zone(Path.as_uri, "/%2e%2e/%2e%2e/etc/passwd")
    yield Case("hadoop-encoded-dots", "out of the landing zone", encoded, ESCAPES, outside,
               on="disk")  # fmt: skip
    yield Case("zones-name-as-a-prefix", "out of the landing zone",
               zone(str, "-other/rows.csv"), ESCAPES, outside, on="disk")  # fmt: skip
    yield Case("link-to-a-file", "out of the landing zone", _link_to_a_file, "not-a-file",
               "a link, or not a regular file", on="disk")  # fmt: skip
    yield Case("link-to-a-folder", "out of the landing zone", _link_to_a_folder, "not-a-file",
               "write a file there, then the marker again", on="disk")  # fmt: skip
    yield Case("link-beside-an-empty-marker", "out of the landing zone", _only_a_link, "not-a-file",
               "write the file itself, or hide it", on="disk")  # fmt: skip
    yield Case("pipe", "out of the landing zone", _pipe, "not-a-file", "not a regular file",
               on="disk")  # fmt: skip


def _entry(**entry: Any) -> Write:
    return says(json.dumps({"entries": [entry]}))


def _committed(*names: Any, **more: Any) -> Write:
    return says(json.dumps({"name": COMMITTER, "filenames": names, **more}))


def _link_to_a_file(folder: Path) -> None:
    (folder / "rows.csv").symlink_to("/etc/hostname")
    _mark(folder, json.dumps({"resources": [{"path": "rows.csv"}]}))


def _link_to_a_folder(folder: Path) -> None:
    (folder / "sub").symlink_to("/etc")
    _mark(folder, json.dumps({"resources": [{"path": "sub/hostname"}]}))


def _only_a_link(folder: Path) -> None:
    (folder / "rows.csv").symlink_to("/etc/hostname")
    _mark(folder, "")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "rows.csv")
    _mark(folder, json.dumps({"resources": [{"path": "rows.csv"}]}))


def promises() -> Iterator[Case]:
    """Markers that are understood, and not true."""

    def case(name: str, write: Write, reason: str, phrase: str) -> Case:
        return Case(name, "promises", write, reason, phrase)

    yield case("wrong-hash", of(hash=f"sha256:{'0' * 64}"), "hash-differs", "rows.csv: its sha256")
    size = len(GOOD)
    yield case("size-too-small", of(bytes=size - 1), "size-differs", f"the file has {size};")
    yield case("size-too-large", of(bytes=10**30), "size-differs", f"the file has {size};")
    yield case(
        "missing-file", of(path="absent.csv"), "file-missing", "absent.csv: the marker names"
    )
    yield case("file-of-another-case", of(path="ROWS.CSV"), "file-missing", "ROWS.CSV: the marker")
    yield case("name-too-long", of(path="n" * 300), "file-missing", "it is not there; write it")
    longest = "a name of more than 1024 bytes; use a shorter one"
    for name, path in (("path-too-long", "n/" * 600), ("path-of-megabytes", "n" * 4_000_000)):
        yield case(name, of(path=path), INVALID, longest)
    yield case("below-a-file", of(path="rows.csv/rows.csv"), "not-a-file", "write a file there")
    yield Case("a-folder-for-a-file", "promises", _folder, "not-a-file", "not a regular file",
               on="disk")  # fmt: skip
    yield case("the-marker-itself", of(path=MARKER), INVALID, "it is a marker and no data")
    yield Case("unlisted-file", "promises", in_turn(beside("more.csv", "nonsense"), of()), rows=2)
    yield Case("names-of-megabytes", "promises", says(_long_names), "names-too-long",
               "use shorter ones, or several batches", partition="m" * 240)  # fmt: skip
    yield case("empty-marker-alone", lambda folder: _mark(folder, ""), "no-data", "no data files")
    hidden = in_turn(beside(".rows.csv"), beside("_rows.csv"), lambda at: _mark(at, ""))
    yield case("only-hidden-files", hidden, "no-data", "no data files beside the marker")
    yield Case("file-name-not-text", "promises",
               lambda at: file(GOOD, os.fsdecode(b"\xff.csv"))(at), "name-not-text",
               "rename it, then drop the marker again", on="disk")  # fmt: skip
    yield case("redshift-no-list", says('{"entries": {}}'), INVALID, "entries: expected a list")
    yield case("redshift-no-entries", says('{"entries": []}'), "no-data", "names no data files")
    yield case(
        "redshift-no-url", _entry(mandatory=True), INVALID, "expected a file's URL, got null"
    )
    yield case("redshift-meta-text", _entry(url="x", meta="1"), INVALID, "meta: expected an object")
    negative = _entry(url="x", meta={"content_length": -5})
    yield case("redshift-negative", negative, INVALID, "expected a count, got -5")
    failed = _committed(success=False, diagnostics={"exception": "No space left on device"})
    yield case("hadoop-failed", failed, INVALID, "the job that wrote it failed ('No space left")
    names_null = says(json.dumps({"name": COMMITTER, "filenames": None}))
    yield case("hadoop-no-list", names_null, INVALID, "filenames: expected a list of files")
    nothing = json.dumps({"name": COMMITTER, "filenames": []})
    yield case("hadoop-no-files", lambda at: _mark(at, nothing), "no-data", "no data files beside")
    yield case(
        "hadoop-number", _committed(7), INVALID, "filenames[0]: expected a file's path, got 7"
    )
    bad_line = says(f"{DIGEST}  rows.csv\nnonsense\n")
    yield case("sums-a-bad-line", bad_line, INVALID, "line 2: expected 64 hex digits")
    yield case("sums-wrong", says(f"{'0' * 64}  rows.csv\n"), "hash-differs", "is not the one")
    yield case("sums-of-itself", says(f"{DIGEST}  {MARKER}\n"), "no-data", "names no data files")
    yield case(
        "sums-bad-escape", says(f"\\{DIGEST}  a\\x.csv\n"), INVALID, "no escape of sha256sum"
    )
    sums = says(f"{DIGEST}  rows.csv\n")
    yield Case("sums-right", "promises", sums, rows=2)


def _long_names() -> str:
    """Less than a marker may have; with their folder's name it is more."""
    names = ({"path": f"{n:05}-{'n' * 240}.csv"} for n in range(9_999))
    return json.dumps({"resources": list(names)})


def _folder(folder: Path) -> None:
    (folder / "rows.csv").mkdir()
    _mark(folder, json.dumps({"resources": [{"path": "rows.csv"}]}))


# ------------------------------------------------------------------------------------------- CSV


def csv_files() -> Iterator[Case]:
    def good(name: str, text: str | bytes, count: int = 2) -> Case:
        return Case(name, "CSV, odd and right", file(text), rows=count)

    def case(name: str, content: Content, reason: str, phrase: str) -> Case:
        return Case(name, "CSV", file(content), reason, phrase)

    yield good("bom", b"\xef\xbb\xbf" + GOOD.encode())
    yield good("crlf", GOOD.replace("\n", "\r\n"))
    yield good("no-last-line-end", GOOD.rstrip("\n"))
    yield good("blank-lines", GOOD.replace("\n", "\n\n"))
    yield good("swapped-columns", "note,day,value,id\na,2026-11-01,0.5,1\nb,,,2\n")
    yield good("extra-columns", "x,id,value,day,note,y\n9,1,0.5,,a,9\n9,2,,,b,9\n")
    yield good("line-break-in-quotes", f'{HEADER}1,1,,"a\nb"\n2,1,,"c ""d"""\n')
    yield good("quote-within-a-field", f'{HEADER}1,1,,5" pipe\n2,1,,x\n')
    yield good("header-only", HEADER, 0)
    yield good("header-without-line-end", HEADER.rstrip("\n"), 0)
    yield good("no-value-where-none-is-required", f"{HEADER}1,,,\n2,,,\n")

    yield case("no-bytes", b"", "empty", "rows.csv: empty; expected a header")
    yield case("only-line-ends", "\n\r\n\n", "empty", "rows.csv: empty; expected a header")
    yield case("bom-alone", b"\xef\xbb\xbf", "empty", "expected a header with the column names")
    yield case(
        "no-header", "1,0.5,2026-11-01,a\n", "columns", "columns missing: id, value, day, note"
    )
    yield case("header-in-capitals", GOOD.upper(), "columns", "found: 'ID', 'VALUE'")
    yield case("column-missing", "id,value,day\n1,1,\n", "columns", "columns missing: note; found")
    yield case("column-twice", f"id,{GOOD}", "columns", "columns found twice: id; name each once")
    semicolons = GOOD.replace(",", ";")
    yield case("semicolons", semicolons, "columns", "seems to be a semicolon; expected a comma")
    tabs = GOOD.replace(",", "\t")
    yield case("tabs", tabs, "columns", "the separator seems to be a tab; expected a comma")
    yield case("carriage-returns", GOOD.replace("\n", "\r"), "columns", "write line feeds")
    yield case(
        "bad-utf8", GOOD.encode() + b"3,1,,\xe9\n", "encoding", "line 4: not UTF-8 (byte 0xe9)"
    )
    yield case(
        "utf16", GOOD.encode("utf-16"), "encoding", "line 1: UTF-16; write the file as UTF-8"
    )
    yield case("utf16-without-bom", GOOD.encode("utf-16-le"), "nul-byte", "line 1: a NUL byte")
    yield case("nul-bytes", GOOD + "3,1,,\0\n", "nul-byte", "rows.csv: line 4: a NUL byte")
    yield case(
        "open-quote", f'{GOOD}3,1,,"x\n4,1,,y\n', "open-quote", "rows.csv: line 4: a quote is"
    )
    yield case("text-after-a-quote", f'{GOOD}3,1,,"x"y\n', "quoting", "line 4: ',' expected after")
    yield case(
        "10-mb-field",
        lambda: f"{GOOD}3,1,,{'x' * 10_000_000}\n",
        "long-line",
        "line 4: a row of more",
    )
    yield case(
        "10-mb-row", lambda: GOOD + "," * 10_000_000 + "\n", "long-line", "(limits.row_bytes)"
    )
    yield case(
        "10-mb-in-quotes",
        lambda: f'{GOOD}3,1,,"' + "x\n" * 5_000_000,
        "long-line",
        "is a quote left open",
    )
    wide = f"id,value,day,note,{','.join(f'c{n}' for n in range(9_997))}\n"
    yield case("10001-columns", wide, "columns", "more than 10000 columns (limits.columns)")
    yield case(
        "web-page", "<!DOCTYPE html><html><body>503</body></html>\n", "columns", "'<!DOCTYPE"
    )
    yield Case("spreadsheet", "CSV", file(b"PK\3\4", "rows.xlsx"), "format", "format not known")
    yield Case("zip", "CSV", file(b"PK\3\4", "rows.csv.zip"), "format", "understood are .csv, .tsv")
    yield Case("no-ending", "CSV", file(GOOD, "rows"), "format", "rows: format not known")
    second = in_turn(beside("other.csv", "nonsense\n"), file(GOOD))
    yield Case("one-bad-file-of-two", "CSV", second, "columns", "other.csv: columns missing: id")


def csv_rows() -> Iterator[Case]:
    """Three rows are good in each of them."""

    def case(name: str, line: str, reason: str) -> Case:
        return Case(name, "rows", rows(line), rows=3, bad=((reason, 1),))

    yield case("long-row", "1,1,,a,b", "row: 5 fields, expected 4")
    yield case("very-long-row", "," * 5_000, "row: more than 8 fields, expected 4")
    yield case("short-row", "1,1", "row: 2 fields, expected 4")
    yield case("torn-row", "1,1,\r,a", "row: a carriage return outside quotes")
    yield case("decimal-comma", "1,0,5,,a", "row: 5 fields, expected 4")
    yield case("decimal-comma-in-quotes", '1,"0,5",,a', "value: not a number")
    yield case("thousands", '1,"1,000.5",,a', "value: not a number")
    yield case("unit", "1,5 EUR,,a", "value: not a number")
    yield case("not-a-number", "1,NaN,,a", "value: not a finite number")
    yield case("infinite", "1,1e999,,a", "value: not a finite number")
    yield case("below-the-minimum", "1,-0.01,,a", "value: below minimum 0")
    yield case("30-february", "1,1,2026-02-30,a", "day: not a date")
    yield case("29-february", "1,1,2026-02-29,a", "day: not a date")
    yield case("13th-month", "1,1,2026-13-01,a", "day: not a date")
    yield case("year-zero", "1,1,0000-01-01,a", "day: not a date")
    yield case("american-date", "1,1,11/22/2026,a", "day: not a date")
    yield case("time-for-a-date", "1,1,2026-11-22T00:00:00,a", "day: not a date")
    yield case("integer-with-a-fraction", "1.5,1,,a", "id: not an integer")
    yield case("integer-with-a-space", " 1,1,,a", "id: not an integer")
    yield case("integer-of-65-bits", "9223372036854775808,1,,a", "id: not an integer")
    yield case("integer-of-a-megabyte", "9" * 1_000_000 + ",1,,", "id: not an integer")
    yield case("other-digits", "\u0661,1,,a", "id: not an integer")
    yield case("no-key", ",1,,a", "id: required")
    yield case("key-twice-in-a-batch", "101,1,,a", "primaryKey: repeats an earlier row")
    yield Case("three-of-six", "rows", rows("x,1,,", "y,1,,", "z,1,,"), rows=3,
               bad=(("id: not an integer", 3),))  # fmt: skip
    yield Case("four-of-seven", "rows", rows(*("x,1,,",) * 4), "too-many-bad-rows",
               "4 of 7 rows break a rule", bad=(("id: not an integer", 4),))  # fmt: skip
    bad = file(f"{HEADER}x,y,z,a\nx,-1,z,b\n")
    yield Case("all-rows-bad", "rows", bad, "too-many-bad-rows", "2 of 2 rows break a rule",
               bad=(("id: not an integer", 2), ("day: not a date", 2), ("value: not a number", 1),
                    ("value: below minimum 0", 1)))  # fmt: skip
    many = file(lambda: HEADER + "x,1,,\n" * 200_000)
    yield Case("200000-bad-rows", "rows", many, "too-many-bad-rows", "200000 of 200000 rows",
               bad=(("id: not an integer", 200_000),))  # fmt: skip


def json_lines() -> Iterator[Case]:
    def row(name: str, text: str, reason: str) -> Case:
        return Case(name, "JSON lines", lines(text), rows=3, bad=((reason, 1),))

    def case(name: str, write: Write, reason: str, phrase: str) -> Case:
        return Case(name, "JSON lines", write, reason, phrase)

    yield row("row-not-json", "{'id': 1}", "row: not JSON")
    yield row("row-cut-short", '{"id": 1', "row: not JSON")
    yield row("row-a-list", "[1]", "row: not a JSON object")
    yield row("row-null", "null", "row: not a JSON object")
    yield row("row-nested-deeply", "[" * 100_000, "row: not JSON")
    yield row("row-nan", '{"id": 1, "value": NaN}', "row: not JSON")
    yield row("row-huge-number", f'{{"id": {"9" * 5_000}}}', "row: not JSON")
    yield row("row-object-for-a-text", '{"id": 1, "note": {"a": 1}}', "note: an object or a list")
    yield row("row-number-for-a-text", '{"id": 1, "note": 5}', "note: not a string")
    yield row("row-text-for-a-number", '{"id": 1, "value": "0,5"}', "value: not a number")
    yield row("row-lone-surrogate", r'{"id": 1, "note": "\ud800"}', "row: not JSON")
    never = file('{"value": 1}\n', "rows.jsonl")
    yield case("key-in-no-row", never, "columns", "columns missing: id, day, note; found")
    one = file('[{"id": 1}, {"id": 2}]\n', "rows.jsonl")
    yield Case("one-json-list", "JSON lines", one, "too-many-bad-rows", "most often 'row: not a",
               bad=(("row: not a JSON object", 1),))  # fmt: skip
    yield case(
        "json-bad-utf8", lines(b'{"id": 1, "note": "\xff"}'), "encoding", "line 4: not UTF-8"
    )
    yield case("json-nul", lines(b'{"id": 1}\0'), "nul-byte", "rows.jsonl: line 4: a NUL byte")
    long_line = file(lambda: f'{{"id": 1, "note": "{"x" * 10_000_000}"}}', "rows.jsonl")
    yield case("json-10-mb-line", long_line, "long-line", "rows.jsonl: line 1: a row of more than")
    yield Case("json-no-rows", "JSON lines", file("", "rows.jsonl"), rows=0)
    endings = '{"id": 1}\r\n{"id": 2, "value": 1, "day": "", "note": ""}'
    yield Case("json-other-endings", "JSON lines", file(endings, "rows.ndjson"), rows=2)
    twice = '{"id": 1, "value": 1, "v\\u0061lue": 2}'
    yield row("row-with-a-key-twice", twice, "row: the key 'value' stands twice")


# --------------------------------------------------------------------------------- Parquet and gzip


def parquet_files() -> Iterator[Case]:
    def case(name: str, content: Content, reason: str, phrase: str) -> Case:
        return Case(name, "Parquet", file(content, "rows.parquet"), reason, phrase)

    damaged = "rows.parquet: cut short, damaged or not Parquet"
    yield case("parquet-cut-short", lambda: parquet(table())[:-40], "parquet", damaged)
    yield case("parquet-without-its-end", lambda: parquet(table())[:100], "parquet", damaged)
    yield case("parquet-no-bytes", lambda: b"", "parquet", damaged)
    yield case("parquet-only-the-magic", lambda: b"PAR1PAR1", "parquet", damaged)
    yield case("parquet-is-csv", GOOD.encode, "parquet", damaged)
    yield case("parquet-long-footer", _footer_too_long, "parquet", damaged)
    yield case("parquet-zeroed-pages", _zeroed, "parquet", "rows.parquet: ")
    yield case("parquet-column-missing", lambda: parquet(table().drop("note")), "columns",
               "columns missing: note; found: 'id', 'value', 'day'")  # fmt: skip
    yield case(
        "parquet-no-columns-at-all", lambda: parquet(pl.DataFrame()), "columns", "found: none"
    )
    yield case("parquet-binary-text", lambda: parquet(table(note=[b"a", b"b"])), "types",
               "column note is Binary, expected string; write them so")  # fmt: skip
    yield case("parquet-list-for-a-number", lambda: parquet(table(value=[[1], [2]])), "types",
               "column value is List(Int64), expected number")  # fmt: skip
    yield case("parquet-number-for-a-date", lambda: parquet(table(day=[1, 2])), "types",
               "column day is Int64, expected date")  # fmt: skip
    yield case("parquet-endless-rows", _endless, "expands", "limits.expand_ratio")
    yield case("parquet-10-mb-text", lambda: parquet(table(note=["a", "x" * 10_000_000])),
               "long-line", "row 2: note: a text of more than 1048576 bytes")  # fmt: skip
    yield Case("parquet-fraction-for-an-integer", "Parquet",
               file(lambda: parquet(table(id=[1.0, 2.5])), "rows.parquet"), rows=1,
               bad=(("id: not an integer", 1),))  # fmt: skip
    texts = file(lambda: parquet(table().cast(pl.String())), "rows.parquet")
    yield Case("parquet-text-for-everything", "Parquet", texts, rows=2)
    yield Case("parquet-no-rows", "Parquet",
               file(lambda: parquet(table().clear()), "rows.parquet"), rows=0)  # fmt: skip


def _footer_too_long() -> bytes:
    return parquet(table())[:-8] + (0x7FFFFFFF).to_bytes(4, "little") + b"PAR1"


def _zeroed() -> bytes:
    data = parquet(table(), compression="uncompressed")
    return data[:4] + b"\0" * 80 + data[84:]


def _endless() -> bytes:
    frame = pl.select(id=pl.repeat(0, 3_000_000), value=pl.lit(0.0), note=pl.lit(""))
    return parquet(frame.with_columns(pl.lit("2026-11-01").str.to_date().alias("day")))


def gzip_files() -> Iterator[Case]:
    def case(name: str, content: Content, reason: str, phrase: str) -> Case:
        return Case(name, "gzip", file(content, "rows.csv.gz"), reason, phrase)

    packed = gzip.compress(GOOD.encode(), mtime=0)
    yield case("gzip-is-csv", GOOD.encode, "gzip", "not valid gzip (Not a gzipped file")
    yield case("gzip-cut-short", lambda: packed[:-9], "gzip", "cut short; write the file again")
    yield case("gzip-wrong-sum", lambda: packed[:-8] + b"\0" * 8, "gzip", "write it again")
    yield case("gzip-with-junk", lambda: packed + b"junk", "gzip", "rows.csv.gz: not valid gzip")
    yield case("gzip-no-bytes", lambda: b"", "empty", "rows.csv.gz: empty; expected a header")
    yield case("gzip-of-nothing", lambda: gzip.compress(b""), "empty", "expected a header")
    yield case("gzip-of-gzip", lambda: gzip.compress(packed), "format", "gzip data within gzip")
    yield case("gzip-of-utf16", lambda: gzip.compress(GOOD.encode("utf-16")), "encoding", "UTF-16")
    yield Case("gzip-bomb", "gzip", file(_bomb, "rows.csv.gz"), "expands", "limits.expand_bytes",
               heavy=True)  # fmt: skip
    yield Case("gzip-bomb-of-one-line", "gzip", file(lambda: gzip.compress(bytes(16 * MIB)) * 100,
               "rows.csv.gz"), "long-line", "limits.row_bytes", heavy=True)  # fmt: skip
    yield Case("gzip-bomb-of-members", "gzip", file(_members, "rows.jsonl.gz"), "expands",
               "split the file, or write it with less repetition", heavy=True)  # fmt: skip
    twice = file(gzip.compress(packed), "rows.csv.gz.gz")
    yield Case("gzip-twice", "gzip", twice, "format", "rows.csv.gz.gz: format not known")
    yield Case("gzip-of-members", "gzip", file(lambda: gzip.compress(HEADER.encode())
               + gzip.compress(b"1,1,,a\n"), "rows.csv.gz"), rows=1)  # fmt: skip


def _bomb() -> bytes:
    """2 GB in some MB."""
    block = gzip.compress((b"0" * 1_000 + b",1,,\n") * 20_000, mtime=0)
    return gzip.compress(HEADER.encode(), mtime=0) + block * 100


def _members() -> bytes:
    """2 GB in some MB: each of its members is harmless."""
    line = b'{"id": 1, "note": "' + b"0" * 1_000 + b'"}\n'
    return gzip.compress(line * 2_000, mtime=0) * 1_000


# ---------------------------------------------------------------- what a person or a page may show


def shown() -> Iterator[Case]:
    """HTML and formulas, wherever a producer can write them."""

    def case(name: str, write: Write, reason: str = "", phrase: str = "", **more: Any) -> Case:
        return Case(name, "HTML and formulas", write, reason, phrase, **more)

    quoted = FORMULA.replace('"', '""')
    html = file(f'{HEADER}1,1,,{HTML}\n2,1,,"<script>alert(2)</script>"\n')
    yield case("html-in-values", html, rows=2)
    formulas = file(f'{HEADER}1,1,,"{quoted}"\n2,1,,@SUM(1+1)\n3,1,,+1\n4,1,,-1\n5,1,,\t=1\n')
    yield case("formulas-in-values", formulas, rows=5)
    yield case("html-in-bad-values", rows(f"{HTML},{HTML},,"), rows=3,
               bad=(("id: not an integer", 1), ("value: not a number", 1)))  # fmt: skip
    yield case("formulas-in-bad-values", rows(f'"{quoted}",1,,'), rows=3,
               bad=(("id: not an integer", 1),))  # fmt: skip
    yield case("html-in-the-header", file(f"{HTML},id\n1,1\n"), "columns", "found: '<img src=x")
    formula_header = file(f'"{quoted}"\n1\n')
    yield case("formula-in-the-header", formula_header, "columns", "found: '=HYPERLINK")
    yield case("html-in-a-file-name", file(GOOD, "<b>rows.csv"), rows=2)
    yield case("formula-in-a-file-name", file("no", "=1+cmd.csv"), "columns", "=1+cmd.csv: columns")
    yield case(
        "html-in-a-path", of(path="<img src=x onerror=alert(1)>.csv"), "file-missing", "<img"
    )
    yield case("html-in-a-hash", of(hash=HTML), INVALID, "expected 'sha256:'")
    yield case("html-of-a-failed-job", _committed(success=False, diagnostics={"exception": HTML}),
               INVALID, "run the job again")  # fmt: skip
    yield case(
        "terminal-codes-in-a-path",
        of(path="\x1b[31mred\x07.csv"),
        "file-missing",
        "\\x1b[31m",
        reason_on_s3="not-a-file",
    )
    yield case("turned-around-in-a-path", of(path="\u202egnp.csv"), "file-missing", "\\u202egnp")
    yield case(
        "line-break-in-a-path",
        of(path="a\nrejected: no.csv"),
        "file-missing",
        "a\\nrejected",
        reason_on_s3="not-a-file",
    )


def names() -> Iterator[Case]:
    """Good batches with odd names: of the partition, or of the file."""

    def case(name: str, partition: str, on: Literal["any", "disk"] = "any") -> Case:
        return Case(f"name-{name}", "names", file(GOOD), rows=2, partition=partition, on=on)

    yield case("space", " a b ")
    yield case("line-break", "a\nb", "disk")  # S3 leaves control characters out
    yield case("terminal-codes", "\x1b[31m", "disk")
    yield case("turned-around", "\u202e22-11-6202")
    yield case("invisible", "a\u200b\u2060b")
    yield case("umlaut-in-two-forms", "a\u0308ä")
    yield case("emoji", "🏁")
    yield case("leading-dash", "-rf")
    yield case("encoded-dots", "%2e%2e")
    yield case("encoded-slash", "a%2fb")
    yield case("backslashes", "..\\..\\x")
    yield case("dots", "...")
    yield case("quotes", "'\"`$(id)`")
    yield case("html", "<script>")
    yield case("formula", "=1+1")
    yield case("template", "{{ 7*7 }}{% x %}${HOME}")
    yield case("very-long", "n" * 240)
    yield case("very-long-in-bytes", "🏁" * 60)
    yield case("device", "CON")
    odd = "-rf %2e%2e \\ \u202e'\"<b>.csv"
    yield Case("name-odd-file", "names", file(GOOD, odd), rows=2)
    yield Case("name-line-break-in-a-file", "names", file(GOOD, "a\nb.csv"), rows=2,
               reason_on_s3="not-readable")  # fmt: skip
    yield Case("name-odd-file-listed", "names",
               in_turn(beside(odd), package({"path": odd})), rows=2)  # fmt: skip


def which_files() -> Iterator[Case]:
    """Files that could count twice, or not at all."""

    def case(name: str, others: Write, reason: str = "", phrase: str = "") -> Case:
        marked = in_turn(beside("rows.csv"), others, lambda at: _mark(at, ""))
        return Case(name, "which files", marked, reason, phrase, rows=0 if reason else 2)

    twice = "'rows.csv.gz' look like the same rows in two forms"
    packed = beside("rows.csv.gz", lambda: gzip.compress(GOOD.encode()))
    yield case("two-forms", packed, "two-forms", f"'date=two-forms/{twice[1:]}")
    yield case("same-bytes", beside("copy.csv"), "same-content", "have the same bytes")
    yield case("an-upload", beside("b.csv.filepart"), "incomplete", "is being written still")
    log = in_turn(lambda at: (at / "_delta_log").mkdir(), beside("_delta_log/0.json", "{}"))
    yield case("a-delta-table", log, "table-log", "the log of Delta Lake")
    bad_note = beside("_committed_1", "nonsense")
    yield case("committed-nonsense", bad_note, INVALID, "expected JSON with the lists 'added'")
    nothing = in_turn(beside("_started_1", ""), beside("_committed_1", '{"added": []}'))
    yield case("committed-nothing", nothing, "no-data", "1 file was left out")
    added = beside("_committed_1", '{"added": ["rows.csv"], "removed": ["b.csv"]}')
    yield case("uncommitted-file", in_turn(beside("b.csv", "nonsense"), added))
    yield case("what-tools-leave", in_turn(*(beside(n, "x") for n in ("Thumbs.db", "a.csv.crc"))))


CASES: tuple[Case, ...] = tuple(
    chain(
        manifests(),
        wrong_types(),
        escapes(),
        promises(),
        csv_files(),
        csv_rows(),
        json_lines(),
        parquet_files(),
        gzip_files(),
        shown(),
        names(),
        which_files(),
    )
)
