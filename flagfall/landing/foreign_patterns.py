"""Marker patterns in the language of another tool: they would match nothing, without a word.

A shell's ``**``, ``?`` and ``[0-9]``, strftime's ``%Y``, Java's ``yyyy-MM-dd``, Jinja's
``{{ ds }}``, a shell's ``${x}``, a template's ``<date>`` and regular expressions are all text that
the name of a file can have, so only a rule can tell.
"""

from __future__ import annotations

import re

_WRITE = "write {name} for a part that differs, or * for one that does not matter"
_FOREIGN = (
    (re.compile(r"\{\{|\{%"), "Jinja is not rendered here"),
    (re.compile(r"\{\w*[:!?,.|][^}]*\}|\{\w*\([^}]*\}"), "a field is a name alone, such as {date}"),
    (re.compile(r"\$|@\{|#\{"), "'$' stands for nothing here"),
    (re.compile(r"\*\*"), "'**' is not understood: name every folder on the way"),
    (re.compile(r"\\"), "'\\' is not understood: '/' stands between folders"),
    (re.compile(r"\?|\["), "'?' and '[…]' are not understood"),
    (re.compile(r"<[^/]*>"), "<…> stands for nothing here"),
    (re.compile(r"%(?![0-7][0-9A-Fa-f])\w?"), "'%' stands for nothing here"),
    (
        re.compile(
            r"(?i)yyyy[-_./]?mm|mm[-_./]?yyyy|(?<![a-z])(yyyy|yy[-_./]?mm[-_./]?dd)(?![a-z])"
        ),
        "dates are not written so",
    ),
    (re.compile(r"^\^|\||\+\)|\)\+|\.\+|=\.\*|(^|/)\.\*|\(\."), "this is no regular expression"),
)
"""Percent and two digits are left alone: Hive writes a ``:`` in a folder's name as ``%3A``."""


def foreign(text: str) -> str:
    """What another tool would understand in a marker pattern, and what to write; else empty."""
    if text != text.strip() or not text.isprintable():
        return "a blank at its start or end, or a character that does not print, matches no marker"
    for language, why in _FOREIGN:
        if found := language.search(text):
            return f"{found[0]!r}: {why}; {_WRITE}"
    return ""
