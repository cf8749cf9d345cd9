"""URIs of stores: which ones can be used, and why the others cannot.

A slip must not become a directory that nobody ever writes to: ``~/landing``, ``$HOME/landing`` and
``arn:aws:s3:::bucket`` are all names that a directory can have. A path with such a name can still
be given, as ``./arn:x`` or by a full path without ``$``.
"""

from __future__ import annotations

import re

_SCHEME = re.compile(r"([A-Za-z0-9][A-Za-z0-9+.-]*):(/*)")
_ADDRESS_OF_A_STORE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""One slash is a slip of the pen: ``s3:/bucket`` must not become a directory."""
_UNDERSTOOD = "a directory, file:///path or s3://bucket/prefix is understood"
_AMAZON_HOST = re.compile(r"s3[.-][\w.-]*amazonaws\.com|\.s3[.-][\w.-]*amazonaws\.com")
_S3_SLIPS = re.compile(r"s3[an]?:/*", re.IGNORECASE)
_NETWORK_FILE_SYSTEMS = ("sftp", "ssh", "ftp", "ftps", "smb", "cifs", "nfs", "webdav", "dbfs")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_SLIPS = (
    (re.compile(r"(file://)?\.?/?~"), "'~' is not expanded; write ${HOME}/ and the path"),
    (re.compile(r".*\{\{|.*\{%", re.DOTALL), "Jinja is not rendered here; write the place itself"),
    (
        re.compile(r".*\$[A-Za-z_({]", re.DOTALL),
        "a variable is written ${NAME} in a dataset file, and in no other way",
    ),
    (
        re.compile(r".*%[A-Z_a-z]+%", re.DOTALL),
        "a variable is written ${NAME} in a dataset file, and in no other way",
    ),
    (
        re.compile(r".*[*?{}<>]|.*%[YmdHMSjyFT](?![A-Za-z0-9])|.*(?i:yyyy[-_./]?mm)", re.DOTALL),
        "expected one place without a pattern; what differs from batch to batch belongs into the"
        " marker, as {field}",
    ),
)


def why_no_store(uri: str) -> str:
    """Why there is no store at a URI, with the remedy; empty where there can be one.

    A folder may have any name: a batch's may have come from a producer.
    """
    if not uri:
        return f"no place is named; {_UNDERSTOOD}"
    is_address = _ADDRESS_OF_A_STORE.match(uri)
    scheme = _SCHEME.match(uri) if is_address else None
    return _why_not_this_scheme(uri, scheme) if scheme else ""


def why_a_slip(uri: str) -> str:
    """Why a URI holds what nothing expands, with the remedy; empty where it does not."""
    if uri != uri.strip() or not uri.isprintable():
        return "it has a blank at its start or end, or a character that does not print"
    return next((why for slip, why in _SLIPS if slip.match(uri)), "")


def why_unusable(uri: str) -> str:
    """Why a URI that a person wrote cannot be meant, with the remedy; empty where it can be."""
    if not uri:
        return f"no place is named; {_UNDERSTOOD}"
    if why := why_a_slip(uri):
        return why
    if uri.startswith("file:///"):
        return _why_no_file(uri.removeprefix("file://"))
    scheme = _SCHEME.match(uri)
    return _why_not_this_scheme(uri, scheme) if scheme else _why_no_path(uri)


def _why_no_path(path: str) -> str:
    if "\\" in path:
        return "a backslash does not stand between folders; write '/'"
    if "//" in path:
        return "a part of its path is empty; write one '/', or s3:// before the name of a bucket"
    return ""


def _why_not_this_scheme(uri: str, scheme: re.Match[str]) -> str:
    """Why a URI with a scheme cannot be used."""
    name, slashes = scheme[1].lower(), scheme[2]
    rest = uri[scheme.end() :]
    if uri.startswith("s3://"):
        return _why_no_bucket(uri)
    if _S3_SLIPS.match(uri):
        return f"write s3://{rest}"
    if uri.startswith("file:///"):
        return ""
    if name == "file":
        path = rest if slashes != "//" else rest.partition("/")[2]
        return f"no store for file:{slashes}, which names a host or no full path; write /{path}"
    if name == "arn":
        return f"an ARN is no URI; write s3://{uri.split(':', 5)[-1]}"
    if name in ("http", "https") and _AMAZON_HOST.search(rest.partition("/")[0]):
        return f"no store for {name}://; write s3:// with the bucket and the prefix"
    if name in _NETWORK_FILE_SYSTEMS:
        return f"no store for {name}:{slashes}; mount it and write the directory's path"
    if len(name) == 1:
        return "a drive's letter is not understood; write a path such as /mnt/data"
    if not slashes or "." in name:
        return f"no store for {name}:; write ./ before it if it is a directory; {_UNDERSTOOD}"
    return f"no store for {scheme[0]}; {_UNDERSTOOD}"


def _why_no_file(path: str) -> str:
    if re.search("%[0-9A-Fa-f]{2}", path):
        return "percent-encoding is not decoded; write the path itself, without file://"
    return _why_no_path(path)


def _why_no_bucket(uri: str) -> str:
    """Why S3 has no such bucket (Amazon's rules for names), or no such prefix."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if "@" in bucket or ":" in bucket:
        return "expected the bucket's name alone: endpoint and keys belong into the connection"
    if why := _why_no_bucket_name(bucket):
        return f"no bucket can be called {bucket!r}: {why}"
    if {"", ".", ".."} & set(prefix.rstrip("/").split("/")) and prefix:
        return "a part of its path is empty, '.' or '..'"
    return ""


def _why_no_bucket_name(name: str) -> str:
    if not 3 <= len(name) <= 63:
        return "a bucket's name has 3 to 63 characters"
    if not _BUCKET.fullmatch(name):
        return (
            "a bucket's name has lower-case letters, digits, '-' and '.',"
            " and a letter or digit at either end"
        )
    if ".." in name or _ADDRESS.fullmatch(name):
        return "a bucket's name has no two dots in a row, and is no IP address"
    if name.startswith(("xn--", "sthree-", "amzn-s3-demo-")) or name.endswith((".mrap", "--x-s3")):
        return "S3 keeps such names for other things, which cannot be used as a bucket here"
    return ""


def why_no_queue(url: str) -> str:
    """Why a text is not the URL of an SQS queue; empty where it can be one."""
    if re.fullmatch(r"https?://[^/\s]+/\S+", url):
        return ""
    return (
        "expected the URL of a queue, such as"
        " https://sqs.eu-west-1.amazonaws.com/123456789012/landed, not its ARN or name"
    )
