"""A dataset: one feed of batches, described by one file ``datasets/<name>.yaml``.

The file uses standard words where there are any: Frictionless Table Schema for the columns
(https://datapackage.org/standard/table-schema/), cron for schedules, ISO 8601 or ``30s``, ``15m``,
``2h``, ``1d`` for durations, SQL expressions (polars' dialect) for features and the label.
This module is read while Airflow parses DAGs: it imports nothing heavy.
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import PurePosixPath
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
from flagfall.dataset.thresholds import Thresholds, misplaced
from flagfall.dataset.values import (
    Interval,
    Misfit,
    Section,
    Wait,
    each_once,
)
from flagfall.errors import MarkerPatternInvalid
from flagfall.landing.file_names import DataFormat
from flagfall.landing.limits import Limits
from flagfall.landing.marker import MarkerPattern
from flagfall.stores.uri import why_no_queue

_SAMPLES = [
    SAMPLE_TIME + timedelta(hours=hours) for hours in (0, 1, 4, 18, 24, 72, 240, 700, 2_000, 9_000)
]
"""Times in their order, over the ends of days, months and years."""


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
    """

    uri: str = Field(min_length=1)
    conn_id: str = ""
    sqs_queue: str = ""
    marker: str
    settle: Wait = timedelta(seconds=10)
    empty_files: Literal["reject", "allow"] = "reject"
    format: DataFormat | None = None

    @model_validator(mode="after")
    def _only_s3_has_these(self) -> Self:
        for name in ("conn_id", "sqs_queue"):
            if getattr(self, name) and not self.uri.startswith("s3://"):
                raise Misfit((name,), f"expected none: it is for s3://, not for {self.uri!r}")
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
        if "*" in value.rpartition("/")[2]:
            why = "each marker would vouch for every file of the folder; use a field, as in"
            raise ValueError(f"expected no '*' in the marker's own name: {why} {{name}}.ready")
        return value


class Lake(Section):
    """Where the pipeline's own output lives; ``uri`` and ``conn_id`` as for the landing zone.

    Attributes:
        link_expires: How long the link to a report on S3 is good for; S3 takes 7 days at most.
    """

    uri: str = Field(min_length=1)
    conn_id: str = ""
    link_expires: Annotated[Interval, Field(le=timedelta(days=7))] = timedelta(hours=12)


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


_TASKS_OF_A_MODEL = ("preprocess_data", "run_inference", "evaluate_results")

PREDICTED = frozenset({"score", "class", "value", "label", "model_version"})
"""Columns that predictions add to the primary key's."""
PROBABILITY = "probability."
"""Begins the column of a class's probability; the class's name follows."""


class Dataset(Section):
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
            why = f"expected a list of features, or {{python: FILE}}, got {features!r}"
            raise Misfit(("features",), why)
        return {**raw, "features": (), "features_python": file}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if taken := self._taken_by_predictions():
            raise ValueError(f"expected other names than {sorted(taken)}, which predictions use")
        for key in ("label", "evaluate"):
            if getattr(self, key) is not None and self.model is None:
                raise Misfit((key,), f"expected a model for the {key} to judge, got none")
        if not self.dialect.header and len(self.table.needed) < len(self.table.fields):
            why = "expected true: without a header no column is known to be left out (optional)"
            raise Misfit(("dialect", "header"), why)
        self._tasks_are_there()
        self._thresholds_fit()
        self._features_fit()
        self._partition_fits()
        if _is_below(f"{self.lake.uri}/{self.name}", self.landing.uri):
            why = f"expected a place outside the landing zone, got {self.lake.uri!r}"
            raise Misfit(("lake", "uri"), why)
        return self

    def _taken_by_predictions(self) -> set[str]:
        """Columns of the primary key whose names predictions need for themselves."""
        if self.model is None:
            return set()
        key = set(self.table.primary_key)
        return key & PREDICTED | {name for name in key if name.startswith(PROBABILITY)}

    @cached_property
    def since(self) -> str:
        """What the keys of a time begin with, a strftime pattern such as ``date=%Y-%m-%d``.

        Empty where ``arrival.partition`` does not say, or keys do not sort by time.
        """
        pattern = MarkerPattern(self.landing.marker).beginning(self.arrival.partition)
        keys = [moment.strftime(pattern) for moment in _SAMPLES]
        return pattern if keys == sorted(keys) and len(set(keys)) > 1 else ""

    def _tasks_are_there(self) -> None:
        for task in _TASKS_OF_A_MODEL:
            for key, usual in (("resources", None), ("tasks", TaskSettings())):
                if self.model is None and getattr(getattr(self, key), task) != usual:
                    raise Misfit((key, task), "expected a model for this task, got none")

    def _thresholds_fit(self) -> None:
        if self.model is None or self.model.task is None:
            return
        for name, why in misplaced(self.thresholds, self.model.task).items():
            raise Misfit(("thresholds", name), why)

    def _features_fit(self) -> None:
        each_once("features", [feature.name for feature in self.features])
        columns = {column.name for column in self.table.fields}
        for index, feature in enumerate(self.features):
            if feature.expr is None and feature.name not in columns:
                why = f"expected an expr, or the name of a column, got {feature.name!r}"
                raise Misfit(("features", index, "name"), why)

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
            pattern.fill(self.arrival.fields_at(SAMPLE_TIME))
        except (MarkerPatternInvalid, OverflowError) as error:
            raise Misfit(key, f"expected the path of one marker: {error}") from error


def _is_below(uri: str, folder: str) -> bool:
    inner, outer = (PurePosixPath(os.path.normpath(one)) for one in (uri, folder))
    return inner.is_relative_to(outer)
