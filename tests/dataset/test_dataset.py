from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from flagfall.dataset.loader import (
    dataset_files,
    datasets_folder,
    find_dataset,
    read_dataset,
    usable_datasets,
)
from flagfall.dataset.schema import Dataset
from flagfall.errors import DatasetInvalid, NotThere
from flagfall.landing.marker import MarkerPattern

GOOD = """\
title: A toy feed
landing:
  uri: landing
  marker: date={date}/_SUCCESS
lake:
  uri: lake
arrival:
  schedule: "0 6 * * *"
  lag: 1d
  partition: {date: "%Y-%m-%d"}
  deadline: 2h
schema:
  fields:
    - {name: id, type: integer}
    - {name: day, type: date}
    - {name: text, type: string}
  primaryKey: [id]
features:
  - {name: id}
model:
  path: models/toy
label:
  expr: id > 1
"""
"""Its lines are counted below."""


def write(folder: Path, text: str, name: str = "toy.yaml") -> Path:
    path = folder / "datasets" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def edited(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def refused(path: Path) -> DatasetInvalid:
    with pytest.raises(DatasetInvalid) as caught:
        read_dataset(path)
    return caught.value


@dataclass(frozen=True)
class Mistake:
    """An edit of ``GOOD`` and where the message must point."""

    old: str
    new: str
    line: int | None
    key: str
    says: str


ID = "{name: id, type: integer}"
DAY = "{name: day, type: date}"
TEXT = "{name: text, type: string}"


def on(column: str, constraints: str) -> str:
    return column.replace("}", f", constraints: {{{constraints}}}}}")


C = "schema.fields[0].constraints"
KEEP, STALE = "lake.keep.staged", "thresholds.stale_after"
MISTAKES = [
    # shape
    Mistake("title: A toy feed", "title: 2013", 1, "title", "expected text"),
    Mistake("title: A toy feed\n", "", None, "title", "it is missing"),
    Mistake("  uri: landing\n", "", 2, "landing.uri", "it is missing"),
    Mistake("title:", "titel: x\ntitle:", 1, "titel", "not known here"),
    Mistake("  deadline: 2h", "  deadlin: 2h", 11, "arrival.deadlin", "not known here"),
    Mistake("  uri: lake", "  uri: [lake]", 6, "lake.uri", "expected text"),
    Mistake("  uri: lake", '  uri: ""', 6, "lake.uri", "expected some text"),
    Mistake("lake:\n  uri: lake", "lake: lake", 5, "lake", "expected a mapping"),
    Mistake("features:\n  - {name: id}", "features: id", 18, "features", "expected a list"),
    Mistake("title: A toy feed", "name: other\ntitle: x", 1, "name", "expected 'toy'"),
    # keys that stand twice
    Mistake("lake:\n", "title: x\nlake:\n", 5, "title", "stands on line 1 too"),
    Mistake("  uri: lake", "  uri: a\n  uri: b", 7, "lake.uri", "stands on line 6 too"),
    Mistake(ID, "{name: id, name: x, type: integer}", 14, "schema.fields[0].name", "once"),
    # YAML
    Mistake("  uri: lake", "\turi: lake", 6, "", "expected YAML"),
    Mistake('"0 6 * * *"', '"0 6 * * *', 10, "", "expected YAML"),
    Mistake("title: A toy feed", "title: a: b", 1, "", "expected YAML"),
    Mistake("title: A toy feed", "title: @x", 1, "", "expected YAML"),
    Mistake("title: A toy feed", "title: *x", 1, "", "expected YAML"),
    Mistake("title: A toy feed", "title: !!python/name:os.system x", 1, "", "expected YAML"),
    Mistake("title: A toy feed", "title: \x07", 1, "", "expected YAML"),
    Mistake(DAY, on(DAY, "minimum: 2013-02-30"), 15, "", "day is out of range"),
    # time
    Mistake('"0 6 * * *"', '"0 6 * *"', 8, "arrival.schedule", "expected a cron expression"),
    Mistake('"0 6 * * *"', "daily", 8, "arrival.schedule", "expected a cron expression"),
    Mistake('"0 6 * * *"', '"0 0 30 2 *"', 8, "arrival.schedule", "expected a cron expression"),
    Mistake('"0 6 * * *"', "6", 8, "arrival.schedule", "expected text"),
    Mistake("lag: 1d", "lag: 5", 9, "arrival.lag", "a duration with a unit, such as 30s"),
    Mistake("lag: 1d", "lag: 1.5", 9, "arrival.lag", "a duration with a unit"),
    Mistake("lag: 1d", 'lag: "5"', 9, "arrival.lag", "a duration with a unit"),
    Mistake("lag: 1d", "lag: 1:30", 9, "arrival.lag", "YAML reads 1:30 as 90"),
    Mistake("lag: 1d", "lag: yes", 9, "arrival.lag", "a duration with a unit"),
    Mistake("lag: 1d", "lag: soon", 9, "arrival.lag", "a duration with a unit"),
    Mistake("lag: 1d", "lag: 1 week", 9, "arrival.lag", "a duration with a unit"),
    Mistake("lag: 1d", "lag: P1X", 9, "arrival.lag", "duration"),
    Mistake("lag: 1d", "lag: 9999999999d", 9, "arrival.lag", "a shorter duration"),
    Mistake("lag: 1d", "lag: 36501d", 9, "arrival.lag", "36500d (100 years) at most, got 36501d"),
    Mistake("lag: 1d", "lag: -P36501D", 9, "arrival.lag", "100 years"),
    *(
        Mistake("  uri: lake", f"  uri: lake\n  keep: {{staged: {age}}}", 7, KEEP, "100 years")
        for age in ("3000y", "99999d", "999999999y")
    ),
    Mistake("title:", "thresholds: {stale_after: 1.0e+9}\ntitle:", 1, STALE, "1000000"),
    Mistake("deadline: 2h", "deadline: -PT1S", 11, "arrival.deadline", "greater than or equal"),
    Mistake("lake:\n", "watch: {sweep_every: 0s}\nlake:\n", 5, "watch.sweep_every", "greater than"),
    Mistake("  uri: lake", "  uri: lake\n  link_expires: 8d", 7, "lake.link_expires", "to 7d"),
    # the marker and its partition
    Mistake("date={date}/_SUCCESS", "/date={date}", 4, "landing.marker", "below the landing zone"),
    Mistake("date={date}/_SUCCESS", "../{date}", 4, "landing.marker", "not allowed"),
    Mistake("date={date}/_SUCCESS", '"{date"', 4, "landing.marker", "brace is not closed"),
    Mistake('{date: "', '{day: "', 10, "arrival.partition", "expected values for ['date']"),
    Mistake("%Y-%m-%d", "%Y/%m/%d", 10, "arrival.partition", "'/' in the value of date"),
    Mistake("%Y-%m-%d", "", 10, "arrival.partition", "no value for date"),
    Mistake("%Y-%m-%d", "{{ ds }}", 10, "arrival.partition.date", "expected strftime patterns"),
    Mistake("date={date}/_SUCCESS", '"*.ready"', 4, "landing.marker", "use a field, as in {name}"),
    Mistake("{date}/_SUCCESS", "{date}/a*.ok", 4, "landing.marker", "vouch for every file"),
    Mistake("uri: landing", "uri: landing\n  format: txt", 4, "landing.format", "'parquet'"),
    Mistake("{date}/_", "{date}*/_", 10, "arrival.partition", "does not name one marker"),
    # columns
    Mistake(
        ID, "{name: id, type: int}", 14, "schema.fields[0].type", "expected 'string', 'integer'"
    ),
    Mistake(DAY, "{name: id, type: date}", 15, "schema.fields[1].name", "'id' twice"),
    Mistake(DAY, '{name: "*", type: date}', 15, "schema.fields[1].name", "no pattern, got '*'"),
    Mistake(DAY, '{name: "^d.*$", type: date}', 15, "schema.fields[1].name", "no pattern"),
    Mistake("primaryKey: [id]", "primaryKey: [id, nix]", 17, "schema.primaryKey[1]", "column of"),
    Mistake("primaryKey: [id]", "primaryKey: [id, id]", 17, "schema.primaryKey[1]", "'id' twice"),
    Mistake(ID, on(ID, "minimum: abc"), 14, f"{C}.minimum", "got 'abc'"),
    Mistake(ID, on(ID, "minimum: yes"), 14, f"{C}.minimum", "got True"),
    Mistake(ID, on(ID, "minimum: .nan"), 14, f"{C}.minimum", "finite"),
    Mistake(ID, on(ID, "maximum: 2013-05-01"), 14, f"{C}.maximum", "of type integer"),
    Mistake(ID, on(ID, "minimum: 0.5"), 14, f"{C}.minimum", "of type integer"),
    Mistake(ID, on(ID, "enum: [1, a]"), 14, f"{C}.enum[1]", "of type integer, got 'a'"),
    Mistake(ID, on(ID, "enum: []"), 14, f"{C}.enum", "at least 1"),
    Mistake(ID, on(ID, "enum: [[1]]"), 14, f"{C}.enum[0]", "expected one value"),
    Mistake(ID, on(ID, "enum: 1"), 14, f"{C}.enum", "expected a list"),
    Mistake(ID, on(ID, "pattern: x"), 14, f"{C}.pattern", "does not apply"),
    Mistake(ID, on(ID, "minLength: 1"), 14, f"{C}.minLength", "does not apply"),
    Mistake(ID, on(ID, "requird: true"), 14, f"{C}.requird", "not known here"),
    Mistake(DAY, on(DAY, "minimum: 5"), 15, "schema.fields[1].constraints.minimum", "type date"),
    Mistake(TEXT, on(TEXT, "minimum: 5"), 16, "schema.fields[2].constraints.minimum", "no minimum"),
    Mistake(TEXT, on(TEXT, "enum: [NO]"), 16, "schema.fields[2].constraints.enum[0]", "False"),
    Mistake(TEXT, on(TEXT, "pattern: '['"), 16, "schema.fields[2].constraints.pattern", "regular"),
    Mistake(TEXT, on(TEXT, "minLength: -1"), 16, "schema.fields[2].constraints.minLength", "to 0"),
    Mistake(
        ID, "{name: id, type: integer, optional: true}", 17, "schema.primaryKey[0]", "not optional"
    ),
    Mistake(
        TEXT,
        "{name: text, type: string, optional: true, constraints: {required: true}}",
        16,
        "schema.fields[2].constraints.required",
        "expected false",
    ),
    Mistake(
        "  primaryKey: [id]",
        "  unexpected: drop",
        17,
        "schema.unexpected",
        "expected 'ignore', 'warn' or 'reject', got 'drop'",
    ),
    *(
        Mistake("  primaryKey: [id]", f"  {new}", 17, f"schema.{key}", says)
        for new, key, says in [
            ("rules: [{name: a}]", "rules[0].expr", "it is missing"),
            ("rules: [{expr: id > 1}]", "rules[0].name", "it is missing"),
            ('rules: [{name: "", expr: id > 1}]', "rules[0].name", "expected some text"),
            ("rules: [{name: a, expr: a, severity: stop}]", "rules[0].severity", "'reject'"),
            ("rules: [{name: a, expr: a}, {name: a, expr: b}]", "rules[1].name", "'a' twice"),
            ("rows: {minimum: 5, maximum: 4}", "rows.maximum", "expected 5 or more, got 4"),
            ("rows: {minimum: -1}", "rows.minimum", "greater than or equal to 0"),
            ("rows: {minimum: 1, severity: drop}", "rows.severity", "'warn' or 'reject'"),
        ]
    ),
    Mistake(
        TEXT,
        "{name: text, type: string, missing: {maximum: 5}}",
        16,
        "schema.fields[2].missing.maximum",
        "less than or equal to 1",
    ),
    *(
        Mistake(
            TEXT,
            f"{{name: text, type: string, missing: {{maximum: 0.5}}, {more}}}",
            16,
            "schema.fields[2].missing",
            says,
        )
        for more, says in [
            ("optional: true", "a file may leave all values out"),
            ("constraints: {required: true}", "rows without a value are rejected"),
        ]
    ),
    # dialect
    *(
        Mistake("lake:\n", f"dialect: {{{new}}}\nlake:\n", 5, f"dialect.{key}", says)
        for new, key, says in [
            ("encoding: utf-9", "encoding", "such as utf-8, utf-16, windows-1252"),
            ("encoding: base64", "encoding", "got 'base64'"),
            ("encoding: utf-7", "encoding", "that files are written in"),
            ("encoding: unicode_escape", "encoding", "that files are written in"),
            ('encoding: "a\\0b"', "encoding", "expected an encoding"),
            ("encoding: ''", "encoding", "expected an encoding"),
            ("delimiter: ';;'", "delimiter", "expected one ASCII character"),
            ("delimiter: '\\t'", "delimiter", "in double quotes"),
            ("delimiter: §", "delimiter", "expected one ASCII character"),
            ("delimiter: ''", "delimiter", "expected one ASCII character"),
            ('delimiter: "\\n"', "delimiter", "expected one ASCII character"),
            ("delimiter: '\"'", "delimiter", "another character than a quote"),
            ("delimiter: null", "delimiter", "expected text"),
            ("quoteChar: ','", "quoteChar", "another character than delimiter"),
            ("quoteChar: ''", "quoteChar", "expected one ASCII character"),
            ("escapeChar: '\"'", "escapeChar", "another character than quoteChar"),
            ("skipRows: -1", "skipRows", "greater than or equal to 0"),
            ("header: 1.5", "header", "expected a valid boolean"),
            ("separator: ;", "separator", "not known here"),
        ]
    ),
    *(
        Mistake(ID, f"{{name: id, type: {type_}, {new}}}", 14, f"schema.fields[0].{key}", says)
        for type_, new, key, says in [
            ("integer", "decimalChar: ','", "decimalChar", "expected no decimalChar: it does not"),
            ("string", "groupChar: ','", "groupChar", "it does not apply to a column of type str"),
            ("integer", "trueValues: [x]", "trueValues", "it does not apply"),
            ("number", "groupChar: ',,'", "groupChar", "expected one character"),
            ("number", "decimalChar: ''", "decimalChar", "expected one character"),
            ("number", "decimalChar: 5", "decimalChar", "expected text"),
            ("number", "decimalChar: 'e'", "decimalChar", "in no number itself"),
            ("number", "groupChar: '.'", "groupChar", "another character than decimalChar"),
            ("boolean", "trueValues: []", "trueValues", "at least 1"),
            ("boolean", "trueValues: [x, yes]", "trueValues[1]", "put it in quotes"),
            ("boolean", "falseValues: ['1']", "falseValues", "other words than those of trueV"),
        ]
    ),
    Mistake(
        "schema:\n  fields:\n    - {name: id, type: integer}\n    - {name: day, type: date}\n",
        "dialect: {header: false}\nschema:\n  fields:\n    - {name: id, type: integer}\n"
        "    - {name: day, type: date, optional: true}\n",
        12,
        "dialect.header",
        "no column is known to be left out",
    ),
    # what refers to what
    Mistake("- {name: id}", "- {name: nix}", 19, "features[0].name", "name of a column"),
    Mistake("- {name: id}", "- {name: id}\n  - {name: id}", 20, "features[1].name", "'id' twice"),
    Mistake("model:\n  path: models/toy\n", "", 20, "label", "expected a model"),
    Mistake("  uri: lake", "  uri: landing/lake", 6, "lake.uri", "outside the landing zone"),
    Mistake("  uri: landing\n", "  uri: ${NOT_SET}\n", 3, "landing.uri", "to have NOT_SET"),
    Mistake("  path: models/toy", "  path: ${NOT_SET}/x", 21, "model.path", "to have NOT_SET"),
    Mistake("  uri: lake", "  uri: ${A", 6, "lake.uri", "expected ${NAME}"),
    Mistake("lake:\n", "limits: {files: 0}\nlake:\n", 5, "limits.files", "greater than 0"),
    Mistake("lake:\n", "thresholds: {auc_min: 50%}\nlake:\n", 5, "thresholds.auc_min", "number"),
    # resources
    *(
        Mistake(
            "lake:\n",
            f"resources: {{run_inference: {{cpu: {cpu}, memory: {memory}}}}}\nlake:\n",
            5,
            f"resources.run_inference.{key}",
            says,
        )
        for cpu, memory, key, says in [
            ("two", "4Gi", "cpu", "expected CPUs such as 2, 0.5 or 500m, got 'two'"),
            ("yes", "4Gi", "cpu", "got True"),
            ("0", "4Gi", "cpu", "got 0"),
            ("0.0001", "4Gi", "cpu", "got 0.0001"),
            ("-1", "4Gi", "cpu", "got -1"),
            ("2", "4", "memory", "expected memory with a unit, such as 512Mi or 4Gi, got 4"),
            ("2", "4GB", "memory", "got '4GB'"),
            ("2", "4m", "memory", "got '4m'"),
            ("2", "0Gi", "memory", "got '0Gi'"),
            ("2", "1Mi", "memory", "expected 128Mi or more: a Python process"),
            ("2", "127.9Mi", "memory", "got '127.9Mi'"),
            ("2", "134M", "memory", "got '134M'"),
            ("1e3", "4Gi", "cpu", "got '1e3'; YAML reads 1e3 as text: write 1000 if it is a numb"),
        ]
    ),
    # a pod of the model's own
    *(
        Mistake(
            "  path: models/toy",
            f"  path: models/toy\n  engine: pod\n  pod:\n    {lines}",
            line,
            f"model.pod.{key}",
            says,
        )
        for lines, line, key, says in [
            ("image: a\n    cpu: 0", 25, "cpu", "expected CPUs such as 2, 0.5 or 500m, got 0"),
            ("image: a\n    cpu: 2Gi", 25, "cpu", "got '2Gi'"),
            ("image: a\n    memory: 4", 25, "memory", "expected memory with a unit"),
            ("image: a\n    memory: 400m", 25, "memory", "got '400m'"),
            ("image: a\n    memory: 1Mi", 25, "memory", "expected 128Mi or more"),
            ("image: a\n    namespace: My NS", 25, "namespace", "such as flagfall, got 'My NS'"),
            ("image: a\n    namespace: a.b", 25, "namespace", "lower-case letters, digits and -"),
            (f"image: a\n    namespace: {'a' * 64}", 25, "namespace", "63 characters at most"),
            ("image: a\n    service_account: Task", 25, "service_account", "got 'Task'"),
            ("image: a\n    service_account: a_b", 25, "service_account", "digits, - and ."),
            ("image: Registry Example/a b", 24, "image", "without blanks"),
            ("image: Flagfall:1", 24, "image", "lower-case"),
            ("image: https://registry.example/a", 24, "image", "registry.example/flagfall:0.1.0"),
            ("image: 'a:'", 24, "image", "got 'a:'"),
            ("image: ''", 24, "image", "got ''"),
        ]
    ),
    Mistake(
        "lake:\n",
        "limits: {batch_bytes: 20GB}\nlake:\n",
        5,
        "limits.batch_bytes",
        "expected a number of bytes, such as 21474836480 for 20 GiB, got '20GB'",
    ),
    Mistake("lake:\n", "limits: {row_bytes: 2.5}\nlake:\n", 5, "limits.row_bytes", "got 2.5"),
    Mistake(
        "lake:\n", "limits: {shard_bytes: 2e9}\nlake:\n", 5, "limits.shard_bytes", "2000000000 if"
    ),
    Mistake(
        "lake:\n",
        "limits: {files: many}\nlake:\n",
        5,
        "limits.files",
        "expected a whole number, got 'many'",
    ),
    Mistake(
        "lake:\n",
        "resources: {run_inference: {cpu: 2}}\nlake:\n",
        5,
        "resources.run_inference.memory",
        "it is missing",
    ),
    Mistake(
        "lake:\n",
        "resources: {inference: {cpu: 2, memory: 1Gi}}\nlake:\n",
        5,
        "resources.inference",
        "not known here",
    ),
    Mistake(
        "model:\n  path: models/toy\nlabel:\n  expr: id > 1\n",
        "resources: {run_inference: {cpu: 2, memory: 1Gi}}\n",
        20,
        "resources.run_inference",
        "expected a model for this task",
    ),
    Mistake(
        "model:\n  path: models/toy\nlabel:\n  expr: id > 1\n",
        "tasks: {run_inference: {retries: 1}}\n",
        20,
        "tasks.run_inference",
        "expected a model for this task",
    ),
    Mistake(
        "lake:\n",
        "tasks: {claim: {retries: -1}}\nlake:\n",
        5,
        "tasks.claim.retries",
        "greater than or equal to 0",
    ),
    Mistake(
        "lake:\n", "thresholds: {auc_min: 1.1}\nlake:\n", 5, "thresholds.auc_min", "equal to 1"
    ),
]


def test_the_text_that_the_mistakes_are_made_in_is_good(tmp_path: Path) -> None:
    assert read_dataset(write(tmp_path, GOOD)).name == "toy"


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake.key}: {mistake.new}")
def test_a_mistake_is_told_by_file_line_key_and_what_was_expected(
    tmp_path: Path, mistake: Mistake
) -> None:
    path = write(tmp_path, edited(mistake.old, mistake.new))
    invalid = refused(path)
    assert len(invalid.problems) == 1, str(invalid)
    problem = invalid.problems[0]
    assert (problem.line, problem.key) == (mistake.line, mistake.key)
    assert mistake.says in problem.message
    assert str(invalid).startswith(f"{path}: ")
    assert "\n" not in str(invalid)


def test_fields_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    text = GOOD.replace("date={date}/_SUCCESS", "'{region}-{date}.ready'")
    path = write(tmp_path, text.replace("partition: {", "partition: {region: eu, "))
    (problem,) = refused(path).problems
    assert (problem.line, problem.key) == (4, "landing.marker")
    read = "'eu-2026-11-21.ready' is read as {'region': 'eu-2026-11', 'date': '21'}"
    assert f"{read}; put another text between them" in problem.message
    write(tmp_path, path.read_text().replace("}-{", "}_{"))
    assert read_dataset(path).landing.marker == "{region}_{date}.ready"


@pytest.mark.parametrize("setting", ["memory: 1e10", "starts_within: 1e3"])
def test_nobody_is_asked_for_a_number_where_one_without_a_unit_is_refused(
    tmp_path: Path, setting: str
) -> None:
    pod = f"engine: pod\n  pod: {{image: a, {setting}}}"
    (problem,) = refused(
        write(tmp_path, edited("path: models/toy", f"path: models/toy\n  {pod}"))
    ).problems
    assert "with a unit" in problem.message
    assert "if it is a number" not in problem.message


@pytest.mark.parametrize(
    "image",
    [
        "flagfall",
        "flagfall:0.1.0",
        "localhost:5000/a/b-c__d.e:V1_x",
        "Registry.Example/a",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com/flagfall",
        f"registry.example/flagfall@sha256:{'a1' * 32}",
        f"[::1]:5000/flagfall:1@sha256:{'a1' * 32}",
    ],
)
def test_every_image_that_a_registry_may_have_is_taken(tmp_path: Path, image: str) -> None:
    pod = f"engine: pod\n  pod: {{image: '{image}', namespace: a-1, service_account: a.b-1}}"
    text = edited("path: models/toy", f"path: models/toy\n  {pod}")
    model = read_dataset(write(tmp_path, text)).model
    assert model is not None
    assert model.pod is not None
    assert model.pod.image == image


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = edited("title: A toy feed", "title: 5").replace("2h", "2").replace("integer", "int")
    assert [problem.line for problem in refused(write(tmp_path, text)).problems] == [1, 11, 14]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a mapping at the top, got an empty file"),
        ("# only a comment\n", "got an empty file"),
        ("- a\n- b\n", "expected a mapping at the top"),
        ("just text\n", "expected a mapping at the top, got 'just text'"),
        ("a: 1\n---\nb: 2\n", "expected YAML"),
        ("[" * 1000, "nested too deeply"),
        pytest.param("[" * 200_000, "nested too deeply", id="deeper than the stack"),
        pytest.param("- " * 1000 + "x", "nested too deeply", id="a list in a list"),
        ("a: &a [*a]\n", "not known here"),
        ("1: x\n", "expected text as a key"),
        ("? [a, b]\n: x\n", "expected YAML"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_file_of_another_shape_is_refused_in_words(tmp_path: Path, text: str, says: str) -> None:
    assert says in str(refused(write(tmp_path, text)))


def test_a_file_that_is_not_utf8_is_refused_with_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.write_bytes(b"title: ok\ntitel: K\xf6ln\n")
    assert refused(path).problems[0].line == 2


def test_a_directory_with_a_dataset_files_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").mkdir()
    assert "expected a file that can be read" in str(refused(tmp_path / "toy.yaml"))


def test_a_file_whose_name_cannot_be_a_datasets_is_refused(tmp_path: Path) -> None:
    invalid = refused(write(tmp_path, GOOD, name="My-Feed.yaml"))
    assert "name: expected lower-case letters, digits and _" in str(invalid)


def test_a_dataset_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match=r"no dataset file .*absent\.yaml"):
        read_dataset(tmp_path / "absent.yaml")


class TestDurations:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("250ms", timedelta(milliseconds=250)),
            ("30s", timedelta(seconds=30)),
            ("15m", timedelta(minutes=15)),
            ("2h", timedelta(hours=2)),
            ("1d", timedelta(days=1)),
            ("1.5 h", timedelta(minutes=90)),
            ("0s", timedelta(0)),
            ("PT15M", timedelta(minutes=15)),
            ("P1DT2H", timedelta(hours=26)),
            ("-P1D", timedelta(days=-1)),
        ],
    )
    def test_short_and_iso_8601_forms_are_understood(
        self, tmp_path: Path, text: str, expected: timedelta
    ) -> None:
        dataset = read_dataset(write(tmp_path, edited("lag: 1d", f"lag: {text}")))
        assert dataset.arrival.lag == expected


class TestEnvironment:
    def landing(self, tmp_path: Path, uri: str) -> str:
        return read_dataset(write(tmp_path, edited("uri: landing", f"uri: {uri}"))).landing.uri

    def test_a_variable_is_taken_from_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TOY_ROOT", "/data")
        assert self.landing(tmp_path, "${TOY_ROOT}/a") == "/data/a"
        assert self.landing(tmp_path, "${TOY_ROOT:-/other}/a") == "/data/a"

    @pytest.mark.parametrize("value", [None, ""])
    def test_a_default_stands_in_for_a_variable_that_is_not_set_or_empty(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
    ) -> None:
        """As in a shell; an empty variable must not make ``/landing`` out of it."""
        monkeypatch.delenv("TOY_ROOT", raising=False)
        if value is not None:
            monkeypatch.setenv("TOY_ROOT", value)
        assert self.landing(tmp_path, "${TOY_ROOT:-/data}/a") == "/data/a"

    def test_an_empty_variable_without_a_default_is_missing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TOY_ROOT", "")
        with pytest.raises(DatasetInvalid, match="to have TOY_ROOT"):
            self.landing(tmp_path, "${TOY_ROOT}/a")

    def test_a_relative_place_starts_at_the_parent_of_the_datasets_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert self.landing(tmp_path, "landing") == f"{tmp_path}/landing"

    @pytest.mark.parametrize("uri", ["s3://bucket/prefix", "file:///data/landing", "/data/x"])
    def test_an_address_is_left_as_it_is(self, tmp_path: Path, uri: str) -> None:
        assert self.landing(tmp_path, uri) == uri


def test_a_model_on_s3_is_said_to_need_a_path(tmp_path: Path) -> None:
    says = str(refused(write(tmp_path, edited("models/toy", "s3://b/m"))))
    assert "model.path: expected a path on this machine, got 's3://b/m'" in says
    assert "bucket" not in says


class TestConstraintsThatFit:
    @pytest.mark.parametrize(
        ("kind", "constraints"),
        [
            ("integer", "minimum: 0, maximum: 10, enum: [1, 2]"),
            ("number", "minimum: 0, maximum: 2.5, enum: [1, 2.5]"),
            ("boolean", "required: true, enum: [true]"),
            ("string", "pattern: '[A-Z]+', minLength: 1, maxLength: 3, enum: [A, 'BC']"),
            ("date", "minimum: 2013-01-01, maximum: 2013-12-31, enum: [2013-05-01]"),
            ("datetime", "minimum: 2013-01-01, maximum: 2013-12-31 23:59:59"),
            ("datetime", "minimum: 2013-01-01T00:00:00Z"),
        ],
    )
    def test_they_are_taken(self, tmp_path: Path, kind: str, constraints: str) -> None:
        column = on(f"{{name: text, type: {kind}}}", constraints)
        read_dataset(write(tmp_path, edited(TEXT, column)))

    def test_a_date_stays_a_date(self, tmp_path: Path) -> None:
        dataset = read_dataset(write(tmp_path, edited(DAY, on(DAY, "minimum: 2013-01-01"))))
        minimum = dataset.table.fields[1].constraints.minimum
        assert (minimum, type(minimum)) == (date(2013, 1, 1), date)


class TestArrival:
    def arrival(self, tmp_path: Path, schedule: str = "0 6 * * *") -> Dataset:
        return read_dataset(write(tmp_path, edited("0 6 * * *", schedule)))

    @pytest.mark.parametrize(
        ("now", "due"),
        [
            (datetime(2026, 11, 22, 5, 59, 59, tzinfo=UTC), datetime(2026, 11, 21, 6, tzinfo=UTC)),
            (datetime(2026, 11, 22, 6, 0, 0, tzinfo=UTC), datetime(2026, 11, 21, 6, tzinfo=UTC)),
            (datetime(2026, 11, 22, 6, 0, 1, tzinfo=UTC), datetime(2026, 11, 22, 6, tzinfo=UTC)),
            (datetime(2026, 3, 1, 0, 0, 0, tzinfo=UTC), datetime(2026, 2, 28, 6, tzinfo=UTC)),
        ],
    )
    def test_the_batch_that_was_due_is_the_one_of_the_last_scheduled_time(
        self, tmp_path: Path, now: datetime, due: datetime
    ) -> None:
        assert self.arrival(tmp_path).arrival.due_before(now) == due

    def test_the_marker_that_is_due_carries_the_time_less_the_lag(self, tmp_path: Path) -> None:
        dataset = self.arrival(tmp_path)
        due = datetime(2026, 3, 1, 6, tzinfo=UTC)
        fields = dataset.arrival.fields_at(due)
        pattern = MarkerPattern(dataset.landing.marker)
        assert pattern.fill(fields) == "date=2026-02-28/_SUCCESS"

    @pytest.mark.parametrize("schedule", ["*/5 * * * *", "0 6 * * MON-FRI", "@daily", "0 0 29 2 *"])
    def test_schedules_that_cron_knows_are_taken(self, tmp_path: Path, schedule: str) -> None:
        assert self.arrival(tmp_path, schedule).arrival.schedule == schedule


class TestManyFeeds:
    @pytest.mark.invariant(5)
    def test_a_mistake_in_one_file_does_not_stop_the_feeds_beside_it(self, tmp_path: Path) -> None:
        write(tmp_path, GOOD, "good.yaml")
        write(tmp_path, "title: only", "short.yaml")
        write(tmp_path, "\x00", "nul.yaml")
        (tmp_path / "datasets" / "folder.yaml").mkdir()
        (tmp_path / "datasets" / "gone.yaml").symlink_to(tmp_path / "nowhere")
        usable, broken = usable_datasets(tmp_path / "datasets")
        assert [dataset.name for dataset in usable] == ["good"]
        assert [Path(b.path).name for b in broken] == [
            "folder.yaml",
            "gone.yaml",
            "nul.yaml",
            "short.yaml",
        ]

    def test_hidden_files_and_other_endings_are_no_datasets(self, tmp_path: Path) -> None:
        good = write(tmp_path, GOOD)
        (good.parent / ".#toy.yaml").symlink_to("somebody@host.1234")  # what Emacs leaves
        write(tmp_path, "{", "notes.txt")
        write(tmp_path, "{", "toy.yaml~")
        assert dataset_files(good.parent) == [good]

    @pytest.mark.parametrize("name", ["toy.yml", "toy.YAML", "toy.Yml"])
    def test_a_file_with_another_ending_of_yaml_is_said_and_not_left_out_silently(
        self, tmp_path: Path, name: str
    ) -> None:
        write(tmp_path, GOOD, name)
        usable, broken = usable_datasets(tmp_path / "datasets")
        assert usable == []
        assert f"{name}: expected the ending .yaml" in str(broken[0])
        with pytest.raises(DatasetInvalid, match=r"rename it to toy\.yaml"):
            find_dataset("toy", tmp_path / "datasets")

    def test_a_folder_that_is_not_there_has_no_datasets(self, tmp_path: Path) -> None:
        assert usable_datasets(tmp_path / "absent") == ([], [])

    def test_an_unknown_name_is_answered_with_those_that_there_are(self, tmp_path: Path) -> None:
        write(tmp_path, GOOD)
        with pytest.raises(NotThere, match=r"no dataset 'toi'; .*datasets has: toy"):
            find_dataset("toi", tmp_path / "datasets")

    @pytest.mark.parametrize("name", ["../datasets/toy", "toy.yaml", "", "TOY"])
    def test_only_a_plain_name_finds_a_dataset(self, tmp_path: Path, name: str) -> None:
        write(tmp_path, GOOD)
        with pytest.raises(NotThere):
            find_dataset(name, tmp_path / "datasets")

    def test_the_folder_can_be_set_in_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FLAGFALL_DATASETS", str(tmp_path))
        assert datasets_folder() == tmp_path
        monkeypatch.setenv("FLAGFALL_DATASETS", "")
        assert datasets_folder() == Path(__file__).parents[2] / "datasets"


class TestTheFeedsThatAreThere:
    def test_every_dataset_of_this_project_can_be_used(self) -> None:
        usable, broken = usable_datasets()
        assert broken == []
        assert "flights" in {dataset.name for dataset in usable}

    def test_a_feed_of_another_shape_needs_only_a_file(self) -> None:
        weather = read_dataset(Path(__file__).parents[1] / "data" / "weather.yaml")
        assert weather.name == "weather"
        assert weather.arrival.schedule is None
        assert (weather.model, weather.label, weather.features) == (None, None, ())
        assert MarkerPattern(weather.landing.marker).fields == ("airport", "month")
        assert {column.type for column in weather.table.fields} == {
            "string",
            "datetime",
            "number",
            "integer",
            "boolean",
        }


def test_a_file_that_may_not_be_read_is_refused_in_words(plain_user: Path) -> None:
    path = write(plain_user, GOOD)
    path.chmod(0)
    assert "expected a file that can be read: Permission denied" in str(refused(path))
