"""Everything that can wait for a marker in Airflow, as the text of a DAG file, and how it is told.

A sensor waits once for each of its places; a watcher of an asset waits for ever. Where a sensor or
trigger is Airflow's own, it is used as Airflow's documentation has it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.s3 import REGION, LocalS3

CONN_ID = "benchmark_s3"
MARKER = "_SUCCESS"

SENSORS = """\
from airflow.sdk import DAG, task
from airflow.providers.standard.sensors.filesystem import FileSensor
IMPORT

@task
def after():
    pass

with DAG("NAME", schedule="@once", catchup=False, max_active_tasks=1000):
    for chain in range(CHAINS):
        before = None
        for n in range(chain * LENGTH, (chain + 1) * LENGTH):
            wait = SENSOR
            next_one = after.override(task_id=f"after_{n}")()
            wait >> next_one
            if before is not None:
                before >> wait
            before = next_one
"""
WATCHER = """\
from airflow.sdk import DAG, Asset, AssetWatcher, task
IMPORT

watcher = AssetWatcher(name="NAME", trigger=TRIGGER)

with DAG("NAME", schedule=[Asset("NAME", watchers=[watcher])], catchup=False):
    @task
    def first():
        pass
    first()
"""
FEED = """\
title: Two numbers
landing: {uri: LANDING, marker: "n={n}/datapackage.json"MORE}
lake: {uri: LAKECONN}
schema:
  fields: [{name: id, type: integer}, {name: value, type: number}]
"""

SIX = """
from airflow.sdk import DAG, Asset, AssetWatcher, chain
from floor import FloorTrigger, Nothing

asset = Asset("six", watchers=[AssetWatcher(name="six", trigger=FloorTrigger("FILE"))])
with DAG("six", schedule=[asset], is_paused_upon_creation=False):
    chain(*(Nothing(task_id=f"nothing_{n}") for n in range(6)))
"""


class Disk:
    """A folder below which markers are dropped.

    Args:
        folder: Holds the landing zones.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._landing = folder / "landing"
        self._outbox = folder / "outbox"

    def uri(self, name: str) -> str:
        """Of a landing zone, which is made if need be."""
        (self._landing / name).mkdir(parents=True, exist_ok=True)
        return str(self._landing / name)

    def drop(self, name: str, n: int, files: Mapping[str, bytes]) -> float:
        """Rename a folder of files into a landing zone; gives when that began."""
        prepared = self._outbox / name / f"n={n}"
        prepared.mkdir(parents=True)
        for file, content in files.items():
            (prepared / file).write_bytes(content)
        target = Path(self.uri(name)) / prepared.name
        began = time.time()
        prepared.rename(target)
        return began

    def drop_again(self, name: str) -> float:
        """Rename one file into a landing zone, where it was deleted from; gives when that began."""
        prepared = self._outbox / name / MARKER
        prepared.parent.mkdir(parents=True, exist_ok=True)
        prepared.touch()
        target = Path(self.uri(name)) / MARKER
        began = time.time()
        prepared.rename(target)
        return began

    def count(self, below: str) -> int:
        """How many files there are below a folder."""
        return sum(1 for one in (self._folder / below).rglob("*.json") if one.is_file())


class Bucket:
    """A bucket into which markers are put.

    Args:
        server: An S3, running.
    """

    def __init__(self, server: LocalS3) -> None:
        self._server = server
        self._s3 = server.client("s3")

    def uri(self, name: str) -> str:
        """Of a landing zone."""
        return f"s3://{self._server.bucket}/{name}"

    def drop(self, name: str, n: int, files: Mapping[str, bytes]) -> float:
        """Put files in their order; gives when the last was there."""
        for file, content in files.items():
            key = f"{name}/n={n}/{file}"
            self._s3.put_object(Bucket=self._server.bucket, Key=key, Body=content)
        return time.time()

    def count(self, below: str) -> int:
        """How many objects there are below a prefix."""
        pages = self._s3.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self._server.bucket, Prefix=f"{below}/")
        return sum(page["KeyCount"] for page in found)

    def tell(self, *names: str) -> list[str]:
        """Have a queue told of what is put below each of some prefixes; gives their URLs."""
        sqs = self._server.client("sqs")
        urls = [str(sqs.create_queue(QueueName=name)["QueueUrl"]) for name in names]
        rules = []
        for name, url in zip(names, urls, strict=True):
            wanted = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
            below = {"Key": {"FilterRules": [{"Name": "prefix", "Value": f"{name}/"}]}}
            arn = wanted["Attributes"]["QueueArn"]
            rules.append({"QueueArn": arn, "Events": ["s3:ObjectCreated:*"], "Filter": below})
        self._s3.put_bucket_notification_configuration(
            Bucket=self._server.bucket, NotificationConfiguration={"QueueConfigurations": rules}
        )
        return urls


Place = Disk | Bucket


@dataclass(frozen=True)
class Kind:
    """One way to wait for a marker.

    Attributes:
        name: Of its DAG, its asset, and its landing zone.
        label: How tables call it.
        every: Seconds between two looks; ``None`` where it is told.
        code: Expression that makes its sensor, or its watcher's trigger.
        imports: What the expression needs.
    """

    name: str
    label: str
    every: float | None
    code: str
    imports: str = ""

    def sensors(self, chains: int, length: int = 1) -> str:
        """DAG file of sensors that wait one after the other, in chains beside each other."""
        text = SENSORS.replace("SENSOR", self.code).replace("IMPORT", self.imports)
        text = text.replace("CHAINS", str(chains)).replace("LENGTH", str(length))
        return text.replace("NAME", self.name)

    def watcher(self) -> str:
        """DAG file of a watched asset, and of a DAG that is scheduled on it."""
        text = WATCHER.replace("TRIGGER", self.code).replace("IMPORT", self.imports)
        return text.replace("NAME", self.name)


def connections(server: LocalS3) -> dict[str, str]:
    """Settings by which Airflow knows the disk, and an S3 server."""
    return {
        "AIRFLOW_CONN_FS_DEFAULT": json.dumps({"conn_type": "fs", "extra": {"path": "/"}}),
        f"AIRFLOW_CONN_{CONN_ID.upper()}": server.connection(),
        "AWS_DEFAULT_REGION": REGION,
    }


def floor_sensor(folder: Path) -> Kind:
    """The floor of sensors."""
    code = f'FloorSensor(task_id=f"wait_{{n}}", file=f"{folder}/floor_{{n}}")'
    return Kind("floor_sensor", "the floor of sensors", None, code, "from floor import FloorSensor")


def floor_watcher(folder: Path) -> Kind:
    """The floor of watchers."""
    code = f'FloorTrigger("{folder}/floor")'
    return Kind("floor", "the floor", None, code, "from floor import FloorTrigger")


def six_tasks(folder: Path) -> str:
    """DAG file of six tasks that do nothing, at the word of a trigger of the floor."""
    return SIX.replace("FILE", f"{folder}/six")


def tell(file: Path, at: float) -> float:
    """Tell a floor's trigger when to yield."""
    draft = file.with_name(f".{file.name}")
    draft.write_text(repr(at))
    draft.rename(file)
    return at


def marker_sensor(name: str, label: str, place: Place, queue: str = "") -> Kind:
    """``MarkerSensor``, as it is by default.

    Args:
        name: Of its DAG and landing zone.
        label: How tables call it.
        place: Where markers come.
        queue: That tells of them, for a bucket; empty for none.
    """
    more = f', conn_id="{CONN_ID}", sqs_queue="{queue}"' if isinstance(place, Bucket) else ""
    code = (
        f'MarkerSensor(task_id=f"wait_{{n}}", landing="{place.uri(name)}",'
        f' marker="n={{n}}/{MARKER}", partition={{"n": str(n)}}{more})'
    )
    told = queue or isinstance(place, Disk)
    return Kind(
        name, label, None if told else 30.0, code, "from flagfall.operators import MarkerSensor"
    )


def file_sensor(disk: Disk, mode: str, every: float | None = None) -> Kind:
    """``FileSensor``.

    Args:
        disk: Where markers come.
        mode: ``poke``, ``reschedule`` or ``deferrable``.
        every: Seconds between two looks; ``None`` for its default.
    """
    name = f"file_{mode}_{every or 60:g}"
    file = f'f"{disk.uri(name)}/n={{n}}/{MARKER}"'
    code = f'FileSensor(task_id=f"wait_{{n}}", filepath={file}{_mode(mode, every)})'
    return Kind(name, f"FileSensor, {mode}", every or 60.0, code)


def s3_sensor(bucket: Bucket, mode: str, every: float | None = None) -> Kind:
    """``S3KeySensor``; see ``file_sensor``."""
    name = f"s3_{mode}_{every or 60:g}"
    key = f'f"{bucket.uri(name)}/n={{n}}/{MARKER}"'
    code = (
        f'S3KeySensor(task_id=f"wait_{{n}}", bucket_key={key}, aws_conn_id="{CONN_ID}"'
        f"{_mode(mode, every)})"
    )
    imports = "from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor"
    return Kind(name, f"S3KeySensor, {mode}", every or 60.0, code, imports)


def _mode(mode: str, every: float | None) -> str:
    said = ", deferrable=True" if mode == "deferrable" else f', mode="{mode}"'
    return said if every is None else f"{said}, poke_interval={every:g}"


def file_trigger(disk: Disk, every: float | None = None) -> Kind:
    """A task that defers to ``FileTrigger``: no ``AssetWatcher`` takes it."""
    name = f"file_trigger_{every or 5:g}"
    file = f'f"{disk.uri(name)}/n={{n}}/{MARKER}"'
    code = f'DeferTo(task_id=f"wait_{{n}}", trigger=FileTrigger(filepath={file}{_interval(every)}))'
    imports = "from airflow.providers.standard.triggers.file import FileTrigger\n"
    return Kind(name, "FileTrigger", every or 5.0, code, f"{imports}from floor import DeferTo")


def file_delete_watcher(disk: Disk, every: float | None = None) -> Kind:
    """An asset that ``FileDeleteTrigger`` watches."""
    name = f"file_delete_{every or 5:g}"
    code = f'FileDeleteTrigger(filepath="{disk.uri(name)}/{MARKER}"{_interval(every)})'
    imports = "from airflow.providers.standard.triggers.file import FileDeleteTrigger"
    return Kind(name, "FileDeleteTrigger", every or 5.0, code, imports)


def directory_watcher(disk: Disk, every: float | None = None) -> Kind:
    """An asset that ``DirectoryFileDeleteTrigger`` watches."""
    name = f"directory_{every or 5:g}"
    where = f'directory="{disk.uri(name)}", filename="{MARKER}"'
    code = f"DirectoryFileDeleteTrigger({where}{_interval(every)})"
    imports = "from airflow.providers.standard.triggers.file import DirectoryFileDeleteTrigger"
    return Kind(name, "DirectoryFileDeleteTrigger", every or 5.0, code, imports)


def _interval(every: float | None) -> str:
    return "" if every is None else f", poke_interval={every:g}"


def queue_watcher(name: str, queue: str, every: int | None = None) -> Kind:
    """An asset that ``SqsSensorTrigger`` watches; ``every`` is the pause after an empty answer."""
    pause = "" if every is None else f", waiter_delay={every}"
    code = f'SqsSensorTrigger(sqs_queue="{queue}", aws_conn_id="{CONN_ID}"{pause})'
    imports = "from airflow.providers.amazon.aws.triggers.sqs import SqsSensorTrigger"
    return Kind(name, "SqsSensorTrigger", every or 60.0, code, imports)


def feed(name: str, place: Place, folder: Path, queue: str = "") -> str:
    """Dataset file of a feed whose landing zone and lake are in one place."""
    on_s3 = isinstance(place, Bucket)
    lake = place.uri("lake") if on_s3 else str(folder / "lake")
    more = f', conn_id: {CONN_ID}, sqs_queue: "{queue}"' if on_s3 else ""
    text = FEED.replace("LANDING", place.uri(name)).replace("LAKE", lake)
    return text.replace("MORE", more).replace("CONN", f", conn_id: {CONN_ID}" if on_s3 else "")


def batch(folder: Path) -> dict[str, bytes]:
    """A batch of a feed: a file of rows, and the manifest that is its marker."""
    from flagfall.publish import publish

    shutil.rmtree(folder, ignore_errors=True)
    (folder / "made").mkdir(parents=True)
    (folder / "made" / "rows.csv").write_text("id,value\n1,2.0\n")
    publish(folder / "made", str(folder / "batch"))
    names = ("rows.csv", "datapackage.json")
    return {name: (folder / "batch" / name).read_bytes() for name in names}
