"""Models on a server: MLServer and Triton as they are, and what is made of one that is unwell."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flagfall.cli.dataset_check import check_dataset
from flagfall.dataset.loader import datasets_folder, find_dataset, read_dataset
from flagfall.dataset.model import Server
from flagfall.dataset.schema import Dataset
from flagfall.errors import DatasetInvalid, NotThere, ServerRefused, ServerUnavailable
from flagfall.lake.output import Lake
from flagfall.scoring import server_tokens as tokens
from flagfall.scoring.engines import Engine
from flagfall.scoring.engines.inference_server import _gave_up
from flagfall.scoring.engines.open_inference import OpenInferenceEngine
from flagfall.scoring.features import Constants, feature_expressions
from flagfall.scoring.model import open_model, scorer_of
from flagfall.stages.infer import infer
from flagfall.stages.preprocess import preprocess
from sandbox.airflow import free_port
from sandbox.flights import all_flights
from tests.canned_inference import Canned, Reply, canned_inference
from tests.servers import SERVERS
from tests.stages.test_infer import BATCH, stage, written

ROWS = pl.DataFrame({"value": [0.25, 0.5, 0.75]}, schema={"value": pl.Float32})


@pytest.fixture(scope="module", params=SERVERS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A real server with the shipped model: its name and its URL."""
    model = Path(scorer_of(find_dataset("flights")).path)
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param), model) as url:
        yield request.param, url


def flights_at(folder: Path, url: str, more: str = "") -> Dataset:
    """The shipped dataset, with its model on a server."""
    text = (datasets_folder() / "flights.yaml").read_text()
    model = scorer_of(find_dataset("flights")).path
    there = f"  path: {model}\n  engine: open-inference\n  server: {{url: '{url}'{more}}}\n"
    (folder / "flights.yaml").write_text(text.replace("  path: models/flights_delay\n", there))
    return read_dataset(folder / "flights.yaml")


def some_days() -> pl.DataFrame:
    week = pl.col("date").is_between(date(2013, 12, 8), date(2013, 12, 14))
    return all_flights().filter(week).drop_nulls("tailnum")


def features_of(dataset: Dataset, rows: pl.DataFrame) -> pl.DataFrame:
    constants = Constants.read(scorer_of(dataset).path)
    return rows.select(feature_expressions(dataset, constants))


@pytest.mark.slow
class TestRealServers:
    def test_every_row_is_scored_as_the_embedded_engine_scores_it(
        self, served: tuple[str, str], tmp_path: Path
    ) -> None:
        """Through the stage, in requests of 1,000 rows and one of what is left."""
        lakes = [Lake(str(tmp_path / where), "flights") for where in ("here", "there")]
        datasets = [find_dataset("flights"), flights_at(tmp_path, served[1], ", rows: 1000")]
        found = []
        for dataset, lake in zip(datasets, lakes, strict=True):
            stage(lake, [some_days()])
            preprocess(dataset, lake, BATCH)
            found.append(written(lake, infer(dataset, lake, BATCH)))
        assert some_days().height % 1000
        assert found[1][0].height == some_days().height > 5000
        assert found[1][0].equals(found[0][0])

    def test_tensors_are_sent_as_bytes_where_the_server_announces_that(
        self, served: tuple[str, str], tmp_path: Path
    ) -> None:
        engine: Engine = open_model(flights_at(tmp_path, served[1])).engine
        assert isinstance(engine, OpenInferenceEngine)
        assert engine.binary == (served[0] == "triton")

    def test_check_asks_the_server(self, served: tuple[str, str], tmp_path: Path) -> None:
        assert "model 1.0.0" in check_dataset(flights_at(tmp_path, served[1]))

    def test_a_model_that_it_does_not_have_is_said_before_any_row_is_sent(
        self, served: tuple[str, str], tmp_path: Path
    ) -> None:
        with pytest.raises(ServerRefused) as refused:
            open_model(flights_at(tmp_path, served[1], ", name: nope"))
        said = str(refused.value)
        assert said.startswith(
            f"dataset flights: inference server {served[1]}: GET /v2/models/nope"
        )
        assert "correct model.server.url, name or version" in said

    def test_a_version_that_it_does_not_have_is_said(
        self, served: tuple[str, str], tmp_path: Path
    ) -> None:
        with pytest.raises(ServerRefused, match=r"versions/7: 404"):
            open_model(flights_at(tmp_path, served[1], ", version: '7'"))

    def test_a_model_of_another_width_is_said(self, served: tuple[str, str]) -> None:
        with pytest.raises(ServerRefused, match=r"takes 14 inputs, the dataset has 2 .*; serve"):
            OpenInferenceEngine("toy", "flights_delay", Server(url=served[1])).check(["a", "b"])

    def test_no_rows_are_no_request(self, served: tuple[str, str], tmp_path: Path) -> None:
        dataset, lake = flights_at(tmp_path, served[1]), Lake(str(tmp_path / "lake"), "flights")
        stage(lake, [some_days().head(0)])
        preprocess(dataset, lake, BATCH)
        assert infer(dataset, lake, BATCH).rows == 0


@pytest.mark.slow
@pytest.mark.parametrize("served", ["triton"], indirect=True)
def test_a_request_with_more_rows_than_triton_takes_is_an_error_with_its_words(
    served: tuple[str, str], tmp_path: Path
) -> None:
    dataset = flights_at(tmp_path, served[1], ", rows: 30000")
    rows = features_of(dataset, some_days())
    with pytest.raises(ServerRefused, match=r"400 .*batch-size must be <= 20000"):
        open_model(dataset).predict(pl.concat([rows] * 5)[:25_000])


@pytest.fixture
def canned() -> Iterator[Canned]:
    with canned_inference() as server:
        yield server


@pytest.fixture(autouse=True)
def _forgiven() -> None:
    _gave_up.clear()


def toy(canned: Canned, **settings: Any) -> OpenInferenceEngine:
    server = Server(url=canned.url, **{"timeout": "2s", "retry_for": "5s", **settings})
    return OpenInferenceEngine("toy", "toy", server)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_heal_is_asked_again(canned: Canned, status: int) -> None:
    canned.replies = [Reply(status)]
    assert toy(canned).predict(ROWS).scores.tolist() == [[0.25], [0.5], [0.75]]
    assert len(canned.bodies) == 2


def test_a_server_is_not_asked_sooner_than_it_wants(canned: Canned) -> None:
    """An hour is longer than the patience, so it is given up at once, and that is said."""
    canned.replies = [Reply(503, b'{"error": "loading"}', {"Retry-After": "3600"})]
    with pytest.raises(ServerUnavailable, match=r"503 Service Unavailable: loading") as gone:
        toy(canned).predict(ROWS)
    assert gone.value.wait == 3600
    assert len(canned.bodies) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_what_cannot_heal_is_not_asked_again(canned: Canned, status: int) -> None:
    canned.replies = [Reply(status, b'{"error": "no \\u001b[31m"}')]
    with pytest.raises(ServerRefused, match=rf"/infer: {status} .*: no \\x1b\[31m; ") as refused:
        toy(canned).predict(ROWS)
    assert "model.server" in str(refused.value)
    assert len(canned.bodies) == 1


def test_a_server_that_fails_is_left_to_the_next_try_of_the_task(canned: Canned) -> None:
    canned.replies = [Reply(500, b"out of memory")]
    with pytest.raises(ServerUnavailable, match=r"500 .*: out of memory; see its log"):
        toy(canned).predict(ROWS)
    assert len(canned.bodies) == 1


def test_silence_and_trickling_are_cut_off(canned: Canned) -> None:
    canned.replies = [Reply(body=b"x" * 100, delay=0.05)]
    with pytest.raises(ServerUnavailable, match=r"ReadTimeout not all of the answer .* 0\.5 s"):
        toy(canned, timeout="500ms", retry_for="0s").predict(ROWS)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ServerUnavailable, match=r"GET /v2: ReadTimeout .*is it up\?"):
            toy(Canned(url), timeout="300ms", retry_for="0s")


def test_a_server_that_is_down_is_waited_for_once_in_a_process() -> None:
    """A shard of a hundred batches must not wait a hundred times."""
    away = Canned(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ServerUnavailable, match="ConnectError"):
        toy(away, retry_for="1s")
    assert away.url in _gave_up
    with pytest.raises(ServerUnavailable):
        toy(away, retry_for="1h")  # would outlast the limit of this test


def test_a_server_that_is_back_is_waited_for_again(canned: Canned) -> None:
    _gave_up.add(canned.url)
    engine = toy(canned)
    canned.replies = [Reply(503)]
    assert engine.predict(ROWS).scores.size == 3


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"not json", "does not follow the protocol"),
        (b'{"outputs": []}', "no output 'scores'"),
        (b'{"outputs": [{"name": "scores", "datatype": "FP32", "shape": [3, 1]}]}', "protocol"),
        (
            b'{"outputs": [{"name": "scores", "datatype": "FP32", "shape": [1], "data": [1]}]}',
            r"expected shape \[3, classes\], \[3, 1\] or \[3\], got \[1\]; name another output",
        ),
        (b" " * (2 << 20), "more than 1,049,344 bytes"),
    ],
    ids=["no JSON", "no output", "no data", "another shape", "too much"],
)
def test_an_answer_that_is_none_is_refused(canned: Canned, body: bytes, why: str) -> None:
    canned.replies = [Reply(body=body)]
    with pytest.raises(ServerRefused, match=why):
        toy(canned).predict(ROWS)


def test_a_model_of_many_classes_may_say_more_of_a_row(canned: Canned) -> None:
    rows, classes = 1000, 500
    answer = {"name": "scores", "datatype": "FP32", "shape": [rows, classes]}
    answer["data"] = [0.0020000000949949026] * (rows * classes)
    canned.model |= {"outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, classes]}]}
    canned.replies = [Reply(body=json.dumps({"outputs": [answer]}).encode())]
    found = toy(canned).predict(pl.DataFrame({"value": [0.5] * rows}))
    assert found.scores.shape == (rows, classes)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"inputs": []}, r"one input, FP32 \[-1, features\], got \[\]"),
        ({"inputs": [{"name": "x", "datatype": "BYTES", "shape": [-1, 1]}]}, r"got \['x: BYTES"),
        ({"outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}]}, "one float output"),
        ({"inputs": "none"}, r"does not follow .*; correct model\.server\.url"),
    ],
)
def test_metadata_that_does_not_fit_is_said_before_any_row_is_sent(
    canned: Canned, change: dict[str, Any], why: str
) -> None:
    canned.model |= change
    with pytest.raises(ServerRefused, match=why):
        toy(canned)
    assert canned.bodies == []


def test_an_infinite_feature_is_refused_where_only_json_is_spoken(canned: Canned) -> None:
    with pytest.raises(ServerRefused, match="infinite, which JSON cannot carry"):
        toy(canned).predict(pl.DataFrame({"value": [np.inf]}))


def test_a_token_comes_from_the_environment(
    canned: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_look_up", tokens.of_environment)  # as in a process of its own
    monkeypatch.setenv("FLAGFALL_TOKEN_SCORING", "s3cr3t")
    toy(canned, conn_id="scoring").predict(ROWS)
    assert canned.headers[0]["Authorization"] == "Bearer s3cr3t"
    monkeypatch.setenv("FLAGFALL_TOKEN_SCORING", "s3cr\n3t")
    with pytest.raises(NotThere, match="no usable token for 'scoring'") as refused:
        toy(canned, conn_id="scoring")
    assert "s3cr" not in str(refused.value)
    monkeypatch.delenv("FLAGFALL_TOKEN_SCORING")
    with pytest.raises(NotThere, match="set FLAGFALL_TOKEN_SCORING, or leave"):
        toy(canned, conn_id="scoring")


def test_without_a_connection_no_token_is_sent(canned: Canned) -> None:
    toy(canned).predict(ROWS)
    assert "Authorization" not in canned.headers[0]


def test_a_redirect_is_not_followed(canned: Canned) -> None:
    """A token must not travel to where the dataset file does not say."""
    canned.replies = [Reply(307, headers={"Location": "http://127.0.0.1:1/"})]
    with pytest.raises(ServerRefused, match="307"):
        toy(canned).predict(ROWS)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("engine: open-inference", r"model\.engine: expected a section model\.server"),
        ("server: {url: 'http://a'}", r"model\.server: expected none: it is for engine: open-inf"),
        ("engine: open-inference, server: {url: a}", r"model\.server\.url: expected a URL such as"),
        ("engine: open-inference, server: {url: 'http://me:pw@a'}", "without user"),
        ("engine: pod", r"model\.engine: expected a section model\.pod"),
        ("engine: pod, pod: {image: a, cpu: lots}", r"model\.pod\.cpu: expected CPUs such as"),
    ],
)
def test_a_mistake_in_the_section_is_named(tmp_path: Path, model: str, why: str) -> None:
    with pytest.raises(DatasetInvalid, match=why):
        _read(tmp_path, model)


def test_its_url_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCORING", "https://scoring.example/v2/")
    dataset = _read(tmp_path, "engine: open-inference, server: {url: '${SCORING}'}")
    scorer = scorer_of(dataset)
    assert scorer.server is not None
    assert (scorer.server.url, scorer.server_model) == ("https://scoring.example", "flights_delay")


def _read(folder: Path, model: str) -> Dataset:
    plain = {
        "title": "x",
        "landing": {"uri": "landing", "marker": "{date}/_SUCCESS"},
        "lake": {"uri": "lake"},
        "schema": {"fields": [{"name": "x", "type": "number"}]},
        "features": [{"name": "x"}],
    }
    text = f"{json.dumps(plain)[:-1]}, model: {{path: models/flights_delay, {model}}}}}"
    (folder / "toy.yaml").write_text(text)
    return read_dataset(folder / "toy.yaml")
