from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from flagfall.stores import Hint, aws, everything, open_store
from flagfall.stores import sqs as queue
from flagfall.stores.sqs import Change, changes, queue_hints
from tests.canned import Answer, Asked, Canned
from tests.patience import SOON
from tests.s3 import S3Server

"""Seconds within which what must come has come, however busy the machine is."""


@pytest.fixture
def url(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A queue; nobody waits for it when the test is over."""
    monkeypatch.setattr(queue, "LONG_POLL", 1)
    yield s3.make_queue(f"queue-{uuid.uuid4().hex[:12]}")
    for thread in pollers():
        thread.join(SOON)
    assert pollers() == []


def pollers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("hints http")]


def ours(url: str, prefix: str = "in", conn_id: str = "") -> AsyncIterator[Hint]:
    """What a queue tells to one to whom all its keys belong."""
    return queue_hints(url, conn_id, "bucket", prefix, everything)


async def next_hint(hints: AsyncIterator[Hint]) -> frozenset[str]:
    async with asyncio.timeout(SOON):
        found = await anext(hints)
    assert found is not None
    return found


async def until(is_so: Callable[[], bool]) -> None:
    def wait() -> None:
        while not is_so():
            assert time.monotonic() < end
            time.sleep(0.02)

    end = time.monotonic() + SOON
    await asyncio.to_thread(wait)


async def waiting(hints: AsyncIterator[Hint]) -> asyncio.Task[frozenset[str]]:
    """A task that waits for a hint, once the queue is polled for it."""
    before = sum(len(poller.waiting) for poller in queue._pollers.values())
    task = asyncio.create_task(next_hint(hints))
    await until(lambda: sum(len(p.waiting) for p in queue._pollers.values()) > before)
    return task


def send(s3: S3Server, url: str, *bodies: str) -> None:
    for body in bodies:
        s3.client("sqs").send_message(QueueUrl=url, MessageBody=body)


def left(s3: S3Server, url: str) -> int:
    """Messages that have not been deleted."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    told = s3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)
    return sum(int(told["Attributes"][name]) for name in names)


def notification(bucket: str, *keys: str) -> str:
    """What S3 sends to SQS, as far as it matters here; keys are quoted already."""
    told = [{"s3": {"bucket": {"name": bucket}, "object": {"key": key}}} for key in keys]
    records = [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", **one} for one in told]
    return json.dumps({"Records": records})


def event_bridge(bucket: str, key: str) -> str:
    """As in https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html."""
    return json.dumps(
        {
            "version": "0",
            "id": "17793124-05d4-b198-2fde-7ededc63b103",
            "detail-type": "Object Created",
            "source": "aws.s3",
            "account": "111122223333",
            "time": "2021-11-12T00:00:00Z",
            "region": "ca-central-1",
            "resources": [f"arn:aws:s3:::{bucket}"],
            "detail": {
                "version": "0",
                "bucket": {"name": bucket},
                "object": {
                    "key": key,
                    "size": 5,
                    "etag": "b1946ac92492d2347c6235b4d2611184",
                    "version-id": "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
                    "sequencer": "617f08299329d189",
                },
                "request-id": "N4N7GDK58NMKJ12R",
                "requester": "123456789012",
                "source-ip-address": "1.2.3.4",
                "reason": "PutObject",
            },
        }
    )


def by_sns(message: str) -> str:
    """As in https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html."""
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": "arn:aws:sns:us-west-2:123456789012:MyTopic",
            "Subject": "Amazon S3 Notification",
            "Message": message,
            "Timestamp": "2012-05-02T00:54:06.655Z",
            "SignatureVersion": "1",
        }
    )


TEST_EVENT = {
    "Service": "Amazon S3",
    "Event": "s3:TestEvent",
    "Time": "2014-10-13T15:57:02.089Z",
    "Bucket": "bucket",
    "RequestId": "5582815E1AEA5ADF",
    "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE",
}
NOT_UNDERSTOOD: dict[str, str] = {
    "test event": json.dumps(TEST_EVENT),
    "empty": "",
    "garbage": "\x00garbage{",
    "a number": "1",
    "a huge number": "9" * 5000,
    "null": "null",
    "a list": "[1, 2]",
    "a string": '"Records"',
    "deeply nested": "[" * 100_000,
    "deeply nested objects": '{"Records":' * 50_000,
    "SNS of garbage": by_sns("{"),
    "SNS of SNS": by_sns(by_sns(by_sns("1"))),
    "Records of another kind": '{"Records": {"s3": 1}}',
    "records of another kind": '{"Records": [1, null, "x", [], {}, {"s3": []}]}',
    "no bucket": '{"Records": [{"s3": {"object": {"key": "in/k"}}}]}',
    "bucket of another kind": '{"Records": [{"s3": {"bucket": "bucket", "object": "in/k"}}]}',
    "key of another kind": notification("bucket", 1),  # type: ignore[arg-type]
    "no key": notification("bucket", ""),
    "detail of another kind": '{"detail": [1]}',
    "Message of another kind": '{"Message": {"Records": []}}',
}


class TestMessages:
    def test_a_notification_of_s3_names_its_objects(self) -> None:
        body = notification("bucket", "in/a+b", "in/a%2Bb", "in/%E6%97%A5%20x", "in/100%25")
        keys = ["in/a b", "in/a+b", "in/日 x", "in/100%"]
        assert list(changes(body)) == [Change("bucket", key) for key in keys]
        assert list(changes(by_sns(body))) == list(changes(body))

    def test_an_event_of_event_bridge_names_its_object_plainly(self) -> None:
        body = event_bridge("bucket", "in/a+b %20")
        assert list(changes(body)) == [Change("bucket", "in/a+b %20")]
        assert list(changes(by_sns(body))) == list(changes(body))

    @pytest.mark.parametrize("body", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
    def test_what_is_not_understood_names_nothing(self, body: str) -> None:
        assert list(changes(body)) == []


class TestHints:
    async def test_a_new_object_is_named_however_strange_its_key(
        self, s3: S3Server, bucket: str, url: str
    ) -> None:
        s3.notify(bucket, url)
        store = open_store(f"s3://{bucket}/in", sqs_queue=url)
        keys = {"plain", "a key+100% %20", "日本/é?#&"}
        async with aclosing(store.hints(everything)) as hints:  # type: ignore[type-var]
            task = await waiting(hints)
            for key in keys:
                await asyncio.to_thread(store.put, key, b"x")
            found = set(await task)
            while found != keys:
                found |= await next_hint(hints)

    async def test_what_concerns_nobody_hints_at_nothing_and_is_deleted_after_a_while(
        self, s3: S3Server, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue, "GIVEN_UP_AFTER", 2)
        strangers = [
            *filter(None, (body.replace("\x00", "") for body in NOT_UNDERSTOOD.values())),
            notification("other", "in/k"),
            *(notification("bucket", key) for key in ("k", "in", "inner/k", "in2/k", "%2Fin/k")),
            *(notification("bucket", key) for key in ("in/", "in/a/", "in//a", "in/../k")),
            event_bridge("bucket", "in/\ud800"),
        ]
        async with aclosing(ours(url)) as hints:
            task = await waiting(hints)
            await asyncio.to_thread(send, s3, url, *strangers)
            await until(lambda: left(s3, url) == 0)
            assert not task.done()
            await asyncio.to_thread(send, s3, url, notification("bucket", "in/k"))
            assert await task == {"k"}

    async def test_a_whole_bucket_hears_of_all_its_keys(self, s3: S3Server, url: str) -> None:
        async with aclosing(ours(url, "")) as hints:
            task = await waiting(hints)
            await asyncio.to_thread(send, s3, url, notification("bucket", "in/k", "k"))
            assert await task == {"in/k", "k"}

    async def test_messages_are_deleted_in_batches(self, s3: S3Server, url: str) -> None:
        bodies = [notification("bucket", f"in/{n}") for n in range(25)]
        await asyncio.to_thread(send, s3, url, *bodies)
        s3.requests.clear()
        found: set[str] = set()
        async with aclosing(ours(url)) as hints:
            while len(found) < 25:
                found |= await next_hint(hints)
            await until(lambda: left(s3, url) == 0)
        assert found == {str(n) for n in range(25)}
        assert len(s3.requests) < 25

    async def test_without_a_queue_nothing_ever_comes(self) -> None:
        async with aclosing(queue_hints("", "", "bucket", "in")) as hints:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(hints), 0.05)
        assert pollers() == []

    async def test_waiting_does_not_hold_the_event_loop(self, s3: S3Server, url: str) -> None:
        await asyncio.to_thread(send, s3, url, notification("bucket", "in/k"))
        with blockbuster_ctx("flagfall"):
            async with aclosing(ours(url)) as hints:
                assert await next_hint(hints) == {"k"}

    async def test_what_comes_while_nobody_asks_is_told_together_at_the_next_question(
        self, s3: S3Server, url: str
    ) -> None:
        async with aclosing(ours(url)) as hints:
            task = await waiting(hints)
            await asyncio.to_thread(send, s3, url, notification("bucket", "in/0"))
            await task
            await asyncio.to_thread(send, s3, url, notification("bucket", "in/1"))
            await asyncio.to_thread(send, s3, url, notification("bucket", "in/2"))
            await until(lambda: left(s3, url) == 0)
            assert await next_hint(hints) == {"1", "2"}


class TestSharing:
    async def test_all_who_wait_share_one_thread_and_hear_what_is_theirs(
        self, s3: S3Server, url: str
    ) -> None:
        places = [ours(url, prefix) for prefix in ("in", "in", "other")]
        async with aclosing(places[0]), aclosing(places[1]), aclosing(places[2]):
            one, two, other = [await waiting(place) for place in places]
            assert len(pollers()) == 1
            await asyncio.to_thread(send, s3, url, notification("bucket", "in/k"))
            assert await one == await two == {"k"}
            assert not other.done()
            await asyncio.to_thread(send, s3, url, notification("bucket", "other/k"))
            assert await other == {"k"}

    async def test_the_last_to_leave_ends_the_thread(self, s3: S3Server, url: str) -> None:
        one, two = (ours(url) for _ in range(2))
        tasks = [await waiting(one), await waiting(two)]
        await asyncio.to_thread(send, s3, url, notification("bucket", "in/1"))
        await asyncio.gather(*tasks)
        (thread,) = pollers()
        await one.aclose()
        task = asyncio.create_task(next_hint(two))
        await asyncio.to_thread(send, s3, url, notification("bucket", "in/2"))
        assert await task == {"2"}
        await two.aclose()
        await asyncio.to_thread(thread.join, SOON)
        assert not thread.is_alive()
        assert queue._pollers == {}

    async def test_who_comes_back_at_once_misses_nothing(self, s3: S3Server, url: str) -> None:
        """The thread that is about to end must not swallow what another one is asked for."""
        for n in range(5):
            async with aclosing(ours(url)) as hints:
                task = await waiting(hints)
                await asyncio.to_thread(send, s3, url, notification("bucket", f"in/{n}"))
                assert await task == {str(n)}
        assert len(pollers()) <= 1

    def test_each_event_loop_is_served(self, s3: S3Server, url: str) -> None:
        async def once(key: str) -> None:
            async with aclosing(ours(url)) as hints:
                task = await waiting(hints)
                await asyncio.to_thread(send, s3, url, notification("bucket", f"in/{key}"))
                assert await task == {key}

        asyncio.run(once("first"))
        asyncio.run(once("second"))

    def test_a_loop_that_was_closed_without_leaving_does_not_stop_the_others(
        self, s3: S3Server, url: str
    ) -> None:
        left_open = ours(url)
        loop = asyncio.new_event_loop()
        send(s3, url, notification("bucket", "in/0"))
        loop.run_until_complete(next_hint(left_open))
        loop.close()

        async def another() -> None:
            async with aclosing(ours(url)) as hints:
                task = await waiting(hints)
                await asyncio.to_thread(send, s3, url, notification("bucket", "in/1"))
                assert await task == {"1"}
            await left_open.aclose()

        asyncio.run(another())


def action(asked: Asked) -> str:
    """What SQS is asked for."""
    return asked.headers["x-amz-target"].rpartition(".")[2]


def always(message: dict[str, Any]) -> Callable[[Asked], Answer]:
    """An SQS that has the same message for everybody at any time."""
    told = {"ReceiveMessage": {"Messages": [{"ReceiptHandle": "it", **message}]}}
    return lambda asked: Answer(200, json.dumps(told.get(action(asked), {})).encode())


class TestSeveralProcesses:
    """SQS gives a message to one of those who ask; each connection has a poller of its own."""

    @pytest.fixture(autouse=True)
    def connections(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(aws, "_look_up", aws.of_environment)
        yield
        for conn_id in ("another", "one", "two"):
            aws.forget(conn_id)

    async def test_a_server_that_does_not_count_has_a_message_deleted_at_once(
        self, canned: Canned
    ) -> None:
        canned.answers = always({"Body": notification("bucket", "in/k")})
        async with aclosing(queue_hints(f"{canned.url}/1/q", "", "bucket", "in")) as hints:
            assert await next_hint(hints) == {"k"}
            await until(lambda: "DeleteMessageBatch" in [action(asked) for asked in canned.asked])

    async def test_who_left_a_message_does_not_take_it_again_at_once(
        self, canned: Canned, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue, "STEP_BACK", (600.0, 600.0))
        counted = {"Attributes": {"ApproximateReceiveCount": "1"}}
        canned.answers = always({"Body": notification("bucket", "in/k"), **counted})
        async with aclosing(queue_hints(f"{canned.url}/1/q", "", "bucket", "in")) as hints:
            assert await next_hint(hints) == {"k"}
            await asyncio.sleep(0.2)
            assert [action(asked) for asked in canned.asked] == ["ReceiveMessage"]

    async def test_what_is_left_is_there_for_another_at_once(
        self, s3: S3Server, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue, "STEP_BACK", (600.0, 600.0))
        async with aclosing(queue_hints(url, "", "bucket", "in")) as hints:
            task = await waiting(hints)
            await asyncio.to_thread(send, s3, url, notification("bucket", "in/k"))
            assert await task == {"k"}
            answer = s3.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=0)
            assert len(answer["Messages"]) == 1

    async def test_whoever_waits_hears_of_everything_whoever_received_it_first(
        self, s3: S3Server, url: str
    ) -> None:
        keys = {str(n) for n in range(8)}
        found: set[str] = set()
        here, there = ours(url), queue_hints(url, "another", "bucket", "in")
        async with aclosing(here), aclosing(there):
            told_there = await waiting(there)
            messages = [notification("bucket", f"in/{key}") for key in keys]
            await asyncio.to_thread(send, s3, url, *messages)
            await told_there
            while found != keys:
                found |= await next_hint(here)
            await until(lambda: left(s3, url) == 0)

    async def test_each_hears_what_it_waits_for_of_a_queue_for_both(
        self, s3: S3Server, url: str
    ) -> None:
        places = [ours(url, name, conn_id=name) for name in ("one", "two")]
        async with aclosing(places[0]), aclosing(places[1]):
            one, two = [await waiting(place) for place in places]
            messages = [notification("bucket", f"{name}/k") for name in ("two", "one")]
            await asyncio.to_thread(send, s3, url, *messages)
            assert await one == await two == {"k"}
            await until(lambda: left(s3, url) == 0)

    async def test_a_message_of_several_objects_stays_until_all_are_ours(
        self, s3: S3Server, url: str
    ) -> None:
        async with aclosing(queue_hints(url, "", "bucket", "in", {"a"}.__contains__)) as hints:
            task = await waiting(hints)
            await asyncio.to_thread(send, s3, url, notification("bucket", "in/a", "in/b"))
            assert await task == await next_hint(hints) == {"a", "b"}
            assert left(s3, url) == 1

    async def test_what_nobody_waits_for_anywhere_is_received_so_often_and_no_more(
        self, s3: S3Server, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue, "GIVEN_UP_AFTER", 2)
        async with aclosing(queue_hints(url, "", "bucket", "in")) as hints:
            task = await waiting(hints)
            await asyncio.to_thread(send, s3, url, notification("bucket", "in/k"))
            assert await task == {"k"}
            assert left(s3, url) == 1
            assert await next_hint(hints) == {"k"}
            await until(lambda: left(s3, url) == 0)


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


class TestFailures:
    @pytest.fixture(autouse=True)
    def soon_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(queue, "backoff", lambda failures: 0.05)

    async def test_a_queue_that_does_not_exist_is_one_warning_until_it_is_made(
        self, s3: S3Server, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        absent = f"{url}-later"
        async with aclosing(ours(absent)) as hints:
            task = await waiting(hints)
            s3.requests.clear()
            await until(lambda: sum(r.status == 400 for r in s3.requests) >= 3)
            assert len(warned(caplog)) == 1
            assert "no hints" in warned(caplog)[0]
            assert not task.done()
            await asyncio.to_thread(s3.make_queue, absent.rpartition("/")[2])
            await asyncio.to_thread(send, s3, absent, notification("bucket", "in/k"))
            assert await task == {"k"}
            await until(lambda: len(warned(caplog)) == 2)
            assert "hints come again" in warned(caplog)[1]

    async def test_whatever_goes_wrong_the_thread_lives_on(
        self,
        s3: S3Server,
        url: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        client = aws.client
        errors: list[Exception] = [KeyError("x"), RuntimeError("the connection is not there")]

        def broken_at_first(conn_id: str, service: str) -> Any:
            if errors:
                raise errors.pop()
            return client(conn_id, service)

        monkeypatch.setattr(aws, "client", broken_at_first)
        async with aclosing(ours(url)) as hints:
            task = await waiting(hints)
            await asyncio.to_thread(send, s3, url, notification("bucket", "in/k"))
            assert await task == {"k"}
        assert "the connection is not there" in warned(caplog)[0]

    async def test_a_message_that_cannot_be_deleted_is_told_once_and_then_waited_for(
        self, canned: Canned, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(queue, "backoff", lambda failures: 600.0)
        message = {"ReceiptHandle": "it", "Body": notification("bucket", "in/k")}
        refused = {"Id": "0", "SenderFault": True, "Code": "ReceiptHandleIsInvalid"}
        told = {"ReceiveMessage": {"Messages": [message]}}
        told["DeleteMessageBatch"] = {"Failed": [refused]}
        canned.answers = lambda asked: Answer(200, json.dumps(told[action(asked)]).encode())
        async with aclosing(ours(f"{canned.url}/1/q")) as hints:
            assert await next_hint(hints) == {"k"}
            await until(lambda: len(warned(caplog)) == 1)
            await asyncio.sleep(0.2)
            actions = [action(asked) for asked in canned.asked]
            assert actions == ["ReceiveMessage", "DeleteMessageBatch"]
        assert "ReceiptHandleIsInvalid" in warned(caplog)[0]

    async def test_leaving_ends_a_long_pause(
        self, canned: Canned, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue, "backoff", lambda failures: 600.0)
        canned.answers = lambda asked: Answer(500)
        async with aclosing(queue_hints(f"{canned.url}/1/q", "", "bucket", "in")) as hints:
            task = await waiting(hints)
            await until(lambda: bool(canned.asked))
            (thread,) = pollers()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(thread.join, SOON)
        assert not thread.is_alive()

    async def test_who_comes_back_to_a_queue_that_fails_does_not_have_it_asked_without_pause(
        self, canned: Canned, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue, "backoff", lambda failures: 600.0)

        def answers(asked: object) -> Answer:
            time.sleep(0.3)
            return Answer(500)

        canned.answers = answers
        for back in (False, True):
            async with aclosing(queue_hints(f"{canned.url}/1/q", "", "bucket", "in")) as hints:
                task = await waiting(hints)
                await until(lambda: bool(canned.asked))
                (thread,) = pollers()
                if back:
                    await asyncio.sleep(1.2)
                    assert len(canned.asked) <= 2
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(thread.join, SOON)
        assert pollers() == []


def test_an_open_wait_does_not_keep_python_from_ending(canned: Canned) -> None:
    def silent(asked: object) -> Answer:
        time.sleep(5)
        return Answer(500)

    canned.answers = silent
    code = (
        "import asyncio\n"
        "from flagfall.stores.sqs import queue_hints\n"
        "async def main():\n"
        f"    hints = queue_hints('{canned.url}/1/q', '', 'bucket', 'in')\n"
        "    task = asyncio.ensure_future(anext(hints))\n"
        "    await asyncio.sleep(1)\n"
        "    print('ended', task.done(), flush=True)\n"
        "asyncio.run(main())\n"
    )
    started = time.monotonic()
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SOON)
    assert ran.stdout == "ended False\n"
    assert ran.returncode == 0, ran.stderr
    assert time.monotonic() - started < 5
