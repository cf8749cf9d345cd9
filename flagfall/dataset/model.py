"""What scores a dataset: features, model, where the model runs, and the label."""

from __future__ import annotations

from datetime import timedelta
from pathlib import PurePosixPath
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from flagfall.dataset.values import (
    Amount,
    Interval,
    Misfit,
    Section,
    Share,
    Wait,
)


class Feature(Section):
    """One input of the model.

    Attributes:
        expr: SQL expression over the columns; ``None`` means the column of the same name.
        encode: ``number``: cast to float32, missing values take the fill value that was fitted at
            training. ``category``: the code that was fitted at training, -1 for unknown values.
    """

    name: str
    expr: str | None = None
    encode: Literal["number", "category"] = "number"


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

    image: str = Field(min_length=1)
    namespace: str = ""
    service_account: str = ""
    cpu: Amount = "500m"
    memory: Amount = "1Gi"
    template: str = ""
    conn_id: str = "kubernetes_default"
    starts_within: Interval = timedelta(minutes=10)


class Scorer(Section):
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


class Label(Section):
    """What really happened; rows where ``expr`` is null are scored but not evaluated."""

    expr: str
    title: str = ""
