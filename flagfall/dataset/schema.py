"""A dataset: one feed of batches, described by one file ``datasets/<name>.yaml``.

The file uses standard words where there are any: Frictionless Table Schema for the columns
(https://datapackage.org/standard/table-schema/), cron for schedules, ISO 8601 or ``30s``, ``15m``,
``2h``, ``1d`` for durations, SQL expressions (polars' dialect) for features and the label.
This module is read while Airflow parses DAGs: it imports nothing heavy.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from math import isfinite
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from croniter import CroniterError, croniter
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from flagfall.errors import MarkerPatternInvalid
from flagfall.landing.limits import Limits
from flagfall.landing.marker import MarkerPattern

_SHORT_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_CPU = re.compile(r"\d+(\.\d{1,3})?|\d+m")
_MEMORY = re.compile(r"\d+(\.\d+)?[MGT]i?")


_SAMPLE = datetime(2026, 11, 22, 6, tzinfo=UTC)
"""Any time, to try patterns of times on."""
_SAMPLES = [
    _SAMPLE + timedelta(hours=hours) for hours in (0, 1, 4, 18, 24, 72, 240, 700, 2_000, 9_000)
]
"""Times in their order, over the ends of days, months and years."""


class Misfit(ValueError):
    """Something that does not fit, at a place below the one that was being checked."""

    def __init__(self, location: tuple[int | str, ...], message: str) -> None:
        self.location = location
        super().__init__(message)


def _duration(value: object) -> object:
    if isinstance(value, timedelta) or (isinstance(value, str) and value.startswith(("P", "-P"))):
        return value
    match = _SHORT_DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        why = f"expected a duration with a unit, such as 30s, 15m, 2h, 1d or PT15M, got {value!r}"
        raise ValueError(why)
    try:
        return timedelta(seconds=float(match[1]) * _UNIT_SECONDS[match[2]])
    except OverflowError as error:
        raise ValueError(f"expected a shorter duration, got {value!r}") from error


def _bound(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | date):
        raise ValueError(f"expected a number, or a date without quotes, got {value!r}")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"expected a finite number, got {value!r}")
    return value


def _scalar(value: object) -> object:
    if not isinstance(value, str | int | float | date):
        raise ValueError(f"expected one value, got {value!r}")
    return value


def _quantity(form: re.Pattern[str], expected: str, value: object) -> str:
    text = "" if isinstance(value, bool) else str(value)
    if not form.fullmatch(text) or not re.search("[1-9]", text):
        raise ValueError(f"expected {expected}, got {value!r}")
    return text


def _cpu(value: object) -> str:
    return _quantity(_CPU, "CPUs such as 2, 0.5 or 500m", value)


def _memory(value: object) -> str:
    return _quantity(_MEMORY, "memory with a unit, such as 512Mi or 4Gi", value)


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Wait = Annotated[Duration, Field(ge=timedelta(0))]
Interval = Annotated[Duration, Field(gt=timedelta(0))]
Share = Annotated[float, Field(ge=0, le=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Landing(_Model):
    """Where producers write, and what says that a batch is complete.

    Attributes:
        uri: A directory, or ``s3://bucket/prefix``; relative ones start at the project's root (the
            parent of ``datasets/``). ``${NAME}`` and ``${NAME:-default}`` are taken from the
            environment.
        marker: Pattern of the marker's path below ``uri``: ``{field}`` matches within one path
            segment and becomes a field of the batch, ``*`` matches within one segment.
        conn_id: Airflow connection with the rights to an S3 landing zone; empty for what boto3
            finds in the environment.
        sqs_queue: URL of an SQS queue that the bucket tells of new objects; empty for none.
        settle: A marker that is younger and not complete yet is left alone.
        after_receipt: What becomes of a batch's files once its receipt exists.
    """

    uri: str = Field(min_length=1)
    conn_id: str = ""
    sqs_queue: str = ""
    marker: str
    settle: Wait = timedelta(seconds=10)
    after_receipt: Literal["keep"] = "keep"

    @model_validator(mode="after")
    def _only_s3_has_these(self) -> Self:
        for name in ("conn_id", "sqs_queue"):
            if getattr(self, name) and not self.uri.startswith("s3://"):
                raise Misfit((name,), f"expected none: it is for s3://, not for {self.uri!r}")
        return self

    @field_validator("marker")
    @classmethod
    def _marker(cls, value: str) -> str:
        try:
            MarkerPattern(value)
        except MarkerPatternInvalid as invalid:
            raise ValueError(str(invalid)) from invalid
        return value


class Lake(_Model):
    """Where the pipeline's own output lives; ``uri`` and ``conn_id`` as for the landing zone.

    Attributes:
        link_expires: How long the link to a report on S3 is good for; S3 takes 7 days at most.
    """

    uri: str = Field(min_length=1)
    conn_id: str = ""
    link_expires: Annotated[Interval, Field(le=timedelta(days=7))] = timedelta(hours=12)


class Watch(_Model):
    """How the trigger looks.

    Attributes:
        sweep_every: Longest time between two sweeps when no hint comes.
        redeliver_after: A marker that is still pending is announced again after this time; so is a
            delivery that was accepted and is not evaluated.
        gather: A marker is held back for so long, so that others that come share its run.
        full_sweep_every: Longest time between two sweeps of S3 that look at everything; the others
            look at what is new, where ``arrival.partition`` tells what that is.
    """

    sweep_every: Interval = timedelta(seconds=30)
    redeliver_after: Interval = timedelta(minutes=15)
    gather: Wait = timedelta(0)
    full_sweep_every: Interval = timedelta(hours=1)


def _has_times(schedule: str) -> bool:
    """Whether it is a cron expression with a time in it: 30 February is none."""
    try:
        croniter(schedule, _SAMPLE).get_next()
    except (CroniterError, ValueError):
        return False
    return True


class Arrival(_Model):
    """When batches are due. Without a ``schedule`` they may come at any time.

    Attributes:
        schedule: Cron expression (UTC): when the wait for a batch begins.
        lag: The batch that is due belongs to the schedule's time less this: ``1d`` for yesterday's.
        partition: Values of the marker pattern's fields for that time, as strftime patterns.
        deadline: How long after the schedule the marker may come before the wait fails.
    """

    schedule: str | None = None
    lag: Duration = timedelta(0)
    partition: dict[str, str] = Field(default_factory=dict)
    deadline: Wait = timedelta(hours=1)

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        if value is not None and not _has_times(value):
            raise ValueError(f"expected a cron expression such as '0 6 * * *', got {value!r}")
        return value

    def due_before(self, now: datetime) -> datetime:
        """The last time at which a batch was due. Only with a ``schedule``."""
        assert self.schedule is not None, "asked for a feed without a schedule"
        return croniter(self.schedule, now).get_prev(datetime)

    def fields_at(self, due: datetime) -> dict[str, str]:
        """The fields of the marker that was due at that time."""
        return {name: (due - self.lag).strftime(text) for name, text in self.partition.items()}


Bound = Annotated[int | float | date | datetime, BeforeValidator(_bound)]
Scalar = Annotated[str | int | float | bool | date | datetime, BeforeValidator(_scalar)]


class Constraints(_Model):
    """Table Schema constraints of one column; ``pattern`` must match the whole value."""

    required: bool = False
    minimum: Bound | None = None
    maximum: Bound | None = None
    enum: list[Scalar] | None = Field(default=None, min_length=1)
    pattern: str | None = None
    min_length: int | None = Field(default=None, alias="minLength", ge=0)
    max_length: int | None = Field(default=None, alias="maxLength", ge=0)

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(
                    f"expected a regular expression, got {value!r}: {error}"
                ) from error
        return value


FieldType = Literal["string", "integer", "number", "boolean", "date", "datetime"]

_VALUES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "date": (date,),
    "datetime": (date,),
}
_APPLIES_TO = {
    "minimum": ("integer", "number", "date", "datetime"),
    "maximum": ("integer", "number", "date", "datetime"),
    "pattern": ("string",),
    "minLength": ("string",),
    "maxLength": ("string",),
}


def _is_of(value: object, column_type: str) -> bool:
    """Whether a constraint's value can be compared with values of a column of that type."""
    if isinstance(value, bool):
        return column_type == "boolean"
    if isinstance(value, datetime):
        return column_type == "datetime"
    return isinstance(value, _VALUES[column_type])


class Column(_Model):
    """One column (a Table Schema field).

    Attributes:
        format: For ``date`` and ``datetime`` a strptime pattern; ``default`` is ISO 8601.
    """

    name: str
    type: FieldType
    format: str = "default"
    title: str = ""
    description: str = ""
    constraints: Constraints = Constraints()

    @model_validator(mode="after")
    def _constraints_fit(self) -> Self:
        given = self.constraints.model_dump(by_alias=True, exclude_none=True)
        for name, types in _APPLIES_TO.items():
            if name in given and self.type not in types:
                why = f"expected no {name}: it does not apply to a column of type {self.type}"
                raise Misfit(("constraints", name), why)
        for name in ("minimum", "maximum"):
            self._must_be_of_type(("constraints", name), given.get(name))
        for index, value in enumerate(given.get("enum", [])):
            self._must_be_of_type(("constraints", "enum", index), value)
        return self

    def _must_be_of_type(self, location: tuple[int | str, ...], value: object) -> None:
        if value is not None and not _is_of(value, self.type):
            raise Misfit(location, f"expected a value of type {self.type}, got {value!r}")


class Table(_Model):
    """The columns (a Table Schema).

    Attributes:
        fields: Columns that are read; others in the data are left out.
        primary_key: Columns that together name a row; no two rows of a batch share them.
        missing_values: Texts that mean "no value".
    """

    fields: tuple[Column, ...]
    primary_key: tuple[str, ...] = Field(default=(), alias="primaryKey")
    missing_values: tuple[str, ...] = Field(default=("",), alias="missingValues")

    @model_validator(mode="after")
    def _known_columns(self) -> Self:
        names = [column.name for column in self.fields]
        if not names:
            raise Misfit(("fields",), "expected at least one column")
        _each_once("fields", names)
        for index, name in enumerate(self.primary_key):
            if name not in names:
                raise Misfit(("primaryKey", index), f"expected a column of fields, got {name!r}")
        return self


def _each_once(key: str, names: list[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise Misfit((key, index, "name"), f"expected every name once, got {name!r} twice")


class Feature(_Model):
    """One input of the model.

    Attributes:
        expr: SQL expression over the columns; ``None`` means the column of the same name.
        encode: ``number``: cast to float32, missing values take the fill value that was fitted at
            training. ``category``: the code that was fitted at training, -1 for unknown values.
    """

    name: str
    expr: str | None = None
    encode: Literal["number", "category"] = "number"


class Server(_Model):
    """A server that has the model and speaks the Open Inference Protocol (KServe V2) over HTTP.

    Attributes:
        url: Where it answers, without ``/v2``.
        name: Of the model there; empty for the name of the model's folder.
        version: Of the model there; empty leaves the choice to the server.
        conn_id: Airflow connection whose password is a token for it; empty for none. Outside
            Airflow the token is in the environment (see ``flagfall.scoring.server_tokens``).
        rows: Most rows in one request.
        timeout: What has not been answered after this counts as failed.
        retry_for: No request is repeated later than this after its first try.
    """

    url: str
    name: str = ""
    version: str = ""
    conn_id: str = ""
    rows: int = Field(default=10_000, gt=0, le=1_000_000)
    timeout: Interval = timedelta(seconds=30)
    retry_for: Wait = timedelta(minutes=1)

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError(f"expected a URL such as http://scoring:8000, got {value!r}")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("expected a URL without user and query; for a token give conn_id")
        return value.rstrip("/").removesuffix("/v2")


_QUANTITY = re.compile(r"\d+(\.\d+)?([munkMGTPE]|[KMGTPE]i)?")


def _amount(value: object) -> object:
    if isinstance(value, bool) or not _QUANTITY.fullmatch(str(value)):
        raise ValueError(f"expected an amount such as 2, 500m or 2Gi, got {value!r}")
    return str(value)


Amount = Annotated[str, BeforeValidator(_amount)]


class Pod(_Model):
    """The Kubernetes pod that runs the model, one for every shard.

    Attributes:
        image: Image with Flagfall, this dataset file and the model's folder.
        namespace: Where it runs; empty for Airflow's own.
        service_account: As whom; empty for the namespace's default.
        cpu: CPUs that are kept for it, as Kubernetes writes them; it may use idle ones, too.
        memory: Bytes that are kept for it, and the most that it can have.
        template: A pod in YAML that the request is put on top of, with a volume at ``/tmp`` and
            whatever else is wanted; empty for none. Relative ones start at the project's root.
        conn_id: Airflow connection to the cluster.
        starts_within: What has not started after this counts as failed.
    """

    image: str = Field(min_length=1)
    namespace: str = ""
    service_account: str = ""
    cpu: Amount = "500m"
    memory: Amount = "1Gi"
    template: str = ""
    conn_id: str = "kubernetes_default"
    starts_within: Interval = timedelta(minutes=10)


class Scorer(_Model):
    """The model that scores the features.

    Attributes:
        path: Folder with ``model.onnx``, ``constants.json`` and ``reference.json``; relative
            ones start at the project's root. Where a server has the model, ``model.onnx`` may be
            left out.
        engine: What runs the model: ``onnx`` in the task's process, ``pod`` in a container of its
            own, ``open-inference`` on a server.
        threshold: Rows whose score is at least this are given class 1.
        server: Only with ``open-inference``.
        pod: Only with ``pod``.
    """

    path: str
    engine: Literal["onnx", "pod", "open-inference"] = "onnx"
    threshold: Share = 0.5
    server: Server | None = None
    pod: Pod | None = None

    @model_validator(mode="after")
    def _has_what_its_engine_needs(self) -> Self:
        for key, engine in (("server", "open-inference"), ("pod", "pod")):
            given = getattr(self, key) is not None
            if given and self.engine != engine:
                raise Misfit((key,), f"expected none: it is for engine: {engine}")
            if not given and self.engine == engine:
                raise Misfit(("engine",), f"expected a section model.{key} beside {engine!r}")
        return self

    @property
    def server_model(self) -> str:
        """Name of the model at the server."""
        assert self.server is not None, "asked for a model that no server runs"
        return self.server.name or PurePosixPath(self.path).name


class Label(_Model):
    """What really happened; rows where ``expr`` is null are scored but not evaluated."""

    expr: str
    title: str = ""


class Thresholds(_Model):
    """Where a day stops being normal; ``None`` means no threshold.

    Attributes:
        rejected_share: A batch with a larger share of bad rows is rejected whole.
        auc_min: Alert when the area under the ROC curve is below.
        brier_max: Alert when the Brier score is above.
        psi_max: Alert when the population stability index of a feature or the score is above.
        calibration_max: Alert when the mean score and the share of positives differ by more.
    """

    rejected_share: Share = 0.05
    auc_min: Share | None = None
    brier_max: Share | None = None
    psi_max: float | None = None
    calibration_max: Share | None = None


class Notice(_Model):
    """Where to tell of a task that failed.

    Attributes:
        notifier: Path of an Airflow notifier's class, such as
            ``airflow.providers.smtp.notifications.smtp.SmtpNotifier``.
        arguments: Its arguments; ``{{ notice }}`` stands for the sentence.
    """

    notifier: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class TaskResources(_Model):
    """What one task asks of the cluster. Both are needed: one pod's request replaces the other's.

    Attributes:
        cpu: CPUs that are kept for the task, as Kubernetes writes them; it may use idle ones, too.
        memory: Bytes with a unit; kept for the task, and no more than that can be had.
    """

    cpu: Annotated[str, BeforeValidator(_cpu)]
    memory: Annotated[str, BeforeValidator(_memory)]


class Resources(_Model):
    """Tasks that need another pod than the cluster's usual one; ``None`` for the usual one."""

    claim: TaskResources | None = None
    ingest_data: TaskResources | None = None
    preprocess_data: TaskResources | None = None
    run_inference: TaskResources | None = None
    evaluate_results: TaskResources | None = None
    generate_report: TaskResources | None = None


class TaskSettings(_Model):
    """How one task is run; ``None`` for the default of ``dags/ml_pipeline.py``.

    Attributes:
        retries: How often it is tried again; 0 for never.
        timeout: When Airflow ends it.
    """

    retries: Annotated[int, Field(ge=0, le=100)] | None = None
    timeout: Interval | None = None


class Tasks(_Model):
    """Tasks that are run in another way than by default."""

    claim: TaskSettings = TaskSettings()
    ingest_data: TaskSettings = TaskSettings()
    preprocess_data: TaskSettings = TaskSettings()
    run_inference: TaskSettings = TaskSettings()
    evaluate_results: TaskSettings = TaskSettings()
    generate_report: TaskSettings = TaskSettings()


_TASKS_OF_A_MODEL = ("preprocess_data", "run_inference", "evaluate_results")

PREDICTED = frozenset({"score", "class", "model_version"})
"""Columns that predictions add to the primary key's."""


class Dataset(_Model):
    """One feed, whole."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    title: str
    description: str = ""
    owner: str = "data-team"
    landing: Landing
    lake: Lake
    watch: Watch = Watch()
    arrival: Arrival = Arrival()
    table: Table = Field(validation_alias=AliasChoices("schema", "table"))
    features: tuple[Feature, ...] = ()
    model: Scorer | None = None
    label: Label | None = None
    thresholds: Thresholds = Thresholds()
    limits: Limits = Limits()
    resources: Resources = Resources()
    tasks: Tasks = Tasks()
    notify: tuple[Notice, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.model is not None and not self.features:
            raise Misfit(("model",), "expected features for the model, got none")
        if taken := set(self.table.primary_key) & PREDICTED if self.model else set():
            raise ValueError(f"expected other names than {sorted(taken)}, which predictions use")
        if self.label is not None and self.model is None:
            raise Misfit(("label",), "expected a model for the label to judge, got none")
        self._tasks_are_there()
        self._features_fit()
        self._partition_fits()
        if _is_below(f"{self.lake.uri}/{self.name}", self.landing.uri):
            why = f"expected a place outside the landing zone, got {self.lake.uri!r}"
            raise Misfit(("lake", "uri"), why)
        return self

    @cached_property
    def since(self) -> str:
        """What the keys of a time begin with, a strftime pattern such as ``date=%Y-%m-%d``.

        Empty where ``arrival.partition`` does not tell, or keys do not sort by time.
        """
        pattern = MarkerPattern(self.landing.marker).beginning(self.arrival.partition)
        keys = [moment.strftime(pattern) for moment in _SAMPLES]
        return pattern if keys == sorted(keys) and len(set(keys)) > 1 else ""

    def _tasks_are_there(self) -> None:
        for task in _TASKS_OF_A_MODEL:
            for key in ("resources", "tasks"):
                if self.model is None and task in getattr(self, key).model_fields_set:
                    raise Misfit((key, task), "expected a model for this task, got none")

    def _features_fit(self) -> None:
        _each_once("features", [feature.name for feature in self.features])
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
        if jinja := [text for text in given.values() if "{{" in text]:
            raise Misfit(key, f"expected strftime patterns such as '%Y-%m-%d', got {jinja[0]!r}")
        try:
            pattern.fill(self.arrival.fields_at(_SAMPLE))
        except (MarkerPatternInvalid, OverflowError) as error:
            raise Misfit(key, f"expected the path of one marker: {error}") from error


def _is_below(uri: str, folder: str) -> bool:
    inner, outer = (PurePosixPath(os.path.normpath(one)) for one in (uri, folder))
    return inner.is_relative_to(outer)
