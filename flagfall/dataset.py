"""A dataset: one feed of batches, described by one file ``datasets/<name>.yaml``.

The file uses standard words where there are any: Frictionless Table Schema for the columns
(https://datapackage.org/standard/table-schema/), cron for schedules, ISO 8601 or ``30s``, ``15m``,
``2h``, ``1d`` for durations, SQL expressions (polars' dialect) for features and the label.
This module is read while Airflow parses DAGs: it imports nothing heavy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from croniter import CroniterError, croniter
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from yaml.constructor import ConstructorError

from flagfall.errors import DatasetInvalid, MarkerPatternInvalid, NotThere, Problem
from flagfall.marker import MarkerPattern

_SHORT_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_CPU = re.compile(r"\d+(\.\d{1,3})?|\d+m")
_MEMORY = re.compile(r"\d+(\.\d+)?[MGT]i?")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


_SAMPLE = datetime(2026, 11, 22, 6, tzinfo=UTC)
"""Any time, to try patterns of times on."""
_SAMPLES = [
    _SAMPLE + timedelta(hours=hours) for hours in (0, 1, 4, 18, 24, 72, 240, 700, 2_000, 9_000)
]
"""Times in their order, over the ends of days, months and years."""


class _Misfit(ValueError):
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
                raise _Misfit((name,), f"expected none: it is for s3://, not for {self.uri!r}")
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
        request_price: Dollars for 1,000 requests, for ``flagfall status``.
    """

    sweep_every: Interval = timedelta(seconds=30)
    redeliver_after: Interval = timedelta(minutes=15)
    gather: Wait = timedelta(0)
    full_sweep_every: Interval = timedelta(hours=1)
    request_price: Annotated[float, Field(ge=0)] = 0.005


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
                raise _Misfit(("constraints", name), why)
        for name in ("minimum", "maximum"):
            self._must_be_of_type(("constraints", name), given.get(name))
        for index, value in enumerate(given.get("enum", [])):
            self._must_be_of_type(("constraints", "enum", index), value)
        return self

    def _must_be_of_type(self, location: tuple[int | str, ...], value: object) -> None:
        if value is not None and not _is_of(value, self.type):
            raise _Misfit(location, f"expected a value of type {self.type}, got {value!r}")


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
            raise _Misfit(("fields",), "expected at least one column")
        _each_once("fields", names)
        for index, name in enumerate(self.primary_key):
            if name not in names:
                raise _Misfit(("primaryKey", index), f"expected a column of fields, got {name!r}")
        return self


def _each_once(key: str, names: list[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise _Misfit((key, index, "name"), f"expected every name once, got {name!r} twice")


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
            Airflow the token is in the environment (see ``flagfall.tokens``).
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
                raise _Misfit((key,), f"expected none: it is for engine: {engine}")
            if not given and self.engine == engine:
                raise _Misfit(("engine",), f"expected a section model.{key} beside {engine!r}")
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


class Limits(_Model):
    """Bounds on what a producer may cause, and on what one run takes on.

    Attributes:
        marker_bytes: Largest marker that is read; the names of a batch's files take no more either.
        files: Most data files that one marker may vouch for.
        batch_bytes: Most bytes of a batch, as its files lie there and as they unpack: what it may
            take of the disk.
        row_bytes: Longest row of a text file, and longest text in Parquet, in bytes.
        columns: Most columns of a text file.
        expand_bytes: Bytes to which any data file may unpack, however small it is.
        expand_ratio: A larger one may unpack to this many times its size.
        parquet_memory: Bytes of memory that reading a Parquet file may take (on Linux).
        rejected_bytes: Rejected rows are kept up to this many bytes, and only counted beyond.
        reasons: Most different reasons that rejected rows are counted by; beyond, they are counted
            together.
        batches_per_run: Most batches that one run claims; the rest waits for the next. With 5,000,
            the list of their markers is about 2 MB of XCom.
        shard_batches: Most batches in a shard.
        shard_bytes: A shard is closed when its batches reach this many bytes.
    """

    marker_bytes: int = Field(default=4 << 20, gt=0, le=16 << 20)
    files: int = Field(default=10_000, gt=0, le=100_000)
    batch_bytes: int = Field(default=64 << 30, gt=0)
    row_bytes: int = Field(default=1 << 20, gt=0, le=1 << 30)
    columns: int = Field(default=10_000, gt=0)
    expand_bytes: int = Field(default=64 << 20, gt=0)
    expand_ratio: int = Field(default=200, gt=0)
    parquet_memory: int = Field(default=1 << 30, gt=0, le=1 << 40)
    rejected_bytes: int = Field(default=64 << 20, gt=0)
    reasons: int = Field(default=1_000, gt=0, le=10_000)
    batches_per_run: int = Field(default=5_000, gt=0)
    shard_batches: int = Field(default=500, gt=0)
    shard_bytes: int = Field(default=1 << 30, gt=0)


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
    notify: tuple[Notice, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.model is not None and not self.features:
            raise _Misfit(("model",), "expected features for the model, got none")
        if taken := set(self.table.primary_key) & PREDICTED if self.model else set():
            raise ValueError(f"expected other names than {sorted(taken)}, which predictions use")
        if self.label is not None and self.model is None:
            raise _Misfit(("label",), "expected a model for the label to judge, got none")
        self._tasks_are_there()
        self._features_fit()
        self._partition_fits()
        if _is_below(f"{self.lake.uri}/{self.name}", self.landing.uri):
            why = f"expected a place outside the landing zone, got {self.lake.uri!r}"
            raise _Misfit(("lake", "uri"), why)
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
            if self.model is None and getattr(self.resources, task) is not None:
                raise _Misfit(("resources", task), "expected a model for this task, got none")

    def _features_fit(self) -> None:
        _each_once("features", [feature.name for feature in self.features])
        columns = {column.name for column in self.table.fields}
        for index, feature in enumerate(self.features):
            if feature.expr is None and feature.name not in columns:
                why = f"expected an expr, or the name of a column, got {feature.name!r}"
                raise _Misfit(("features", index, "name"), why)

    def _partition_fits(self) -> None:
        """Whether a time gives one marker."""
        if self.arrival.schedule is None and not self.arrival.partition:
            return
        key = ("arrival", "partition")
        pattern, given = MarkerPattern(self.landing.marker), self.arrival.partition
        if set(given) != set(pattern.fields):
            wanted = f"{sorted(pattern.fields)}, the fields of landing.marker"
            raise _Misfit(key, f"expected values for {wanted}, got {sorted(given)}")
        if jinja := [text for text in given.values() if "{{" in text]:
            raise _Misfit(key, f"expected strftime patterns such as '%Y-%m-%d', got {jinja[0]!r}")
        try:
            pattern.fill(self.arrival.fields_at(_SAMPLE))
        except (MarkerPatternInvalid, OverflowError) as error:
            raise _Misfit(key, f"expected the path of one marker: {error}") from error


def _is_below(uri: str, folder: str) -> bool:
    inner, outer = (PurePosixPath(os.path.normpath(one)) for one in (uri, folder))
    return inner.is_relative_to(outer)


def _expand(text: str) -> str:
    """``text`` with its variables; as in a shell an empty one counts as missing for ``:-``."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1]) or match[2]
        if found is None:
            raise ValueError(f"expected the environment to have {match[1]}")
        return found

    if "${" in _VARIABLE.sub("", text):
        raise ValueError(f"expected ${{NAME}} or ${{NAME:-default}}, got {text!r}")
    return _VARIABLE.sub(value, text)


def _absolute(uri: str, root: Path) -> str:
    expanded = _expand(uri)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", expanded) or not expanded:
        return expanded  # not a path: the store understands it, or refuses it
    return str((root / expanded).absolute())


_PATHS = (("landing", "uri"), ("lake", "uri"), ("model", "path"), ("model", "pod", "template"))
_NAMES = (
    ("landing", "conn_id"),
    ("landing", "sqs_queue"),
    ("lake", "conn_id"),
    *(("model", "server", key) for key in ("url", "name", "version", "conn_id")),
    *(("model", "pod", key) for key in ("image", "namespace", "service_account", "conn_id")),
)
"""Keys in whose values the environment is looked up."""


def _sections(raw: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every key of those that is there with a text, and the mapping that it is in."""
    for keys in (*_PATHS, *_NAMES):
        section: Any = raw
        for key in keys[:-1]:
            section = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(section.get(keys[-1]), str):
            yield keys, section


def _resolve(raw: dict[str, Any], root: Path) -> None:
    """Fill in what the environment has, and make paths absolute."""
    for keys, section in _sections(raw):
        text = section[keys[-1]]
        try:
            section[keys[-1]] = _absolute(text, root) if keys in _PATHS else _expand(text)
        except ValueError as error:
            raise _Misfit(keys, str(error)) from error


class _Loader(yaml.SafeLoader):
    """As PyYAML's; a value that is none, such as 30 February, is an error with a line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, LookupError) as error:
            raise ConstructorError(None, None, str(error), node.start_mark) from error


class _Lines:
    """The line of every key of a YAML document, counted from 1; and keys that stand twice."""

    def __init__(self, document: yaml.Node | None) -> None:
        self._found: dict[str, int] = {}
        self._seen: set[int] = set()
        self.repeated: list[Problem] = []
        self._visit(document, "")

    def of(self, location: Sequence[int | str]) -> int | None:
        """The line of a key, or of what it should be in; ``None`` for a missing one at the top."""
        ways = (_key(location[:end]) for end in range(len(location), 0, -1))
        return next((self._found[key] for key in ways if key in self._found), None)

    def _visit(self, node: yaml.Node | None, prefix: str) -> None:
        if id(node) in self._seen:  # an alias may lead back to where it stands
            return
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self._enter(key, value, f"{prefix}.{key.value}" if prefix else str(key.value))
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._enter(value, value, f"{prefix}[{index}]")

    def _enter(self, place: yaml.Node, value: yaml.Node, path: str) -> None:
        line = place.start_mark.line + 1
        if path in self._found:
            why = f"expected every key once, it stands on line {self._found[path]} too"
            self.repeated.append(Problem(path, line, why))
        self._found[path] = line
        self._visit(value, path)


def _key(location: Sequence[int | str]) -> str:
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    return key


_EXPECTED = {
    "missing": "expected this key, it is missing",
    "extra_forbidden": "this key is not known here; check its spelling and its indentation",
    "invalid_key": "expected text as a key",
    "model_type": "expected a mapping",
    "dict_type": "expected a mapping",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "string_type": "expected text (put it in quotes if it is meant so)",
    "string_too_short": "expected some text",
    "string_pattern_mismatch": "expected lower-case letters, digits and _, a letter first",
}
_FOUND_IS_IN_THE_MESSAGE = {"value_error", "missing", "extra_forbidden"}


def _problem(detail: ErrorDetails, lines: _Lines) -> Problem:
    plain = detail["msg"].removeprefix("Value error, ").replace("Input should be", "expected", 1)
    message = _EXPECTED.get(detail["type"], plain)
    if detail["type"] not in _FOUND_IS_IN_THE_MESSAGE:
        message = f"{message}, got {detail['input']!r}"
    error = detail.get("ctx", {}).get("error")
    below = error.location if isinstance(error, _Misfit) else ()
    location = (*detail["loc"], *below)
    return Problem(_key(location), lines.of(location), message)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as missing:
        raise NotThere("dataset file", str(path)) from missing
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DatasetInvalid(str(path), [Problem("", line, f"expected UTF-8: {error}")]) from error
    except OSError as error:
        problem = Problem("", None, f"expected a file that can be read: {error.strerror}")
        raise DatasetInvalid(str(path), [problem]) from error


def _parsed(path: Path, text: str) -> tuple[dict[str, Any], _Lines]:
    try:
        loader = _Loader(text)
        document = loader.get_single_node()
        lines = _Lines(document)
        raw = loader.construct_document(document) if document else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        problem = Problem("", line, f"expected YAML: {error.problem}")
        raise DatasetInvalid(str(path), [problem]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = Problem("", line, f"expected YAML: {error.reason}")
        raise DatasetInvalid(str(path), [problem]) from error
    except RecursionError as error:
        raise DatasetInvalid(str(path), [Problem("", None, "nested too deeply")]) from error
    if lines.repeated:
        raise DatasetInvalid(str(path), lines.repeated)
    if not isinstance(raw, dict):
        found = "an empty file" if raw is None else repr(raw)[:100]
        problem = Problem("", 1, f"expected a mapping at the top, got {found}")
        raise DatasetInvalid(str(path), [problem])
    return raw, lines


def read_dataset(path: Path | str) -> Dataset:
    """Read one dataset file.

    Args:
        path: The YAML file; its name without ``.yaml`` is the dataset's name.

    Raises:
        DatasetInvalid: Naming the file, the line, the key and what was expected.
        NotThere: There is no such file.
    """
    path = Path(path)
    raw, lines = _parsed(path, _text(path))
    try:
        if raw.setdefault("name", path.stem) != path.stem:
            raise _Misfit(("name",), f"expected {path.stem!r}, the file's name, or nothing")
        _resolve(raw, path.absolute().parent.parent)
        return Dataset.model_validate(raw)
    except ValidationError as error:
        problems = [_problem(detail, lines) for detail in error.errors()]
        raise DatasetInvalid(str(path), problems) from error
    except _Misfit as misfit:
        problem = Problem(_key(misfit.location), lines.of(misfit.location), str(misfit))
        raise DatasetInvalid(str(path), [problem]) from misfit


def variables(path: Path | str) -> dict[str, str]:
    """What a dataset file takes from the environment: whoever reads it elsewhere needs it, too.

    Raises:
        DatasetInvalid: It is no YAML.
        NotThere: There is no such file.
    """
    path = Path(path)
    raw, _ = _parsed(path, _text(path))
    texts = [section[keys[-1]] for keys, section in _sections(raw)]
    names = {match[1] for text in texts for match in _VARIABLE.finditer(text)}
    return {name: os.environ[name] for name in sorted(names) if os.environ.get(name)}


def datasets_folder() -> Path:
    """The folder of dataset files: ``$FLAGFALL_DATASETS``, else ``datasets/`` of this project."""
    return Path(
        os.environ.get("FLAGFALL_DATASETS") or Path(__file__).resolve().parent.parent / "datasets"
    )


def dataset_files(folder: Path | None = None) -> list[Path]:
    """The dataset files of ``folder`` (default: ``datasets_folder()``), sorted by name.

    Hidden ones, such as an editor's lock, are left out.
    """
    found = (folder or datasets_folder()).glob("*.yaml")
    return sorted(path for path in found if not path.name.startswith("."))


def find_dataset(name: str, folder: Path | None = None) -> Dataset:
    """The dataset of that name.

    Raises:
        NotThere: Naming the datasets that there are.
        DatasetInvalid: Its file cannot be used.
    """
    files = {path.stem: path for path in dataset_files(folder)}
    if name not in files:
        known = ", ".join(files) or "none"
        raise NotThere("dataset", name, f"{folder or datasets_folder()} has: {known}")
    return read_dataset(files[name])


def usable_datasets(folder: Path | None = None) -> tuple[list[Dataset], list[DatasetInvalid]]:
    """Every dataset that can be used, and what is wrong with the others.

    A mistake in one feed's file must not stop the feeds beside it.
    """
    usable: list[Dataset] = []
    broken: list[DatasetInvalid] = []
    for path in dataset_files(folder):
        try:
            usable.append(read_dataset(path))
        except DatasetInvalid as invalid:
            broken.append(invalid)
        except NotThere as gone:
            broken.append(DatasetInvalid(str(path), [Problem("", None, str(gone))]))
    return usable, broken
