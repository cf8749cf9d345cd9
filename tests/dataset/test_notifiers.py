from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import BaseNotifier

from flagfall.dataset.notifiers import notifier_problems
from flagfall.dataset.schema import Notice


class Good(BaseNotifier):  # type: ignore[misc]  # Airflow's has no annotations
    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Any) -> None:
        """Do nothing."""


class Templated(Good):
    template_fields = ("text",)
    template_ext = (".html",)


NO_NOTIFIER = "text"


def problems(path: str, **arguments: Any) -> list[str]:
    notices = [Notice(notifier=path, arguments=arguments)]
    return [str(problem) for problem in notifier_problems(notices)]


def test_one_that_can_be_sent_has_none() -> None:
    assert problems(f"{__name__}.Good", text="{{ notice }}") == []


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("airflow.providers.slak.SlackNotifier", "cannot be imported"),
        ("airflow.providers.smtp.notifications.smtp.Smtp", "cannot be imported"),
        ("json.JSONDecoder", "inherits from Airflow's BaseNotifier"),
        (f"{__name__}.NO_NOTIFIER", "inherits from Airflow's BaseNotifier"),
        ("airflow.sdk.BaseNotifier", "inherits from Airflow's BaseNotifier"),
        ("SmtpNotifier", "expected the path of a notifier's class"),
        ("a/b.py:Notifier", "expected the path of a notifier's class"),
        (f"{__name__}.Good", "missing a required argument: 'text'"),
    ],
)
def test_one_that_cannot_be_used_is_named_with_the_remedy(path: str, says: str) -> None:
    (found,) = problems(path)
    assert found.startswith("notify[0].notifier: ")
    assert says in found


class Mail(Good):
    def __init__(self, html_content: str) -> None:
        super().__init__(html_content)


@pytest.mark.parametrize(
    ("content", "is_good"),
    [
        ("{{ notice }}", False),
        ("<p>{{notice|upper}}</p>", False),
        ("{{ notice | e }}", True),
        ("<p>{{ notice|escape }}</p>", True),
        ("{{ run_id }}", True),
    ],
)
def test_a_notice_in_html_is_escaped(content: str, is_good: bool) -> None:
    assert (problems(f"{__name__}.Mail", html_content=content) == []) is is_good


def test_an_argument_that_it_does_not_know_is_named() -> None:
    assert "unexpected keyword argument 'txt'" in problems(f"{__name__}.Good", text="", txt="x")[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ notice_subject }", "unexpected '}'"),
        ("{{ notice_sujbect }}", "'notice_sujbect' is undefined; 'notice_subject' is known"),
        ("{% if notice %}x", "Unexpected end of template"),
        ("{{ notice | nofilter }}", "No filter named 'nofilter'"),
        (["plain", {"a": "{{ notise }}"}], "'notise' is undefined; 'notice' is known"),
    ],
)
def test_a_template_that_jinja_cannot_render_is_named(text: Any, says: str) -> None:
    (found,) = problems(f"{__name__}.Templated", text=text)
    assert found.startswith("notify[0].arguments.text: expected a template that Jinja can render: ")
    assert says in found


@pytest.mark.parametrize(
    "text",
    [
        "{{ notice_text | replace('&', '&amp;') }}",
        "{{ ds | ds_nodash }} {{ ti.task_id }} {{ macros.ds_add(ds, 1) }} {{ try_number + 1 }}",
        "{{ var.value.channel }}{% for one in dag_run.conf %}{{ one }}{% endfor %}",
        "{{ mine | default('none') }}{% if mine is defined %}x{% endif %}",
        "{{ text }}{% do [].append(1) %}",
        "no template { at all",
        "some_file.html",
        5,
    ],
)
def test_what_airflow_and_the_notifier_offer_can_be_rendered(text: Any) -> None:
    assert problems(f"{__name__}.Templated", text=text) == []


def test_an_argument_that_is_no_template_may_have_any_text() -> None:
    assert problems(f"{__name__}.Good", text="{{ nope }") == []
