"""Hints from an SQS queue: S3's own event notifications, and S3 events by way of EventBridge.

One thread polls a queue for all who wait for it in this process. A message only says "look at this
key": lost, doubled, out of order or forged ones harm nothing, and so it is deleted as soon as it
has been passed on. If whoever waits for it may be elsewhere, it is not deleted, and not hidden from
another triggerer: who has left it asks again a little later. What a message looks like:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from flagfall.errors import StoreUnavailable
from flagfall.logs import logger
from flagfall.stores import Hint, IsOurs, nothing_is_ours
from flagfall.stores.backoff import backoff
from flagfall.stores.s3_keys import unusable

log = logger(__name__)

LONG_POLL = 20
"""Seconds that SQS waits for a message: its maximum, hence the fewest requests."""
STEP_BACK = (0.1, 0.3)
"""Seconds, at least and at most, in which a poller leaves to others what it has not deleted."""
GIVEN_UP_AFTER = 16
"""How often a message is received before it is deleted although it is nobody's."""
_MESSAGES = 10
"""Most messages in one request."""
_RECEIVED = "ApproximateReceiveCount"
"""SQS's name for how often a message has been received."""


@dataclass(frozen=True)
class Change:
    """An object that a message names."""

    bucket: str
    key: str


def changes(body: str) -> Iterator[Change]:
    """The objects that a message names; none where it is not understood."""
    message = _json(body)
    if isinstance(message.get("Message"), str):  # by way of SNS
        message = _json(message["Message"])
    records = message.get("Records")
    for record in records if isinstance(records, list) else []:
        yield from _change(_in(record, "s3"), unquote_plus)
    yield from _change(_in(message, "detail"), str)


def _json(body: str) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _in(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _change(record: Any, decode: Callable[[str], str]) -> Iterator[Change]:
    """A notification writes keys as in a form's answer (``+`` for a space), EventBridge plainly."""
    bucket, key = _in(_in(record, "bucket"), "name"), _in(_in(record, "object"), "key")
    if isinstance(bucket, str) and isinstance(key, str) and key:
        yield Change(bucket, decode(key))


class _Waiting:
    """Who waits for keys of one place, and what has come for it meanwhile."""

    def __init__(self, bucket: str, prefix: str, is_ours: IsOurs) -> None:
        self._bucket = bucket
        self._start = f"{prefix}/" if prefix else ""
        self._is_ours = is_ours
        self._loop = asyncio.get_running_loop()
        self._keys: set[str] = set()
        self._came = asyncio.Event()

    def notify(self, changed: Iterable[Change]) -> set[Change]:
        """Pass on what concerns this place, from any thread.

        Returns:
            What is ours: no other process has to hear of it.
        """
        keys = {change: key for change in changed if (key := self._key(change)) is not None}
        try:
            if keys:
                self._loop.call_soon_threadsafe(self._add, [*keys.values()])
        except RuntimeError:  # its loop has been closed meanwhile
            return set()
        return {change for change, key in keys.items() if self._is_ours(key)}

    def _key(self, change: Change) -> str | None:
        """Below this place; ``None`` for what is elsewhere."""
        if change.bucket != self._bucket or not change.key.startswith(self._start):
            return None
        key = change.key.removeprefix(self._start)
        return None if unusable(key) else key

    def _add(self, keys: list[str]) -> None:
        self._keys.update(keys)
        self._came.set()

    async def next(self) -> frozenset[str]:
        """What has come, as soon as something has."""
        await self._came.wait()
        self._came.clear()
        keys, self._keys = frozenset(self._keys), set()
        return keys


class _Poller:
    """A thread that empties one queue for all who wait for it, until nobody does."""

    def __init__(self, url: str, conn_id: str) -> None:
        self.url = url
        self.conn_id = conn_id
        self.waiting: set[_Waiting] = set()
        self.deserted = threading.Event()
        self._failures = 0
        self.thread = threading.Thread(target=self._run, name=f"hints {url}", daemon=True)

    def _run(self) -> None:
        while _is_wanted(self):
            try:
                self._pass_on()
            except Exception as error:  # whatever it is, a dead thread would never hint again
                self._pause(error)

    def _pass_on(self) -> None:
        """Wait for messages, pass them on, delete those that no other process needs."""
        from flagfall.stores.aws import client

        sqs = client(self.conn_id, "sqs")
        answer = sqs.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=_MESSAGES,
            WaitTimeSeconds=LONG_POLL,
            VisibilityTimeout=0,
            MessageSystemAttributeNames=[_RECEIVED],
        )
        messages = answer.get("Messages", [])
        if done := self._deliver(messages):
            handles = [
                {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]}
                for n, message in enumerate(done)
            ]
            answer = sqs.delete_message_batch(QueueUrl=self.url, Entries=handles)
            if failed := answer.get("Failed"):  # without a pause they would come again at once
                raise StoreUnavailable(self.url, f"a message cannot be deleted: {failed[0]}")
        if self._failures:
            log.warning("%s: hints come again", self.url)
            self._failures = 0
        if len(done) < len(messages) < _MESSAGES:
            self._step_back()

    def _step_back(self) -> None:
        """Let the others have what was left; who asks soon again would be given it again."""
        self.deserted.wait(random.uniform(*STEP_BACK))

    def _deliver(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Pass messages on; gives those that have done all they can."""
        named = [set(changes(message["Body"])) for message in messages]
        with _lock:
            waiting = list(self.waiting)
        ours: set[Change] = set()
        for place in waiting:
            ours |= place.notify(set().union(*named))
        return [
            message
            for message, its in zip(messages, named, strict=True)
            if its <= ours or _times(message) >= GIVEN_UP_AFTER
        ]

    def _pause(self, error: Exception) -> None:
        from flagfall.stores.aws import forget

        forget(self.conn_id)
        if not self._failures:
            log.warning("%s: no hints (%s); sweeps go on", self.url, error)
        self._failures += 1
        self.deserted.wait(backoff(self._failures))


def _times(message: Mapping[str, Any]) -> int:
    """How often a message has been received; a server other than Amazon's may not say."""
    return int(message.get("Attributes", {}).get(_RECEIVED, GIVEN_UP_AFTER))


_lock = threading.Lock()
_pollers: dict[tuple[str, str], _Poller] = {}


def _join(url: str, conn_id: str, place: _Waiting) -> None:
    with _lock:
        poller = _pollers.get((url, conn_id))
        if poller is None or not poller.thread.is_alive():  # as in a child after a fork
            poller = _pollers[url, conn_id] = _Poller(url, conn_id)
            poller.thread.start()
        poller.waiting.add(place)
        poller.deserted.clear()


def _leave(url: str, conn_id: str, place: _Waiting) -> None:
    with _lock:
        poller = _pollers[url, conn_id]
        poller.waiting.discard(place)
        if not poller.waiting:
            poller.deserted.set()


def _is_wanted(poller: _Poller) -> bool:
    """Whether anybody waits; a poller that gets "no" must end; another may come after it."""
    with _lock:
        if not poller.waiting:
            del _pollers[poller.url, poller.conn_id]
        return bool(poller.waiting)


async def queue_hints(
    url: str, conn_id: str, bucket: str, prefix: str, is_ours: IsOurs = nothing_is_ours
) -> AsyncIterator[Hint]:
    """Keys below a prefix, as they come from a queue.

    Args:
        url: Of the queue; empty where there is none: then nothing ever comes.
        conn_id: Airflow connection; empty for what the environment gives.
        bucket: Of which keys are wanted.
        prefix: Below which, without a ``/`` at its ends; empty for the whole bucket.
        is_ours: See ``Store.hints``.
    """
    place = _Waiting(bucket, prefix, is_ours)
    if url:
        _join(url, conn_id, place)
    try:
        while True:
            yield await place.next()
    finally:
        if url:
            _leave(url, conn_id, place)
