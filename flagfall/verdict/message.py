"""A message to people: one line, a text, and the same as HTML in which nothing is markup but ours.

Names and reasons quote what producers write. In the text each stands on a line of its own and
prints as it is; in HTML it is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from flagfall.dataset.schema import Dataset
from flagfall.errors import printable
from flagfall.verdict.reason import Reason
from flagfall.verdict.told import News
from flagfall.verdict.verdict import Verdict
from flagfall.verdict.words import cut, minute

SUBJECT = 120
DETAILS = 5
"""Characters of a subject, and details of a reason that are shown."""
LONGEST = 300
"""Characters of one line that quotes a producer."""


@dataclass(frozen=True)
class Link:
    """Where to look; a link in HTML where a browser opens it."""

    name: str
    uri: str


@dataclass(frozen=True)
class Message:
    """What a notifier sends.

    Attributes:
        subject: A short line.
        sentence: The verdict and what is new, in one line.
        text: All of it, plain.
        html: All of it, as HTML.
    """

    subject: str
    sentence: str
    text: str
    html: str


@dataclass(frozen=True)
class _Part:
    """A heading, and what stands below it."""

    heading: str
    lines: tuple[str, ...]


def message(dataset: Dataset, verdict: Verdict, news: News, links: Sequence[Link]) -> Message:
    """The message on what is new.

    Args:
        dataset: The feed.
        verdict: On it.
        news: What has not been told yet.
        links: Where to look.
    """
    first = news.new[0].what if news.new else f"over: {news.over[0].what}"
    parts = list(_parts(dataset, verdict, news))
    name = f"{dataset.name} ({cut(dataset.title, 60)})"
    title = printable(f"{name}: {verdict.sentence}")
    return Message(
        subject=cut(printable(f"{dataset.name}: {first}"), SUBJECT),
        sentence=cut(printable(_sentence(dataset, verdict, news)), 3 * LONGEST),
        text=_text(title, parts, links),
        html=_html(title, parts, links),
    )


def plain(dataset: Dataset, sentence: str) -> Message:
    """A message that is one sentence: where nothing more can be known."""
    line = printable(f"{dataset.name}: {sentence}")
    part = [_Part("What helps", (f"flagfall status {dataset.name}",))]
    return Message(cut(line, SUBJECT), line, _text(line, part, ()), _html(line, part, ()))


def _sentence(dataset: Dataset, verdict: Verdict, news: News) -> str:
    told = [f"{reason.what} ({reason.remedy})" for reason in news.new]
    told += [f"over: {one.what}" for one in news.over]
    return f"{dataset.name}: {verdict.word}: {'; '.join(told)}"


def _parts(dataset: Dataset, verdict: Verdict, news: News) -> Iterator[_Part]:
    for reason in news.new:
        yield _Part(reason.what, tuple(_about(reason)))
    old = [reason for reason in verdict.reasons if reason not in news.new]
    if old:
        yield _Part("Open as before", tuple(reason.what for reason in old))
    if news.over:
        yield _Part("Over", tuple(dict.fromkeys(told.what for told in news.over)))
    yield _Part("What helps", tuple(_commands(dataset, news.new)))


def _about(reason: Reason) -> Iterator[str]:
    if reason.since:
        yield f"since {minute(reason.since)}"
    yield f"what to do: {reason.remedy}"
    yield from reason.details[:DETAILS]
    if (more := len(reason.details) - DETAILS) > 0:
        yield f"{more:,} more"


def _commands(dataset: Dataset, reasons: Iterable[Reason]) -> Iterator[str]:
    yield f"flagfall status {dataset.name}"
    if any(reason.kind == "rejected" for reason in reasons):
        yield f"flagfall replay {dataset.name} BATCH"
        yield f"flagfall dismiss {dataset.name} BATCH --why TEXT (if it is to stay rejected)"


def _text(title: str, parts: Iterable[_Part], links: Iterable[Link]) -> str:
    lines = [title]
    for part in parts:
        lines += ["", printable(cut(part.heading, LONGEST))]
        lines += [f"  {printable(cut(line, LONGEST))}" for line in part.lines]
    shown = [f"{link.name}: {printable(link.uri)}" for link in links]
    return "\n".join([*lines, *([""] if shown else []), *shown])


def _html(title: str, parts: Iterable[_Part], links: Iterable[Link]) -> str:
    blocks = [f"<p><strong>{_safe(title)}</strong></p>"]
    for part in parts:
        items = "".join(f"<li>{_safe(cut(line, LONGEST))}</li>" for line in part.lines)
        blocks.append(f"<p>{_safe(cut(part.heading, LONGEST))}</p><ul>{items}</ul>")
    return "\n".join([*blocks, *(f"<p>{_link(link)}</p>" for link in links)])


def _link(link: Link) -> str:
    uri = _safe(link.uri)
    if link.uri.startswith(("http://", "https://")):
        return f'<a href="{uri}">{_safe(link.name)}</a>'
    return f"{_safe(link.name)}: <code>{uri}</code>"


def _safe(text: str) -> str:
    return escape(printable(text))
