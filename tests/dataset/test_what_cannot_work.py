"""Dataset files that are YAML, and of the right shape, and can never work: each is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.errors import DatasetInvalid, Problem
from tests.feeds import TOY

GOOD = """\
title: A toy feed
landing:
  uri: {uri}
  marker: {marker}
lake: {{uri: {lake}}}
schema:
  fields:
    - {{name: id, type: integer}}
    - {column}
"""


def dataset(
    folder: Path,
    uri: str = "landing",
    marker: str = "'{day}/_SUCCESS'",
    column: str = "{name: x, type: number}",
    lake: str = "lake",
) -> Dataset:
    path = folder / "datasets" / "toy.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(GOOD.format(uri=uri, marker=marker, column=column, lake=lake))
    return read_dataset(path)


def problem(folder: Path, **edits: str) -> Problem:
    with pytest.raises(DatasetInvalid) as caught:
        dataset(folder, **edits)
    assert len(caught.value.problems) == 1, str(caught.value)
    return caught.value.problems[0]


def assert_named(root: Path, column: str, key: str, says: str) -> None:
    """A mistake in a column is told with its key, its line and the reason."""
    found = problem(root, column=column.replace("{", "{name: x, ", 1))
    assert (found.key, found.line) == (f"schema.fields[1].{key}", 9)
    assert says in found.message


@pytest.mark.parametrize("pattern", ["[[:alpha:]]+", "[a-z--x]+", "[a-z&&b]"])
def test_a_pattern_that_means_two_things_is_refused(tmp_path: Path, pattern: str) -> None:
    """Python takes these for other characters than polars, which matches the rows."""
    column = f"{{type: string, constraints: {{pattern: '{pattern}'}}}}"
    assert_named(tmp_path, column, "constraints.pattern", "expected a regular expression")


class TestPlaces:
    @pytest.mark.parametrize(
        ("uri", "says"),
        [
            ("gs://b/x", "no store for gs://"),
            ("gcs://b/x", "no store for gcs://"),
            ("abfs://c@a.dfs.core.windows.net/x", "no store for abfs://"),
            ("abfss://c/x", "no store for abfss://"),
            ("wasbs://c/x", "no store for wasbs://"),
            ("az://c/x", "no store for az://"),
            ("hdfs://n/x", "no store for hdfs://"),
            ("hdfs:///x", "no store for hdfs:///"),
            ("dbfs:/mnt/x", "mount it"),
            ("sftp://h/x", "mount it"),
            ("https://b.s3.amazonaws.com/x", "write s3:// with the bucket"),
            ("https://s3.eu-central-1.amazonaws.com/b/x", "write s3:// with the bucket"),
            ("https://example.org/x", "no store for https://"),
            ("s3a://bucket/x", "write s3://bucket/x"),
            ("S3://bucket/x", "write s3://bucket/x"),
            ("s3:/bucket/x", "write s3://bucket/x"),
            ("s3:bucket/x", "write s3://bucket/x"),
            ("arn:aws:s3:::bucket/x", "write s3://bucket/x"),
            ("file://localhost/tmp/x", "write /tmp/x"),
            ("file:/tmp/x", "write /tmp/x"),
            ("file:tmp/x", "write /tmp/x"),
            ("file:///tmp/a%20b", "percent-encoding is not decoded"),
            ("nas:/export/x", "no store for nas:/"),
            ("10.0.0.1:/export/x", "no store for 10.0.0.1:"),
            (r"'C:\data\x'", "a drive's letter"),
            ("C:/data/x", "a drive's letter"),
            (r"'\\nas\share'", "write '/'"),
            ("//bucket/x", "a part of its path is empty"),
            ("s3//bucket/x", "a part of its path is empty"),
            ("'~/landing'", "write ${HOME}/"),
            ("~peter/landing", "write ${HOME}/"),
            ("/~/landing", "write ${HOME}/"),
            ("file:///~/landing", "write ${HOME}/"),
            ("/data/yyyy-MM-dd", "without a pattern"),
            ("$HOME/x", "a variable is written ${NAME}"),
            ("/data/$(hostname)/x", "a variable is written ${NAME}"),
            ("'%USERPROFILE%/x'", "a variable is written ${NAME}"),
            ("'{{ var.value.landing }}/x'", "Jinja is not rendered"),
            ("'/data/{day}'", "without a pattern"),
            ("/data/*/x", "without a pattern"),
            ("'/data/%Y-%m-%d'", "without a pattern"),
            ("s3://bucket/<prefix>", "without a pattern"),
            ("s3://bucket/x?region=eu-central-1", "without a pattern"),
            ("' /data/x'", "a blank at its start or end"),
            ("s3://B_ad/x", "lower-case letters"),
            ("s3://b/x", "3 to 63 characters"),
            ("s3:///x", "3 to 63 characters"),
            (f"s3://{'b' * 64}/x", "3 to 63 characters"),
            ("s3://a_b/x", "lower-case letters"),
            ("s3://abc-/x", "lower-case letters"),
            ("s3://a..b/x", "two dots"),
            ("s3://10.0.0.1/x", "IP address"),
            ("s3://xn--abc/x", "for other things"),
            ("s3://abc--euw1-az1--x-s3/x", "for other things"),
            ("s3://key:secret@bucket/x", "the bucket's name alone"),
            ("s3://localhost:9000/bucket", "the bucket's name alone"),
            ("s3://bucket//x", "a part of its path is empty"),
            ("s3://bucket/../x", "a part of its path is empty, '.' or '..'"),
        ],
    )
    def test_one_that_no_store_can_have_is_named_with_the_remedy(
        self, tmp_path: Path, uri: str, says: str
    ) -> None:
        found = problem(tmp_path, uri=uri)
        assert (found.key, found.line) == ("landing.uri", 3)
        assert says in found.message

    @pytest.mark.parametrize(
        "uri",
        [
            "landing",
            "./arn:x/landing",
            "/data/100%/x",
            "/data/a b/x",
            "/data/$1/x",
            "file:///data/x",
            "s3://my-bucket",
            "s3://my.bucket-1/a b/c/",
            "s3://alias-abcdefgh-s3alias/x",
        ],
    )
    def test_one_that_a_store_can_have_is_taken(self, tmp_path: Path, uri: str) -> None:
        assert dataset(tmp_path, uri=uri).landing.uri

    def test_a_model_is_a_folder_of_this_machine(self, tmp_path: Path) -> None:
        column = "{name: x, type: number}\nfeatures: [{name: x}]\nmodel: {path: s3://bucket/m}"
        found = problem(tmp_path, column=column)
        assert found.key == "model.path"
        assert "a path on this machine" in found.message

    @pytest.mark.parametrize("queue", ["arn:aws:sqs:eu-west-1:123456789012:landed", "landed"])
    def test_a_queue_is_named_by_its_url(self, tmp_path: Path, queue: str) -> None:
        found = problem(tmp_path, uri=f"s3://bucket/x\n  sqs_queue: {queue}")
        assert (found.key, found.line) == ("landing.sqs_queue", 4)
        assert "expected the URL of a queue" in found.message

    def test_a_lake_on_a_disk_has_no_connection_either(self, tmp_path: Path) -> None:
        found = problem(tmp_path, lake="lake, conn_id: aws")
        assert found.key == "lake.conn_id"
        assert "it is for s3://" in found.message

    def test_all_of_a_file_are_named_at_once(self, tmp_path: Path) -> None:
        column = "{name: x, type: int}\nthresholds: {rejected_share: 1:30}"
        with pytest.raises(DatasetInvalid) as caught:
            dataset(tmp_path, uri="~/x", marker="'**/_SUCCESS'", column=column)
        assert sorted(problem.line or 0 for problem in caught.value.problems) == [3, 4, 9, 10]


class TestMarkers:
    @pytest.mark.parametrize(
        "pattern",
        [
            "{name}.csv",
            "{day}/data.csv",
            "{day}/DATA.Parquet",
            "{name}.tsv",
            "{name}.json.gz",
            "{n}.jsonl",
        ],
    )
    def test_one_that_is_called_like_data_is_refused(self, tmp_path: Path, pattern: str) -> None:
        found = problem(tmp_path, marker=f"'{pattern}'")
        assert (found.key, found.line) == ("landing.marker", 4)
        assert f"as in {pattern}.done" in found.message

    @pytest.mark.parametrize("pattern", ["{name}", "{day}/{name}", "{region}-{day}", "{a}{b}"])
    def test_one_that_each_data_file_fits_is_refused(self, tmp_path: Path, pattern: str) -> None:
        found = problem(tmp_path, marker=f"'{pattern}'")
        assert (found.key, found.line) == ("landing.marker", 4)
        assert f"use {pattern}.ready" in found.message

    @pytest.mark.parametrize(
        "pattern",
        [
            "{name}.csv.done",
            "{day}/datapackage.json",
            "{day}/csv",
            ".{name}",
            "done/{day}",
            "SUMS-{day}",
        ],
    )
    def test_one_that_is_not_is_taken(self, tmp_path: Path, pattern: str) -> None:
        assert dataset(tmp_path, marker=f"'{pattern}'").landing.marker == pattern

    @pytest.mark.parametrize(
        "pattern",
        [
            "**/_SUCCESS",
            "2026-??/_SUCCESS",
            "[0-9]*/_SUCCESS",
            "%Y-%m-%d/_SUCCESS",
            "date=%/_SUCCESS",
            "date=<date>/_SUCCESS",
            "date=${date}/_SUCCESS",
            "date=$date/_SUCCESS",
            "{{ds}}/_SUCCESS",
            "{{ ds }}/_SUCCESS",
            "{% raw %}/_SUCCESS",
            "{date:%Y-%m-%d}/_SUCCESS",
            "{date!r}/_SUCCESS",
            "{eu,us}/_SUCCESS",
            "@{formatDateTime(now)}/_SUCCESS",
            "date=yyyy-MM-dd/_SUCCESS",
            "YYYY/MM/DD/_SUCCESS",
            r"\d+/_SUCCESS",
            r"{day}\_SUCCESS",
            "^date=.*/_SUCCESS",
            "date=.*/_SUCCESS",
            "(eu|us)/_SUCCESS",
            "(.*)/_SUCCESS",
            ".*/_SUCCESS",
            "year=YYYY/_SUCCESS",
            "dd-MM-yyyy/_SUCCESS",
            "yymmdd/_SUCCESS",
            "%(date)s/_SUCCESS",
            " {day}/_SUCCESS",
            "{day}/_SUCCESS ",
        ],
    )
    def test_one_in_another_tools_language_is_refused_with_the_remedy(
        self, tmp_path: Path, pattern: str
    ) -> None:
        found = problem(tmp_path, marker=f"'{pattern}'")
        assert (found.key, found.line) == ("landing.marker", 4)
        assert repr(pattern) in found.message

    @pytest.mark.parametrize(
        "pattern", ["hour={h}%3A00/_SUCCESS", "{day} (final).ready", "a+b/*-{day}.x/y", "x.*/y"]
    )
    def test_names_that_look_a_little_like_it_are_taken(self, tmp_path: Path, pattern: str) -> None:
        assert dataset(tmp_path, marker=f"'{pattern}'").landing.marker == pattern

    @pytest.mark.parametrize("partition", ["yyyy-MM-dd", "%Q", "%", "${ds}", "<date>", "{ds}"])
    def test_a_partition_in_another_tools_language_is_refused(
        self, tmp_path: Path, partition: str
    ) -> None:
        column = f"{{name: x, type: number}}\narrival: {{partition: {{day: '{partition}'}}}}"
        found = problem(tmp_path, column=column)
        assert (found.key, found.line) == ("arrival.partition.day", 10)
        assert "strftime" in found.message


class TestConstraints:
    @pytest.mark.parametrize(
        ("column", "key", "says"),
        [
            ("{type: integer, constraints: {minimum: 10, maximum: 1}}", "minimum", "no value"),
            (
                "{type: date, constraints: {minimum: 2026-02-01, maximum: 2026-01-01}}",
                "minimum",
                "",
            ),
            (
                "{type: datetime, constraints:"
                " {minimum: 2026-01-02T00:00:00Z, maximum: 2026-01-01}}",
                "minimum",
                "no value",
            ),
            ("{type: string, constraints: {minLength: 3, maxLength: 1}}", "minLength", "no value"),
            ("{type: integer, constraints: {minimum: 5, enum: [7, 4]}}", "enum[1]", "minimum 5"),
            ("{type: string, constraints: {maxLength: 2, enum: [abc]}}", "enum[0]", "maxLength 2"),
            ("{type: string, constraints: {pattern: '[A-Z]', enum: [AB]}}", "enum[0]", "pattern"),
            ("{type: number, constraints: {enum: [.nan]}}", "enum[0]", "finite"),
            ("{type: string, constraints: {pattern: '(?!x).*'}}", "pattern", "'(?!'"),
            ("{type: string, constraints: {minimum: 1}}", "minimum", "no minimum"),
            (f"{{type: integer, constraints: {{minimum: {'9' * 20}}}}}", "minimum", "64 bits"),
            (f"{{type: integer, constraints: {{maximum: {2**63}}}}}", "maximum", "64 bits"),
            (f"{{type: integer, constraints: {{enum: [1, -{'9' * 20}]}}}}", "enum[1]", "64 bits"),
            (f"{{type: number, constraints: {{maximum: 1{'0' * 42}}}}}", "maximum", "as 1.0e42"),
            (
                f"{{type: number, constraints: {{minimum: 1{'0' * 400}}}}}",
                "minimum",
                "with a point",
            ),
            (f"{{type: number, constraints: {{enum: [1{'0' * 42}]}}}}", "enum[0]", "with a point"),
        ],
    )
    def test_those_that_contradict_each_other_are_named(
        self, tmp_path: Path, column: str, key: str, says: str
    ) -> None:
        assert_named(tmp_path, column, f"constraints.{key}", says)

    @pytest.mark.parametrize(
        ("column", "key"),
        [
            ("{type: string, constraints: {enum: [A, NA]}}", "constraints.enum[1]"),
            ("{type: string, constraints: {enum: ['']}}", "constraints.enum[0]"),
            ("{type: string, constraints: {enum: [''], required: true}}", "constraints.enum[0]"),
            ("{type: integer, constraints: {enum: [1, -9]}}", "constraints.enum[1]"),
            ("{type: number, constraints: {enum: [-9]}}", "constraints.enum[0]"),
            ("{type: number, constraints: {enum: [-9.0]}}", "constraints.enum[0]"),
            ("{type: date, constraints: {enum: [1900-01-01]}}", "constraints.enum[0]"),
            ("{type: date, format: '%d.%m.%Y', constraints: {enum: [1901-01-01]}}", "constraints."),
            ("{type: datetime, constraints: {enum: [1900-01-01T00:00:00Z]}}", "constraints.enum"),
            ("{type: boolean, falseValues: ['no', '']}", "falseValues[1]"),
            ("{type: boolean, trueValues: [x], falseValues: [NA]}", "falseValues[0]"),
            ("{type: boolean, trueValues: [NA]}", "trueValues[0]"),
        ],
    )
    def test_a_value_that_means_no_value_is_named(
        self, tmp_path: Path, column: str, key: str
    ) -> None:
        missing = '\n  missingValues: ["", NA, "-9", "1900-01-01", 01.01.1901]'
        found = problem(tmp_path, column=column.replace("{", "{name: x, ", 1) + missing)
        assert found.key.startswith(f"schema.fields[1].{key}")
        assert found.line == 9
        assert "missingValues" in found.message

    @pytest.mark.parametrize("word", ["1", "0", "true", "FALSE"])
    def test_a_usual_word_of_a_boolean_that_means_no_value_is_named(
        self, tmp_path: Path, word: str
    ) -> None:
        column = f'{{name: x, type: boolean}}\n  missingValues: ["{word}"]'
        assert word in problem(tmp_path, column=column).message
        words = "trueValues: [y], falseValues: [n]"
        dataset(tmp_path, column=column.replace("boolean", f"boolean, {words}"))

    def test_a_format_where_none_is_used_is_refused(self, tmp_path: Path) -> None:
        found = problem(tmp_path, column="{name: x, type: number, format: '0.00'}")
        assert found.key == "schema.fields[1].format"

    @pytest.mark.parametrize("pattern", ["DD.MM.YYYY", "any", "yyyy-MM-dd"])
    def test_a_format_in_another_tools_language_is_refused(
        self, tmp_path: Path, pattern: str
    ) -> None:
        found = problem(tmp_path, column=f"{{name: x, type: date, format: {pattern}}}")
        assert found.key == "schema.fields[1].format"
        assert "strptime" in found.message


class TestYaml:
    @pytest.mark.parametrize(
        ("column", "key", "says"),
        [
            ("{type: integer, constraints: {enum: [010]}}", "constraints.enum[0]", "010 as 8"),
            ("{type: integer, constraints: {minimum: 1:30}}", "constraints.minimum", "as 90"),
            ("{type: number, constraints: {minimum: 1:30.5}}", "constraints.minimum", "as 90.5"),
            ("{type: string, constraints: {enum: [00]}}", "constraints.enum[0]", "00 as 0"),
            ("{type: string, constraints: {enum: [NO]}}", "constraints.enum[0]", "NO as False"),
            ("{type: string, constraints: {enum: [on]}}", "constraints.enum[0]", "on as True"),
            ("{type: string, constraints: {enum: [1_000]}}", "constraints.enum[0]", "as 1000"),
            ("{type: string, constraints: {enum: [2026-01-01]}}", "constraints.enum[0]", "quotes"),
            ("{type: string, constraints: {enum: [~]}}", "constraints.enum[0]", "~ as None"),
            ("{type: string, title: no}", "title", "no as False"),
            ("{type: string, title: 1.10}", "title", "1.10 as 1.1"),
            ("{type: number, constraints: {minimum: 1e5}}", "constraints.minimum", "1e5 as text"),
            ("{type: string, on: x}", "on", "on as True"),
        ],
    )
    def test_what_it_reads_otherwise_than_people_do_is_named(
        self, tmp_path: Path, column: str, key: str, says: str
    ) -> None:
        assert_named(tmp_path, column, key, says)

    def test_words_for_true_and_false_stay_that_where_they_are_wanted(self, tmp_path: Path) -> None:
        column = "{name: x, type: boolean, constraints: {required: yes, enum: [on, no]}}"
        constraints = dataset(tmp_path, column=column).table.fields[1].constraints
        assert (constraints.required, constraints.enum) == (True, [True, False])

    def test_text_that_needs_quotes_is_told_so(self, tmp_path: Path) -> None:
        assert "in quotes" in problem(tmp_path, marker="{day}/_SUCCESS").message
        assert "in quotes" in problem(tmp_path, marker="*/_SUCCESS").message


class TestNumbers:
    @pytest.mark.parametrize(
        ("section", "key"),
        [
            ("limits: {files: yes}", "limits.files"),
            ("thresholds: {rejected_share: off}", "thresholds.rejected_share"),
            ("thresholds: {psi_max: on}", "thresholds.psi_max"),
            ("limits: {files: 0x}", "limits.files"),
            ("limits: {files: 010}", "limits.files"),
        ],
    )
    def test_a_word_is_no_number(self, tmp_path: Path, section: str, key: str) -> None:
        found = problem(tmp_path, column=f"{{name: x, type: number}}\n{section}")
        assert (found.key, found.line) == (key, 10)


class TestTimes:
    @pytest.mark.parametrize(
        "schedule",
        ["0 6 * * * *", "R 6 * * *", "@once", "0 24 * * *", "0 6 * *", "TZ=UTC 0 6 * * *"],
    )
    def test_a_schedule_that_is_no_cron_expression_is_refused(
        self, tmp_path: Path, schedule: str
    ) -> None:
        arrival = f"arrival: {{schedule: '{schedule}', partition: {{day: '%d'}}}}"
        column = f"{{name: x, type: number}}\n{arrival}"
        assert problem(tmp_path, column=column).key == "arrival.schedule"

    @pytest.mark.parametrize("duration", ["P15M", "P1Y", "10", "'1:30'", "-5s"])
    def test_a_duration_that_is_none_is_refused(self, tmp_path: Path, duration: str) -> None:
        column = f"{{name: x, type: number}}\nwatch: {{gather: {duration}}}"
        assert problem(tmp_path, column=column).key == "watch.gather"


def test_the_datasets_own_name_for_code_that_makes_features_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "datasets" / "toy.yaml"
    path.parent.mkdir()
    path.write_text(TOY.format(root=tmp_path, marker="m", more="features_python: a.py"))
    with pytest.raises(DatasetInvalid, match=r"features_python: expected features: \{python: FIL"):
        read_dataset(path)
    path.write_text(
        TOY.format(root=tmp_path, marker="m", more="features: {python: a.py}\nmodel: {path: m}")
    )
    found = read_dataset(path)
    assert found.features_python == str(tmp_path / "a.py")
    plain = found.model_dump_json(exclude_unset=True)
    assert Dataset.model_validate_json(plain).features_python == found.features_python


@pytest.mark.parametrize(
    ("more", "key", "says"),
    [
        ("thresholds: {psi_max: .nan}", "thresholds.psi_max", "expected a finite number"),
        ("thresholds: {psi_max: .inf}", "thresholds.psi_max", "expected a finite number"),
        ("thresholds: {psi_max: -1}", "thresholds.psi_max", "greater than or equal to 0"),
        ("notify: [{notifier: a.B, on: []}]", "notify[0].on", "this tells nobody"),
    ],
)
def test_a_line_that_nothing_crosses_or_nobody_hears_of_is_refused(
    tmp_path: Path, more: str, key: str, says: str
) -> None:
    path = tmp_path / "datasets" / "toy.yaml"
    path.parent.mkdir()
    path.write_text(TOY.format(root=tmp_path, marker="_SUCCESS", more="").split("thresholds")[0])
    with path.open("a") as file:
        file.write(more)
    with pytest.raises(DatasetInvalid) as caught:
        read_dataset(path)
    (found,) = caught.value.problems
    assert found.key == key
    assert says in found.message


@pytest.mark.parametrize(
    ("form", "sorts"),
    [
        ("%Y-%m-%d", True),
        ("%Y%j", True),
        ("%G-W%V", True),
        ("%Y-%m-%dT%H", True),
        ("%Y-%m-%-d", False),
        ("%Y-%-m-%d", False),
        ("%d%m%Y", False),
        ("%Y-W%V", False),
        ("%G-%m-%d", False),
        ("%Y-%m-%dT%-H", False),
        ("%Y-%m-%d %I", False),
        ("%Y-%m-%dT%H%-M", False),
        ("%Y-%b-%d", False),
    ],
)
def test_a_sweep_leaves_nothing_out_where_keys_do_not_sort_by_time(
    tmp_path: Path, form: str, sorts: bool
) -> None:
    """Neither does ``landing.since``: the 10th of a month would come before the 9th."""
    found = dataset(tmp_path)
    arrival = found.arrival.model_copy(update={"partition": {"day": form}})
    assert found.model_copy(update={"arrival": arrival}).since == (form if sorts else "")


@pytest.mark.parametrize("name", ["source.file", "source.row"])
def test_a_column_may_not_be_called_like_what_stands_for_a_key(tmp_path: Path, name: str) -> None:
    """Only where a model's rows have no key."""
    dataset(tmp_path, column=f"{{name: {name}, type: string}}")
    file = tmp_path / "datasets" / "toy.yaml"
    file.write_text(
        f"{file.read_text()}features: [{{name: id}}]\nmodel: {{path: m, task: binary}}\n"
    )
    with pytest.raises(DatasetInvalid, match=f"other names than .*{name}.*predictions"):
        read_dataset(file)


@pytest.mark.parametrize(
    ("more", "key", "says"),
    [
        (
            "model: {path: m, task: anomaly}\nthresholds: {flagged_min: 0.5, flagged_max: 0.1}",
            "thresholds.flagged_min",
            "expected no more than flagged_max, 0.1, got 0.5",
        ),
        ("thresholds: {auc_min: 0.9}", "thresholds.auc_min", "expected a model"),
        ("thresholds: {mae_max: 1}", "thresholds.mae_max", "expected a model"),
        ("thresholds: {psi_max: 0.2}", "thresholds.psi_max", "expected a model"),
        ("thresholds: {missing_rise: 0.2}", "thresholds.missing_rise", "expected a model"),
        ("thresholds: {vanished_rows: 5}", "thresholds.vanished_rows", "expected a model"),
        ("features: {python: nofile.py}", "features", "expected a model"),
        ("arrival: {partition: {day: Y-m-d}}", "arrival.partition.day", "none has a '%'"),
        ("arrival: {partition: {day: ds}}", "arrival.partition.day", "none has a '%'"),
        ("arrival: {partition: {day: 100%%}}", "arrival.partition.day", "none has a '%'"),
        ("arrival: {partition: {day: '%Y-%M-%d'}}", "arrival.partition.day", "%m is the month"),
        (
            "dialect: {quoteChar: null}",
            "schema.fields[1].decimalChar",
            "another character than dialect.delimiter",
        ),
    ],
)
def test_what_can_do_nothing_or_contradicts_itself_is_refused(
    tmp_path: Path, more: str, key: str, says: str
) -> None:
    column = (
        "{name: x, type: number, decimalChar: ','}"
        if "dialect" in more
        else "{name: x, type: date}"
    )
    found = problem(tmp_path, column=f"{column}\n{more}")
    assert found.key == key
    assert found.line == 9 if "dialect" in more else 10 + more.count("\n")
    assert says in found.message


@pytest.mark.parametrize(
    "more",
    [
        "model: {path: m, task: anomaly}\nthresholds: {flagged_min: 0.1, flagged_max: 0.1}",
        "thresholds: {psi_max: null, missing_rise: 0.1, rows_low: 0.5, stale_after: 3}",
        "arrival: {partition: {day: '%Y-%m-%dT%H%M'}}",
        "arrival: {partition: {day: '%Y%m%d-%I%M%p'}}",
        "dialect: {quoteChar: null, escapeChar: '!'}",
        "dialect: {quoteChar: null, delimiter: ;}",
    ],
)
def test_what_can_work_is_taken(tmp_path: Path, more: str) -> None:
    dataset(tmp_path, column=f"{{name: x, type: number, decimalChar: ','}}\n{more}")


@pytest.mark.parametrize("day", ["0999-01-01", "0001-01-01"])
def test_a_feed_begins_in_a_year_of_four_digits(tmp_path: Path, day: str) -> None:
    """The system's strftime writes 999, and every key would be before it."""
    found = problem(tmp_path, uri=f"landing\n  since: {day}")
    assert (found.key, found.line) == ("landing.since", 4)
    assert "expected all" in found.message


@pytest.mark.parametrize("marker", [".tmp-{day}", "{day}/.tmp-done", ".tmp-x/{day}/_SUCCESS"])
def test_a_marker_that_is_called_like_a_file_being_written_is_refused(
    tmp_path: Path, marker: str
) -> None:
    """A disk's listing leaves such files out."""
    found = problem(tmp_path, marker=f"'{marker}'")
    assert found.key == "landing.marker"
    assert "'.tmp-'" in found.message


@pytest.mark.parametrize(
    ("kind", "fits"), [("string", False), ("number", False), ("boolean", True)]
)
def test_a_word_for_true_or_false_stands_in_for_booleans_only(
    tmp_path: Path, kind: str, fits: bool
) -> None:
    more = "model: {path: m}\nfeatures: [{name: x, encode: raw, missing: no}]"
    column = f"{{name: x, type: {kind}}}\n{more}"
    if fits:
        assert dataset(tmp_path, column=column).features[0].missing is False
        return
    found = problem(tmp_path, column=column)
    assert (found.key, found.line) == ("features[0].missing", 11)
    assert "YAML reads no as False" in found.message
