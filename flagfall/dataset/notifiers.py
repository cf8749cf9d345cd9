"""Notifiers that a dataset names: whether they can be used, before a task has failed.

They are Airflow's classes. This module imports those that are named, and of Airflow the names that
a template may use.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from flagfall.dataset.schema import Notice
from flagfall.dataset.templates import why_not_rendered
from flagfall.errors import Problem, shown

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_PLAIN = r"\bnotice(_text|_subject)?\b"
_UNESCAPED = re.compile(r"\{\{(?=[^}]*" + _PLAIN + r")(?![^}]*\|\s*(e|escape)\b)[^}]*\}\}")
_EXAMPLE = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
_BASE = "BaseNotifier"


def notifier_problems(notices: Sequence[Notice]) -> Iterator[Problem]:
    """Why notices of a dataset cannot be sent."""
    for index, notice in enumerate(notices):
        if why := _why_unusable(notice):
            yield Problem(f"notify[{index}].notifier", None, why)
        else:
            yield from _template_problems(index, notice)
        for name, value in notice.arguments.items():
            is_html = "html" in name.lower() and isinstance(value, str)
            if is_html and _UNESCAPED.search(value):
                why = "expected {{ notice | e }}: a file's name that it quotes may be HTML"
                yield Problem(
                    f"notify[{index}].arguments.{name}", None, f"{why}, got {shown(value)}"
                )


def _template_problems(index: int, notice: Notice) -> Iterator[Problem]:
    """Arguments of a notifier that can be used which Jinja cannot render when it is sent."""
    notifier = _imported(notice.notifier)
    for name, value in notice.arguments.items():
        if name in getattr(notifier, "template_fields", ()):
            for text in _texts(value, tuple(getattr(notifier, "template_ext", ()))):
                if why := why_not_rendered(text, notifier.template_fields):
                    yield Problem(f"notify[{index}].arguments.{name}", None, why)


def _texts(value: Any, of_files: tuple[str, ...]) -> Iterator[str]:
    """Texts that are rendered, in lists and mappings, too; a file's name is none."""
    if isinstance(value, str) and not value.endswith(of_files):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one, of_files)


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _why_unusable(notice: Notice) -> str:
    path = notice.notifier
    if not _PATH.fullmatch(path):
        return f"expected the path of a notifier's class such as {_EXAMPLE}, got {path!r}"
    try:
        found = _imported(path)
    except Exception as error:  # importing it runs somebody's code
        return f"{path!r} cannot be imported ({error}); correct it, or install its provider"
    if not _is_notifier(found):
        why = f"expected a class that inherits from Airflow's {_BASE}, such as {_EXAMPLE}"
        return f"{why}, got {path!r}"
    return _why_not_these(found, notice.arguments)


def _is_notifier(found: Any) -> bool:
    return inspect.isclass(found) and any(
        base.__name__ == _BASE and base.__module__.startswith("airflow.") and base is not found
        for base in found.__mro__
    )


_MESSAGES = {
    "subject": "{{ notice_subject }}",
    "summary": "{{ notice_subject }}",
    "title": "{{ notice_subject }}",
    "custom_details": "{{ notice_text }}",
    "html_content": "{{ notice_html }}",
    "text": "{{ notice_text }}",
    "message": "{{ notice_text }}",
    "body": "{{ notice_text }}",
}
"""Arguments of notifiers that carry a message, by their usual names."""
_FOR_SLACK = (
    "{{ notice_text | replace('&', '&amp;') | replace('<', '&lt;') | replace('>', '&gt;') }}"
)
"""Slack reads ``<https://…|text>`` as a link."""


def with_message(notifier: type, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, with the message in those that carry one, are templated and were not given."""
    known = inspect.signature(notifier).parameters
    templated = getattr(notifier, "template_fields", ())
    if ".slack." in notifier.__module__ and "text" in known:
        return {"text": _FOR_SLACK, **arguments}
    usual = {name: text for name, text in _MESSAGES.items() if name in known and name in templated}
    return usual | arguments


def _why_not_these(notifier: type, arguments: dict[str, Any]) -> str:
    try:
        inspect.signature(notifier).bind(**with_message(notifier, arguments))
    except TypeError as error:
        return f"its arguments do not fit: {error}"
    return ""
