"""Templates of notifiers: whether Jinja can render them, tried with stand-ins for every value."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from importlib import import_module
from typing import Any

MESSAGES = ("notice", "notice_subject", "notice_text", "notice_html")
"""Names of what Flagfall says, for templates."""
_FILTERS = ("ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz")
"""Of Airflow's own."""


class _Anything:
    """Stands in for a value of Airflow: has every attribute and item, and can be called."""

    unsafe_callable = alters_data = False
    """What Jinja's sandbox asks of what is called."""

    def __getattr__(self, name: str) -> _Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key: object) -> _Anything:
        return self

    def __call__(self, *given: object, **named: object) -> _Anything:
        return self

    def __iter__(self) -> Iterator[_Anything]:
        return iter(())

    def __str__(self) -> str:
        return ""


def why_not_rendered(text: str, fields: Collection[str]) -> str:
    """Why a template cannot be rendered; empty where it can be.

    Names must be known, as Airflow has it. What a template does with a value of Airflow is not
    tried: the stand-in may not be able to do it.

    Args:
        text: The template.
        fields: Further names: a notifier's own fields.
    """
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=StrictUndefined, extensions=["jinja2.ext.do"])
    environment.filters.update(dict.fromkeys(_FILTERS, str))
    anything = dict.fromkeys((*_names_of_airflow(), *fields), _Anything())
    try:
        environment.from_string(text).render(anything | {name: name for name in MESSAGES})
    except TemplateError as error:
        return f"expected a template that Jinja can render: {_why(error)}, got {text!r}"
    except Exception:  # the stand-in's fault, for all that is known
        return ""
    return ""


def _why(error: Exception) -> str:
    """Jinja's words, and the name that may have been meant."""
    said = " ".join(str(error).split()).removesuffix(".")
    name = said.partition("'")[2].partition("'")[0]
    meant = get_close_matches(name, MESSAGES, n=1) if said.endswith("is undefined") else []
    return f"{said}; {meant[0]!r} is known" if meant else said


def _names_of_airflow() -> Collection[str]:
    known: dict[str, Any] = import_module("airflow.sdk").Context.__annotations__
    return known
