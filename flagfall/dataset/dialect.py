"""How text files are written, in the words of Table Dialect and CSVW.

https://datapackage.org/standard/table-dialect/ and https://www.w3.org/TR/tabular-metadata/
"""

from __future__ import annotations

import codecs
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from flagfall.dataset.values import Misfit, Section

UTF8 = "utf-8"

_NO_TEXT_OF_FILES = frozenset(
    {"charmap", "idna", "mbcs", "oem", "palmos", "punycode", "raw-unicode-escape", "undefined"}
    | {"unicode-escape", "utf-32", "utf-32-be", "utf-32-le", "utf-7"}
)
"""Codecs of Python that no file of rows is written in."""


def _character(value: str) -> str:
    if len(value) != 1 or not value.isascii() or value in "\0\r\n":
        why = 'expected one ASCII character, such as ";" or "\\t" in double quotes'
        raise ValueError(f"{why}, got {value!r}")
    return value


Character = Annotated[str, AfterValidator(_character)]


class Dialect(Section):
    """How text files are written. JSON lines have an encoding, and nothing else of it.

    Attributes:
        encoding: A name that Python's codecs know.
        delimiter: Between the fields of a ``.csv`` file; in ``.tsv`` it is a tab.
        quote_char: Around fields that have a delimiter, a quote or a line end in them; doubled, it
            is a quote. ``None``: no field is quoted.
        escape_char: Before a quote within quotes; where no field is quoted, before a delimiter or a
            line end. Before itself it stands for itself once, before anything else for itself.
        header: Whether the first row has the names of the columns. Otherwise they are those of the
            schema, in its order.
        skip_rows: Lines at the beginning that are no rows.
    """

    encoding: str = UTF8
    delimiter: Character = ","
    quote_char: Character | None = Field(default='"', alias="quoteChar")
    escape_char: Character | None = Field(default=None, alias="escapeChar")
    header: bool = True
    skip_rows: int = Field(default=0, alias="skipRows", ge=0, le=1_000_000)

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            "".encode(value)
            name = codecs.lookup(value).name
        except (LookupError, UnicodeError, ValueError) as error:
            why = "expected an encoding such as utf-8, utf-16, windows-1252 or iso-8859-1"
            raise ValueError(f"{why}, got {value!r}") from error
        if name.replace("_", "-") in _NO_TEXT_OF_FILES:
            raise ValueError(f"expected an encoding that files are written in, got {value!r}")
        return value

    @model_validator(mode="after")
    def _characters_differ(self) -> Self:
        if self.delimiter == '"':
            raise Misfit(("delimiter",), "expected another character than a quote")
        given = {self.delimiter: "delimiter"}
        for key, character in (("quoteChar", self.quote_char), ("escapeChar", self.escape_char)):
            if character in given:
                why = f"expected another character than {given[character]}, got {character!r}"
                raise Misfit((key,), why)
            if character is not None:
                given[character] = key
        return self

    @property
    def codec(self) -> str:
        """Python's name of the encoding; ``utf-8`` with and without a byte order mark."""
        return codecs.lookup(self.encoding).name.removesuffix("-sig")

    def of_tsv(self) -> Dialect:
        """The same for a ``.tsv`` file, whose fields are in quotes only where that is said."""
        quote = self.quote_char if "quote_char" in self.model_fields_set else None
        return self.model_copy(update={"delimiter": "\t", "quote_char": quote})

    def of_json(self) -> Dialect:
        """What of it is for JSON lines."""
        return Dialect(encoding=self.encoding)
