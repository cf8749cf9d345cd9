"""That a file counts once: in one form, and in one batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flagfall.errors import BatchInvalid
from flagfall.landing.file_names import without_form
from flagfall.landing.formats.named import shown
from flagfall.landing.marker import Marker, MarkerPattern
from flagfall.stores import Store

_FORM_FOLDERS = frozenset({"csv", "tsv", "json", "jsonl", "ndjson", "parquet"})


def check_forms(marker: Marker, keys: Iterable[str]) -> None:
    """Refuse ``a.csv`` beside ``a.csv.gz`` or ``a.parquet``: the rows would count twice.

    Raises:
        BatchInvalid: ``two-forms``.
    """
    seen: dict[str, tuple[str, str]] = {}
    for key in keys:
        for plain, form in _forms(key):
            first, first_form = seen.setdefault(plain, (key, form))
            if first_form != form:
                why = (
                    f"{marker.uri}: {shown(first)} and {shown(key)} look like the same rows in two"
                )
                raise BatchInvalid("two-forms", f"{why} forms; write one, then the marker again")


def _forms(key: str) -> Iterator[tuple[str, str]]:
    """A file and its folders such as ``a.parquet/``: each without its form, and as it is."""
    parts = [part for part in key.split("/") if part.lower() not in _FORM_FOLDERS]
    plain = [without_form(part) if "=" not in part else part for part in parts]
    for end in range(1, len(parts)):
        if plain[end - 1] != parts[end - 1]:
            yield "/".join(plain[:end]).casefold(), "/".join(parts[:end]).casefold()
    yield "/".join(plain).casefold(), key.casefold()


def check_places(marker: Marker, keys: Iterable[str], pattern: MarkerPattern, store: Store) -> None:
    """Refuse markers, and files that lie in the folder of another marker, which vouches for them.

    Raises:
        BatchInvalid: ``manifest-invalid`` or ``file-of-another-batch``.
    """
    keys = list(keys)
    if named := next((key for key in keys if pattern.match(key) is not None), ""):
        why = f"{marker.uri}: names {shown(named)}: it is a marker and no data; leave it out"
        raise BatchInvalid("manifest-invalid", why)
    others = {other: key for key in keys if (other := marker_of(key, pattern))}
    others.pop(marker.key, None)
    for other, key in others.items():
        if store.stat(other) is not None:
            why = f"{marker.uri}: {shown(key)} belongs to the batch of {shown(other)}, beside it"
            remedy = "name it in one of the two, or write it to another folder"
            raise BatchInvalid("file-of-another-batch", f"{why}; {remedy}")


def marker_of(key: str, pattern: MarkerPattern) -> str:
    """The marker in whose folder a file lies, or would; empty where markers share folders."""
    *folders, name = pattern.text.split("/")
    found = "/".join([*key.split("/")[: len(folders)], name])
    has_own_folder = "{" not in name and key.count("/") >= len(folders)
    return found if has_own_folder and pattern.match(found) is not None else ""


def is_disputable(marker: Marker, pattern: MarkerPattern, key: str) -> bool:
    """Whether another marker could vouch for a file, too."""
    folder = marker.key.rpartition("/")[0]
    return bool(pattern.stem(marker.key)) or not key.startswith(f"{folder}/" if folder else "")
