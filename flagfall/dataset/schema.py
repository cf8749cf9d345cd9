"""A dataset: one feed of batches, described by one file ``datasets/<name>.yaml``.

The file uses standard words where there are any: Frictionless Table Schema for the columns
(https://datapackage.org/standard/table-schema/), cron for schedules, ISO 8601 or ``30s``, ``15m``,
``2h``, ``1d`` for durations, SQL expressions (polars' dialect) for features and the label.
This module is read while Airflow parses DAGs: it imports nothing heavy.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import PurePosixPath
from string import ascii_letters, digits
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)

from flagfall.dataset.arrival import SAMPLE_TIME, Arrival
from flagfall.dataset.dialect import Dialect
from flagfall.dataset.model import Feature, Label, OwnCode, Scorer
from flagfall.dataset.table import Table
from flagfall.dataset.tasks import Resources, Tasks, TaskSettings
from flagfall.dataset.thresholds import Thresholds, misplaced, without_model
from flagfall.dataset.values import (
    Age,
    Interval,
    Misfit,
    Section,
    Since,
    Wait,
    each_once,
)
from flagfall.errors import MarkerPatternInvalid, shown
from flagfall.landing.file_names import DataFormat
from flagfall.landing.limits import Limits
from flagfall.landing.marker import MarkerPattern
from flagfall.stores.local_walk import TEMPORARY
from flagfall.stores.uri import why_no_queue

_NEW_YEARS = [datetime(year, 1, 1, tzinfo=UTC) for year in (2020, 2021, 2024, 2026, 2027)]
_SAMPLES = sorted(
    [SAMPLE_TIME + timedelta(minutes=minutes) for minutes in (0, 5, 11, 60, 240, 1_080, 1_140)]
    + [year + timedelta(days) for year in _NEW_YEARS for days in range(-6, 11)]
    + [_NEW_YEARS[0] + timedelta(days) for days in range(20, 360, 17)]
)
"""Times in their order, over the ends of days, months and years, also of ISO's weeks."""


class Landing(Section):
    """Where producers write, and what says that a batch is complete.

    Attributes:
        uri: A directory, or ``s3://bucket/prefix``; relative ones start at the project's root (the
            parent of ``datasets/``). ``${NAME}`` and ``${NAME:-default}`` are taken from the
            environment.
        marker: Pattern of the marker's path below ``uri``: ``{field}`` matches within one path
            segment and becomes a field of the batch, ``*`` matches within one segment.
        conn_id: Airflow connection with the rights to an S3 landing zone; empty for what boto3
            finds in the environment.
        sqs_queue: URL of an SQS queue that the bucket notifies of new objects; empty for none.
        settle: A marker that is younger and not complete yet is left alone.
        empty_files: Whether text files without a byte, not even a header, are rejected or are files
            without rows, as Spark 2 and Glue write them for a partition without rows.
        format: Of data files whose names do not say it, as dask's ``0.part``; ``None``: all do.
        since: Batches of earlier days are left alone; ``all``: none is.
        history: Which batches of the backlog a run takes first (see ``flagfall.inbox.backlog``).
        after_receipt: What becomes of a batch's marker and files once it is taken in and scored.
        grace: How long after the receipt that is done.
        archive: URI of the place that they are moved to, reached with ``conn_id``.
    """

    uri: str = Field(min_length=1)
    conn_id: str = ""
    sqs_queue: str = ""
    marker: str
    settle: Wait = timedelta(seconds=10)
    empty_files: Literal["reject", "allow"] = "reject"
    format: DataFormat | None = None
    since: Since = "all"
    history: Literal["oldest", "newest"] = "oldest"
    after_receipt: Literal["keep", "move", "delete"] = "keep"
    grace: Age = timedelta(days=7)
    archive: str = ""

    @model_validator(mode="after")
    def _only_s3_has_these(self) -> Self:
        _check_on_s3(self.uri, conn_id=self.conn_id, sqs_queue=self.sqs_queue)
        return self

    @model_validator(mode="after")
    def _moves_somewhere(self) -> Self:
        if self.after_receipt == "move" and not self.archive:
            raise Misfit(("archive",), "expected the URI of a place to move batches to, got none")
        if self.after_receipt != "move" and self.archive:
            why = f"expected none: after_receipt is {self.after_receipt!r}, not 'move'"
            raise Misfit(("archive",), why)
        if _is_below(self.archive, self.uri):
            why = f"expected a place outside the landing zone, got {self.archive!r}"
            raise Misfit(("archive",), why)
        return self

    @field_validator("sqs_queue")
    @classmethod
    def _queue(cls, value: str) -> str:
        if value and (why := why_no_queue(value)):
            raise ValueError(f"{why}, got {value!r}")
        return value

    @field_validator("marker")
    @classmethod
    def _marker(cls, value: str) -> str:
        try:
            MarkerPattern(value)
        except MarkerPatternInvalid as invalid:
            raise ValueError(str(invalid)) from invalid
        if any(part.startswith(TEMPORARY) for part in value.split("/")):
            why = f"expected no part that begins with {TEMPORARY!r}, as files do that are being"
            raise ValueError(f"{why} written, got {value!r}")
        if "*" in value.rpartition("/")[2]:
            why = "each marker would vouch for every file of the folder; use a field, as in"
            raise ValueError(f"expected no '*' in the marker's own name: {why} {{name}}.ready")
        if value.lower().endswith(_OF_DATA):
            why = "a marker is another file than the data, and comes after them, as in"
            raise ValueError(f"expected no ending of data files, got {value!r}: {why} {value}.done")
        folder, _, name = value.rpartition("/")
        if _FIELDS.fullmatch(name) and ("}" in folder or not folder):
            why = f"got {value!r}: each data file would be a marker, too; use {value}.ready"
            raise ValueError(f"expected more than fields in the marker's own name, {why}")
        return value


def _check_on_s3(uri: str, **given: str) -> None:
    for name, value in given.items():
        if value and not uri.startswith("s3://"):
            raise Misfit((name,), f"expected none: it is for s3://, not for {uri!r}")


_FIELDS = re.compile(r"(\{\w+\}[._-]?)*\{\w+\}")
"""Fields alone. In a folder without fields, such as ``done/{day}``, there may be no data."""

_OF_DATA = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".gz")
"""What no marker ends with. A Data Package's descriptor ends with ``.json``."""


class Keep(Section):
    """How long output in the lake is kept; ``None``: for ever. Receipts always are.

    Attributes:
        staged: Rows that were accepted.
        features: Inputs of the model.
        rejected: Rows that were rejected.
        reports: Of runs; the latest one stays.
    """

    staged: Age | None = None
    features: Age | None = None
    rejected: Age | None = None
    reports: Age | None = None


class Lake(Section):
    """Where the pipeline's own output lives; ``uri`` and ``conn_id`` as for the landing zone.

    Attributes:
        link_expires: How long the link to a report on S3 is good for; S3 takes 7 days at most.
        keep: How long output is kept.
        table: ``delta`` for Delta tables of what counts, for other readers; ``None`` for none.
    """

    uri: str = Field(min_length=1)
    conn_id: str = ""
    table: Literal["delta"] | None = None
    link_expires: Annotated[Interval, Field(le=timedelta(days=7))] = timedelta(hours=12)
    keep: Keep = Keep()

    @model_validator(mode="after")
    def _only_s3_has_it(self) -> Self:
        _check_on_s3(self.uri, conn_id=self.conn_id)
        return self


class Watch(Section):
    """How the trigger looks.

    Attributes:
        sweep_every: Longest time between two sweeps when no hint comes.
        redeliver_after: A marker that is still pending is announced again after this time; so is a
            delivery that was accepted and is not evaluated.
        gather: A marker is held back for so long, so that others that come share its run.
        full_sweep_every: Longest time between two sweeps of S3 that look at everything; the others
            look at what is new, where ``arrival.partition`` says what that is.
    """

    sweep_every: Interval = timedelta(seconds=30)
    redeliver_after: Interval = timedelta(minutes=15)
    gather: Wait = timedelta(0)
    full_sweep_every: Interval = timedelta(hours=1)


Event = Literal["rejected", "attention", "late", "failed", "unfinished", "recovered", "retry"]
"""What people can ask to be told of."""

_USUALLY: tuple[Event, ...] = (
    "rejected",
    "attention",
    "late",
    "failed",
    "unfinished",
    "recovered",
)


class Notice(Section):
    """Whom to notify, and of what.

    Attributes:
        notifier: Path of an Airflow notifier's class, such as
            ``airflow.providers.smtp.notifications.smtp.SmtpNotifier``.
        arguments: Its arguments; ``{{ notice }}`` stands for the sentence, and for the message
            ``{{ notice_subject }}``, ``{{ notice_text }}`` and ``{{ notice_html }}``.
        on: Of what: all but ``retry`` if left out.
    """

    notifier: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    on: tuple[Event, ...] = _USUALLY

    @model_validator(mode="before")
    @classmethod
    def _yaml_reads_on_as_true(cls, raw: Any) -> Any:
        """YAML 1.1 reads the key ``on`` as true."""
        if isinstance(raw, dict) and True in raw:
            return {"on" if key is True else key: value for key, value in raw.items()}
        return raw

    @field_validator("on")
    @classmethod
    def _tells_of_something(cls, value: tuple[Event, ...]) -> tuple[Event, ...]:
        if not value:
            raise ValueError("expected what to tell of, or no `on` at all: this tells nobody")
        return value


_TASKS_OF_A_MODEL = ("preprocess_data", "run_inference", "evaluate_results")

PREDICTED = frozenset({"score", "class", "value", "label", "model_version"})
"""Columns that predictions add to the primary key's."""
PROBABILITY = "probability."
"""Begins the column of a class's probability; the class's name follows."""
CARRIED = ("batch", "marker", "landed_at", "received_at", "landed_day")
"""Columns that tables and exports add to rows and predictions."""
SOURCE = ("source.file", "source.row")
"""Columns of staged rows that no key names: their data file, and their line or number in it."""
OUTCOME, KNOWN_AT, LOOK = "outcome", "known_at", "evaluation"
"""Columns of outcomes beside those, and the key's."""


class Dataset(Section, defer_build=False):
    """One feed, whole.

    Attributes:
        features: What the model is given; empty for the dataset's columns as they are.
        features_python: File with the function that makes the features instead, written in the
            dataset file as ``features: {python: FILE}``.
        evaluate: A function that adds figures of the team's own to the evaluation.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    title: str
    description: str = ""
    owner: str = "data-team"
    landing: Landing
    lake: Lake
    watch: Watch = Watch()
    arrival: Arrival = Arrival()
    table: Table = Field(validation_alias=AliasChoices("schema", "table"))
    dialect: Dialect = Dialect()
    features: tuple[Feature, ...] = ()
    features_python: str = ""
    model: Scorer | None = None
    label: Label | None = None
    evaluate: OwnCode | None = None
    thresholds: Thresholds = Thresholds()
    limits: Limits = Limits()
    resources: Resources = Resources()
    tasks: Tasks = Tasks()
    notify: tuple[Notice, ...] = ()
    _sha256: str = PrivateAttr(default="")

    @property
    def sha256(self) -> str:
        """Hash of the file that it was read from; empty where it was read from none."""
        return self._sha256

    @property
    def own_label(self) -> Label | None:
        """The label, where the batch's own columns say what happened."""
        return None if self.label is None or self.label.feed else self.label

    @property
    def late_label(self) -> Label | None:
        """The label, where another feed brings the outcomes."""
        return self.label if self.label is not None and self.label.feed else None

    @property
    def outcome_key(self) -> tuple[str, ...]:
        """Columns by which outcomes are joined to predictions."""
        given = self.late_label.key if self.late_label is not None else ()
        return given or self.table.primary_key

    @property
    def needs_upkeep(self) -> bool:
        """Whether anything is to be dropped after a time, or tables are to be kept in order."""
        is_dropped = self.lake.keep != Keep() or self.landing.after_receipt != "keep"
        return is_dropped or self.lake.table is not None or self.late_label is not None

    def read_from(self, text: str) -> Self:
        """The same, knowing the text of its file."""
        self._sha256 = sha256(text.encode()).hexdigest()
        return self

    @model_validator(mode="before")
    @classmethod
    def _features_may_be_code(cls, raw: Any) -> Any:
        """``features`` is a list, or ``{python: FILE}``."""
        if not isinstance(raw, dict):
            return raw
        features = raw.get("features")
        if not isinstance(features, dict):
            return raw
        file = features.get("python")
        if set(features) != {"python"} or not isinstance(file, str) or not file:
            why = f"expected a list of features, or {{python: FILE}}, got {shown(features)}"
            raise Misfit(("features",), why)
        return {**raw, "features": (), "features_python": file}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if taken := self._taken_by_predictions():
            raise ValueError(f"expected other names than {sorted(taken)}, which predictions use")
        for key in ("label", "evaluate"):
            if getattr(self, key) is not None and self.model is None:
                raise Misfit((key,), f"expected a model for the {key} to judge, got none")
        if self.features_python and self.model is None:
            raise Misfit(("features",), "expected a model for the features to go to, got none")
        if not self.dialect.header and len(self.table.needed) < len(self.table.fields):
            why = "expected true: without a header no column is known to be left out (optional)"
            raise Misfit(("dialect", "header"), why)
        if self.lake.table and (taken := self._taken_by_tables()):
            raise ValueError(f"expected other names than {sorted(taken)}, which lake.table uses")
        self._numbers_can_be_told_apart()
        self._tables_can_be_read()
        self._tasks_are_there()
        self._thresholds_fit()
        self._features_fit()
        self._partition_fits()
        if self.landing.archive and _is_below(self.landing.archive, f"{self.lake.uri}/{self.name}"):
            why = f"expected a place outside the dataset's lake, got {self.landing.archive!r}"
            raise Misfit(("landing", "archive"), why)
        if _is_below(f"{self.lake.uri}/{self.name}", self.landing.uri):
            why = f"expected a place outside the landing zone, got {self.lake.uri!r}"
            raise Misfit(("lake", "uri"), why)
        return self

    def _taken_by_predictions(self) -> set[str]:
        """Columns whose names predictions need for themselves, beside a key or in place of one."""
        if self.model is None:
            return set()
        if not self.table.primary_key:
            return {*SOURCE} & {column.name for column in self.table.fields}
        key = set(self.table.primary_key)
        known = {OUTCOME, KNOWN_AT, LOOK} if self.late_label is not None else set()
        return key & (PREDICTED | known) | {name for name in key if name.startswith(PROBABILITY)}

    def _taken_by_tables(self) -> set[str]:
        """Columns whose names tables need; they have none that differ in case only."""
        names = [column.name.lower() for column in self.table.fields]
        return {*CARRIED} & {*names} | {name for name in names if names.count(name) > 1}

    def _numbers_can_be_told_apart(self) -> None:
        """A delimiter within a number needs quotes around it, or an escape before it."""
        if self.dialect.quote_char is not None or self.dialect.escape_char is not None:
            return
        for index, column in enumerate(self.table.fields):
            for key, character in column.number_characters.items():
                if character == self.dialect.delimiter:
                    why = "expected another character than dialect.delimiter, since no field is"
                    raise Misfit(
                        ("schema", "fields", index, key), f"{why} quoted, got {character!r}"
                    )

    def _tables_can_be_read(self) -> None:
        """Readers of Delta tables disagree on whether names are percent-encoded."""
        odd = sorted({*self.lake.uri} - {*ascii_letters, *digits, *"-_.+@:/~"})
        if self.lake.table and odd:
            why = f"expected a place without {''.join(odd)!r} for lake.table: not all readers of"
            raise Misfit(("lake", "uri"), f"{why} Delta tables find it, got {self.lake.uri!r}")

    @cached_property
    def since(self) -> str:
        """What the keys of a time begin with, a strftime pattern such as ``date=%Y-%m-%d``.

        Empty where ``arrival.partition`` does not say, or keys do not sort by time.
        """
        pattern = MarkerPattern(self.landing.marker).beginning(self.arrival.partition)
        if not pattern:
            return ""
        keys = [moment.strftime(pattern) for moment in _SAMPLES]
        return pattern if keys == sorted(keys) and len(set(keys)) > 1 else ""

    def _tasks_are_there(self) -> None:
        for task in _TASKS_OF_A_MODEL:
            for key, usual in (("resources", None), ("tasks", TaskSettings())):
                if self.model is None and getattr(getattr(self, key), task) != usual:
                    raise Misfit((key, task), "expected a model for this task, got none")

    def _thresholds_fit(self) -> None:
        if self.model is None:
            for name in without_model(self.thresholds):
                raise Misfit(("thresholds", name), "expected a model for it to judge, got none")
        if self.model is None or self.model.task is None:
            return
        for name, why in misplaced(self.thresholds, self.model.task).items():
            raise Misfit(("thresholds", name), why)

    def _features_fit(self) -> None:
        each_once("features", [feature.name for feature in self.features])
        columns = {column.name: column.type for column in self.table.fields}
        for index, feature in enumerate(self.features):
            if feature.expr is None and feature.name not in columns:
                why = f"expected an expr, or the name of a column, got {feature.name!r}"
                raise Misfit(("features", index, "name"), why)
            kind = columns.get(feature.name) if feature.expr is None else "boolean"
            if isinstance(feature.missing, bool) and kind != "boolean":
                why = f"expected keep or a value of type {kind}, got {feature.missing!r}"
                raise Misfit(("features", index, "missing"), why)

    def _partition_fits(self) -> None:
        """Whether a time gives one marker."""
        if self.arrival.schedule is None and not self.arrival.partition:
            return
        key = ("arrival", "partition")
        pattern, given = MarkerPattern(self.landing.marker), self.arrival.partition
        if set(given) != set(pattern.fields):
            wanted = f"{sorted(pattern.fields)}, the fields of landing.marker"
            raise Misfit(key, f"expected values for {wanted}, got {sorted(given)}")
        try:
            wanted_fields = self.arrival.fields_at(SAMPLE_TIME)
            path = pattern.fill(wanted_fields)
        except (MarkerPatternInvalid, OverflowError) as error:
            raise Misfit(key, f"expected the path of one marker: {error}") from error
        if (read := pattern.match(path)) != wanted_fields:
            why = f"expected fields that can be told apart: {path!r} is read as {read}"
            raise Misfit(("landing", "marker"), f"{why}; put another text between them")


def _is_below(uri: str, folder: str) -> bool:
    inner, outer = (PurePosixPath(os.path.normpath(one)) for one in (uri, folder))
    return inner.is_relative_to(outer)
