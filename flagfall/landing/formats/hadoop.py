"""The ``_SUCCESS`` of Hadoop's S3A and manifest committers: JSON in place of the empty file.

Both committers write ``SuccessData``. The S3A committers name files by their path in the bucket, as
it is; the manifest committer names them by URI, percent-encoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from flagfall.errors import BatchInvalid
from flagfall.landing.formats.named import (
    Content,
    Expected,
    Named,
    in_landing_zone,
    landing_uri,
    shown,
)
from flagfall.landing.marker import Marker

_NAMES = (
    "org.apache.hadoop.fs.s3a.commit.files.SuccessData/1",
    "org.apache.hadoop.mapreduce.lib.output.committer.manifest.files.ManifestSuccessData/1",
)
_MOST_NAMES = 100
"""The committers name no more files (``SUCCESS_MARKER_FILE_LIMIT``), and do not say so. Some name
none, whatever they wrote."""


def hadoop_success(marker: Marker, content: Content) -> Named | None:
    """The files that a committer committed, or ``None`` where no committer wrote this."""
    summary = content.json
    if not isinstance(summary, dict) or summary.get("name") not in _NAMES:
        return None
    _check_success(marker, summary)
    names = summary.get("filenames")
    if not isinstance(names, list):
        raise BatchInvalid("manifest-invalid", f"{marker.uri}: filenames: expected a list of files")
    return Named(_files(marker, names), complete=0 < len(names) < _MOST_NAMES)


def _check_success(marker: Marker, summary: dict[str, Any]) -> None:
    success = summary.get("success", True)  # Hadoop before 3.3.5 does not say
    if success is True:
        return
    if success is not False:
        why = f"{marker.uri}: success: expected true, got {shown(success)}"
        raise BatchInvalid("manifest-invalid", why)
    diagnostics = summary.get("diagnostics")
    cause = diagnostics.get("exception") if isinstance(diagnostics, dict) else None
    said = f" ({shown(cause)})" if cause else ""
    why = f"{marker.uri}: success is false: the job that wrote it failed{said}; run the job again"
    raise BatchInvalid("manifest-invalid", why)


def _files(marker: Marker, names: list[Any]) -> Iterator[Expected]:
    for index, name in enumerate(names):
        place = f"{marker.uri}: filenames[{index}]"
        if not isinstance(name, str) or not name:
            why = f"{place}: expected a file's path, got {shown(name)}"
            raise BatchInvalid("manifest-invalid", why)
        yield Expected(in_landing_zone(marker, place, _uri(marker, name)), None, None)


def _uri(marker: Marker, name: str) -> str:
    if not name.startswith("/"):
        return unquote(name, errors="surrogateescape")
    scheme, _, rest = landing_uri(marker).partition("://")
    return f"{scheme}://{rest.partition('/')[0]}{name}"
