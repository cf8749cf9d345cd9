"""Names data that is packed, or of another kind than a file's name says, by its first bytes."""

from __future__ import annotations

import codecs

HEAD_BYTES = 512
"""So many of the first bytes say what a file is."""

_SIGNS = {
    b"\x1f\x8b": "gzip",
    b"\x1f\x9d": "compress (.Z)",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x04\x22\x4d\x18": "LZ4",
    b"\xff\x06\0\0sNaPpY": "Snappy",
    b"LZIP": "lzip",
    b"\x89LZO\0": "LZO",
    b"PK\x03\x04": "ZIP (or Excel)",
    b"PK\x05\x06": "an empty ZIP",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
    b"PAR1": "Parquet",
    b"PARE": "encrypted Parquet",
    b"ORC": "ORC",
    b"Obj\x01": "Avro",
    b"ARROW1": "Arrow",
    b"SQLite format 3\0": "SQLite",
    b"\xd0\xcf\x11\xe0": "Excel (.xls)",
    b"%PDF-": "PDF",
}
_TAR, _TAR_PLACE = b"ustar", 257
_NO_TEXT = frozenset(range(9)) | frozenset(range(14, 32))


def kind_of(head: bytes) -> str | None:
    """What the data is, such as ``gzip``; ``None`` for text and for what is not known.

    Args:
        head: The first ``HEAD_BYTES`` of a file, or all that there are.
    """
    if _is_text(head):
        return None
    if head[_TAR_PLACE:].startswith(_TAR):
        return "tar"
    return next((kind for sign, kind in _SIGNS.items() if head.startswith(sign)), None)


def _is_text(head: bytes) -> bool:
    """Some signs are letters, with which a text may begin as well, in any encoding."""
    if _NO_TEXT & set(head):
        return False
    return head[:3].isalnum() or _is_utf8(head)


def _is_utf8(head: bytes) -> bool:
    """Whether it is UTF-8, perhaps with its last letter cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def remedy(name: str, kind: str) -> str:
    """What to do about a file of rows, or of packed rows, that is of another kind."""
    if kind == "gzip" and not name.lower().endswith(".gz"):
        return f"name it {name}.gz"
    if kind == "Parquet":
        return "name it .parquet"
    return "write it as its name says"
