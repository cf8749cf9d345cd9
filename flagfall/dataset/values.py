"""Values in a dataset file: durations, ages, shares; and the error where one does not fit."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from math import isfinite
from types import NoneType
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from flagfall.errors import shown

_SHORT_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


_CALENDAR = re.compile(r"-?P[^T]*[YM]")
"""Years and months have no length; and ``P15M`` for 15 minutes is 450 days."""


_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


LONGEST = timedelta(days=36_500)
"""Much longer ones, subtracted from today, give a date before the year 1."""


class Misfit(ValueError):
    """Something that does not fit, at a place below the one that was being checked."""

    def __init__(self, location: tuple[int | str, ...], message: str) -> None:
        self.location = location
        super().__init__(message)


class NoUnit(ValueError):
    """An amount without its unit, which a number would not have either."""


def _span(value: object, seconds: float) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except OverflowError as error:
        raise ValueError(f"expected a shorter duration, {_AT_MOST}, got {shown(value)}") from error


_AT_MOST = f"{LONGEST.days}d (100 years) at most"


def _computable(value: timedelta) -> timedelta:
    if abs(value) > LONGEST:
        raise ValueError(f"expected a shorter duration, {_AT_MOST}, got {value.days}d")
    return value


def _duration(value: object) -> object:
    if isinstance(value, str) and _CALENDAR.match(value):
        raise ValueError(
            f"expected days, hours, PT15M for 15 minutes, not months, got {shown(value)}"
        )
    if isinstance(value, timedelta) or (isinstance(value, str) and value.startswith(("P", "-P"))):
        return value
    match = _SHORT_DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        why = "expected a duration with a unit, such as 30s, 15m, 2h, 1d or PT15M"
        raise NoUnit(f"{why}, got {shown(value)}")
    return _span(value, float(match[1]) * _UNIT_SECONDS[match[2]])


def _bound(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | date):
        raise ValueError(f"expected a number, or a date without quotes, got {shown(value)}")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"expected a finite number, got {shown(value)}")
    return value


def _scalar(value: object) -> object:
    if not isinstance(value, str | int | float | date):
        raise ValueError(f"expected one value, got {shown(value)}")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"expected a finite number, got {shown(value)}")
    return value


_AGE = re.compile(r"(\d{1,9})\s*([dy])")
_DAYS = {"d": 1, "y": 365}


def _age(value: object) -> object:
    """Whole days: upkeep is daily, and a year has 365 of them here."""
    match = _AGE.fullmatch(value.strip()) if isinstance(value, str) else None
    if isinstance(value, timedelta) or (match and int(match[1])):
        if match is None:
            return value
        return _span(value, int(match[1]) * _DAYS[match[2]] * _UNIT_SECONDS["d"])
    raise ValueError(f"expected days or years, such as 90d or 2y, got {shown(value)}")


def _since(value: object) -> object:
    """YAML reads ``2024-01-01`` as a date, and with a time as a time."""
    if isinstance(value, date) and value.year < 1000:  # strftime writes 999, not 0999
        raise ValueError(f"expected all for every day, or a later year, got {value}")
    if value == "all" or (isinstance(value, date) and not isinstance(value, datetime)):
        return value
    raise ValueError(
        f"expected all, or a day such as 2024-01-01 without quotes, got {shown(value)}"
    )


Duration = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_computable)]


Age = Annotated[
    timedelta,
    BeforeValidator(_age),
    AfterValidator(_computable),
    PlainSerializer(lambda age: f"{age.days}d", return_type=str, when_used="json"),
]


Since = Annotated[Literal["all"] | date, BeforeValidator(_since)]


Wait = Annotated[Duration, Field(ge=timedelta(0))]


Interval = Annotated[Duration, Field(gt=timedelta(0))]


Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A mapping in a dataset file. An unknown key is an error."""

    # Its own validator is built where it is first used, and most sections' never are.
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _no_word_for_a_number(cls, raw: Any) -> Any:
        """YAML reads ``yes`` as true, which pydantic would take for 1."""
        for name, field in cls.model_fields.items() if isinstance(raw, dict) else ():
            key = field.alias or name
            if isinstance(raw.get(key), bool) and _is_number(field.annotation):
                raise Misfit((key,), f"expected a number, got {raw[key]!r}")
        return raw


def _is_number(annotation: Any) -> bool:
    """Whether an annotation is that of a number, or of none, and of no other value."""
    kinds = get_args(annotation) or (annotation,)
    inner = {(get_args(kind) or (kind,))[0] for kind in kinds} - {NoneType}
    return bool(inner) and inner <= {int, float}


Bound = Annotated[int | float | date | datetime, BeforeValidator(_bound)]


Scalar = Annotated[str | int | float | bool | date | datetime, BeforeValidator(_scalar)]


def each_once(key: str, names: list[str]) -> None:
    """See that no two items of a list have the same name.

    Raises:
        Misfit: Two have.
    """
    for index, name in enumerate(names):
        if name in names[:index]:
            raise Misfit((key, index, "name"), f"expected every name once, got {name!r} twice")
