"""Notices: people are told what is new about a feed, once, through the notifiers that they name.

``tell`` is called at the end of each run, by the watchman, and where a task fails for which no
report will speak. So there is one message per feed and run. What was told is in the lake (see
``flagfall.verdict.told``). A notifier finds the message in its templated arguments:

- ``{{ notice }}``: one line of plain text,
- ``{{ notice_subject }}``, ``{{ notice_text }}``: a short line, and the whole message,
- ``{{ notice_html }}``: the whole message as HTML, in which nothing of a producer's is markup.

The first three are plain text that quotes names: in HTML they have to be escaped, ``| e``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk.configuration import conf
from pydantic import ImportString, TypeAdapter

from flagfall.concurrency import aside
from flagfall.dataset.feed import Feed
from flagfall.dataset.notifiers import with_message
from flagfall.dataset.schema import Dataset, Event, Notice
from flagfall.errors import NotFinished, StoreError, printable
from flagfall.inbox.inbox import Inbox
from flagfall.logs import logger
from flagfall.operators.airflow_release import failure
from flagfall.operators.sensors import MarkerLate
from flagfall.triggers import connections
from flagfall.verdict.failures import Failure, note_failure
from flagfall.verdict.look import verdict_of
from flagfall.verdict.message import Link, Message, message, plain
from flagfall.verdict.told import Memory
from flagfall.verdict.verdict import Verdict

if TYPE_CHECKING:
    from airflow.sdk import Context

connections.use()

log = logger(__name__)

_IMPORTED: TypeAdapter[Any] = TypeAdapter(ImportString[Any])
SENT_WITHIN = 60.0
"""Seconds after which a notifier is given up, so that one that hangs silences no other."""
_SPOKEN_FOR = (NotFinished, MarkerLate)
"""Errors of which the verdict has a reason of its own."""


def tell(
    dataset: Dataset,
    inbox: Inbox,
    verdict: Verdict,
    context: Context,
    links: Sequence[Link] = (),
) -> bool:
    """Tell people what they have not been told yet. Never raises: a feed goes on without notices.

    Args:
        dataset: The feed.
        inbox: Its inbox; what was told is in its lake.
        verdict: On the feed.
        context: Of the task that tells it, for templates of notifiers.
        links: Where to look.

    Returns:
        Whether the lake could be reached, where it is noted what was told.
    """
    is_reached = True
    for notice in dataset.notify:
        try:
            _tell(notice, dataset, inbox, verdict, context, links)
        except StoreError:
            log.exception("%s: what was told is not known", dataset.name)
            is_reached = False
        except Exception:  # a notifier is anybody's code
            log.exception("%s: the notice by %s failed; tried again", dataset.name, notice.notifier)
    return is_reached


def _tell(
    notice: Notice,
    dataset: Dataset,
    inbox: Inbox,
    verdict: Verdict,
    context: Context,
    links: Sequence[Link],
) -> None:
    memory = Memory(inbox.lake.store, notice, inbox.clock)
    news = memory.news(verdict)
    if not news:
        return
    written = message(dataset, verdict, news, [*links, *_run_links(context)])
    try:
        _send(notice, written, context)
    except Exception:
        memory.drop(news)
        raise
    memory.keep(news)
    log.info("%s: notice by %s: %s", dataset.name, notice.notifier, written.subject)


def _send(notice: Notice, written: Message, context: Context) -> None:
    notifier: type = _IMPORTED.validate_python(notice.notifier)
    variables = {
        "notice": written.sentence,
        "notice_subject": written.subject,
        "notice_text": written.text,
        "notice_html": written.html,
    }
    call: Callable[..., Any] = notifier(**with_message(notifier, notice.arguments))
    try:
        aside(partial(call, {**context, **variables})).result(SENT_WITHIN)
    except SystemExit as left:
        raise RuntimeError(f"{notice.notifier} wanted to end the process") from left
    except TimeoutError as hangs:
        why = f"{notice.notifier} did not end within {SENT_WITHIN:.0f} s; the others are told"
        raise TimeoutError(why) from hangs


def _run_links(context: Context) -> list[Link]:
    link = run_link(context)
    return [Link("Run in Airflow", link)] if link else []


def run_link(context: Context) -> str:
    """Address of the run in Airflow; empty where Airflow does not know its own."""
    base, dag = conf.get("api", "base_url", fallback=""), context.get("dag")
    if not base or dag is None:
        return ""
    run = quote(str(context["run_id"]), safe="")
    return f"{base.rstrip('/')}/dags/{dag.dag_id}/runs/{run}"


def task_failed(dataset: Dataset, context: Context) -> None:
    """Tell of a task that failed for good, and note it in the lake.

    A task of a shard leaves it to the run's report to tell of it.
    """
    sentence = f"{_what(dataset, context)} failed: {_next_step(dataset, context)}"
    log.error("%s", sentence)
    try:
        inbox = Inbox(Feed.of(dataset))
        _note(inbox, context)
        if not _is_of_a_shard(context):
            tell(dataset, inbox, verdict_of(dataset, inbox), context)
    except StoreError:
        log.exception("%s: the lake cannot be reached; what was told is not known", dataset.name)
        send_anyway(dataset, sentence, "failed", context)
    except Exception:  # a mistake in the code silences nobody
        log.exception("%s: the feed cannot be judged", dataset.name)
        send_anyway(dataset, sentence, "failed", context)


def task_is_retried(dataset: Dataset, context: Context) -> None:
    """Tell of a task that failed and is tried again."""
    sentence = f"{_what(dataset, context)} failed and is tried again by itself"
    log.error("%s", sentence)
    send_anyway(dataset, sentence, "retry", context)


def send_anyway(dataset: Dataset, sentence: str, event: Event, context: Context) -> None:
    """Send one sentence, whatever was told before."""
    for notice in dataset.notify:
        if event not in notice.on:
            continue
        try:
            _send(notice, plain(dataset, sentence.removeprefix(f"{dataset.name}: ")), context)
        except Exception:  # a notifier is anybody's code
            log.exception("%s: the notice by %s failed", dataset.name, notice.notifier)


def _note(inbox: Inbox, context: Context) -> None:
    error = failure(context)
    if isinstance(error, _SPOKEN_FOR):
        return
    why = printable(f"{type(error).__name__}: {error}") if error else "Airflow does not say why"
    failed = Failure(
        run=str(context["run_id"]), task=task_name(context), why=why, at=datetime.now(UTC)
    )
    note_failure(inbox.lake.store, failed)


def task_name(context: Context) -> str:
    """The task, with the number of its shard where it has one."""
    instance = context["ti"]
    index = getattr(instance, "map_index", -1)
    number = f"[{index}]" if isinstance(index, int) and index >= 0 else ""
    return f"{instance.task_id}{number}"


def _is_of_a_shard(context: Context) -> bool:
    return hasattr(context.get("task"), "batches")


def _next_step(dataset: Dataset, context: Context) -> str:
    if isinstance(failure(context), StoreError) and not _batches(context):
        return (
            "mend the cause; nothing is lost, and what is pending then is taken in by itself."
            f" `flagfall status {dataset.name}` shows what the watcher sees"
        )
    return f"mend the cause and clear the task, or `flagfall replay {dataset.name} BATCH`"


def _what(dataset: Dataset, context: Context) -> str:
    instance = context["ti"]
    error = failure(context)
    because = f" ({type(error).__name__}: {error})" if error else ""
    return printable(
        f"{dataset.name}: {instance.task_id} of {', '.join(_batches(context)) or 'no batch yet'}"
        f" in run {context['run_id']}{because}"
    )


def _batches(context: Context, shown: int = 3) -> list[str]:
    """Labels of the first batches that the task was given."""
    given = getattr(context.get("task"), "batches", None)
    markers = [batch.get("marker", batch) for batch in given] if isinstance(given, list) else []
    return [marker["uri"] for marker in markers[:shown]]
