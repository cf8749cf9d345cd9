"""What scores a dataset: features, model, where the model runs, and the label."""

from __future__ import annotations

from datetime import timedelta
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from flagfall.dataset.kubernetes import Cpu, Image, Memory, Namespace, ServiceAccount
from flagfall.dataset.values import (
    Interval,
    Misfit,
    Scalar,
    Section,
    Share,
    Wait,
)

Task = Literal["binary", "multiclass", "regression", "anomaly"]
"""What a model says of a row: one of two classes, one of several, a value, how unusual it is."""


def class_name(value: object) -> object:
    """A class as text: ``1`` of 1, ``true`` of true."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


ClassName = Annotated[str, BeforeValidator(class_name), Field(min_length=1)]


class Feature(Section):
    """One input of the model.

    Attributes:
        expr: SQL expression over the columns; ``None`` means the column of the same name.
        encode: ``number``: cast to float32. ``category``: the code that was fitted at training, -1
            for unknown and missing values. ``raw``: the value as it is, of its own type, for models
            that do their own encoding.
        missing: What a missing value of a number becomes: ``median`` (that of training, the
            default), ``keep`` (NaN), or a number. Of a raw one: ``keep`` (the default), or a value.
    """

    name: str
    expr: str | None = None
    encode: Literal["number", "category", "raw"] = "number"
    missing: Scalar | None = None

    @model_validator(mode="after")
    def _missing_fits(self) -> Self:
        if self.missing is not None and not self._takes(self.missing):
            raise Misfit(("missing",), f"expected {_MISSING[self.encode]}, got {self.missing!r}")
        return self

    def _takes(self, missing: Any) -> bool:
        if self.encode == "raw":
            return bool(missing != "median")
        is_number = isinstance(missing, int | float) and not isinstance(missing, bool)
        return self.encode == "number" and bool(is_number or missing in ("median", "keep"))

    @property
    def is_fitted(self) -> bool:
        """Whether it needs a constant that training fitted."""
        return self.encode == "category" or (
            self.encode == "number" and self.missing in (None, "median")
        )


_MISSING = {
    "number": "median, keep or a number",
    "category": "nothing: a missing category has a code of its own",
    "raw": "keep or a value (a median needs encode: number)",
}


class Server(Section):
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


class Pod(Section):
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

    image: Image
    namespace: Namespace = ""
    service_account: ServiceAccount = ""
    cpu: Cpu = "500m"
    memory: Memory = "1Gi"
    template: str = ""
    conn_id: str = "kubernetes_default"
    starts_within: Interval = timedelta(minutes=10)


class Scorer(Section):
    """The model that scores the features.

    Attributes:
        path: Folder with ``model.onnx`` or ``model.py``, and what ``flagfall model init`` adds;
            relative ones start at the project's root. Where a server has the model, there is none.
        engine: What runs the model: ``onnx`` or ``python`` in the task's process, ``pod`` in a
            container of its own, ``open-inference`` on a server.
        task: What it says of a row; ``None``: the model itself tells, or its ``card.json`` does.
        classes: Its classes in the order of its probabilities, where it does not name them.
        positive_class: Of two classes the one that the score is the probability of; empty for the
            second.
        output: Of several outputs the one with the scores; empty where there is no choice.
        logits: Whether its outputs are logits, to be made probabilities.
        threshold: From this score on a row is given the positive class, or is flagged; ``None``
            for 0.5, and for an anomaly model's own decision.
        interpreter: Python of another virtual environment that runs ``model.py``; empty for the
            task's own. Relative ones start at the project's root.
        challenger: Folder of another model that scores the same rows beside this one; empty: none.
        server: Only with ``open-inference``.
        pod: Only with ``pod``.
    """

    path: str
    engine: Literal["onnx", "python", "pod", "open-inference"] = "onnx"
    task: Task | None = None
    classes: tuple[ClassName, ...] = ()
    positive_class: Annotated[str, BeforeValidator(class_name)] = ""
    output: str = ""
    logits: bool = False
    threshold: float | None = None
    interpreter: str = ""
    challenger: str = ""
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
        if self.interpreter and self.engine not in ("python", "pod"):
            raise Misfit(("interpreter",), "expected none: it is for engine: python")
        return self

    @model_validator(mode="after")
    def _fits_its_task(self) -> Self:
        for key, tasks in _OF_TASKS.items():
            if getattr(self, key) and self.task not in (None, *tasks):
                raise Misfit((key,), f"expected none: it is for task: {' or '.join(tasks)}")
        is_share = self.threshold is None or 0 <= self.threshold <= 1
        if not is_share and self.task != "anomaly":
            raise Misfit(("threshold",), f"expected a number from 0 to 1, got {self.threshold:g}")
        if len(set(self.classes)) < len(self.classes) or len(self.classes) == 1:
            raise Misfit(("classes",), f"expected each class once, two or more, {self.classes}")
        if self.classes and self.positive_class and self.positive_class not in self.classes:
            why = f"expected one of {list(self.classes)}, got {self.positive_class!r}"
            raise Misfit(("positive_class",), why)
        return self

    @property
    def cut(self) -> float:
        """From this score on a row is given the positive class."""
        return 0.5 if self.threshold is None else self.threshold

    @property
    def server_model(self) -> str:
        """Name of the model at the server."""
        assert self.server is not None, "asked for a model that no server runs"
        return self.server.name or PurePosixPath(self.path).name


_OF_TASKS: dict[str, tuple[Task, ...]] = {
    "classes": ("binary", "multiclass"),
    "positive_class": ("binary",),
    "logits": ("binary", "multiclass"),
    "threshold": ("binary", "anomaly"),
}
"""Settings that only models of some tasks have."""


class OwnCode(Section):
    """A file with a function of the team's own.

    Attributes:
        python: The file; relative ones start at the project's root.
    """

    python: str = Field(min_length=1)


class Label(Section):
    """What really happened; rows where ``expr`` is null are scored but not evaluated.

    Attributes:
        expr: SQL expression over the batch's own columns, or over those of ``feed``.
        title: The outcome in words.
        feed: Dataset that brings the outcomes, written ``from``; empty where the batch has them.
        key: Columns that both have and that name a row; empty for the primary key. So it is without
            ``feed``.
        within: Outcomes count until so long after a batch landed, and for as long before.
        enough: Share of a batch's rows whose outcome is known, from which on thresholds alert.
    """

    expr: str
    title: str = ""
    feed: str = Field(default="", alias="from")
    key: tuple[str, ...] = ()
    within: Interval = timedelta(days=30)
    enough: Share = 0.5

    @model_validator(mode="after")
    def _waits_for_a_feed(self) -> Self:
        for name in ("key", "within", "enough"):
            if not self.feed and name in self.model_fields_set:
                raise Misfit((name,), "expected none: it is for outcomes of another feed (from)")
        return self
