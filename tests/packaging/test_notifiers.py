"""Airflow's own notifiers for Slack, PagerDuty, Microsoft Teams: what goes over the wire.

Each is the real class of its provider, in a fresh environment, since Flagfall's own has no need of
them. They talk to a server on this machine.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.canned import Answer, Asked, Canned, canned_server
from tests.certificates import write_certificate
from tests.feeds import make_toy
from tests.packaging.test_distributions import ROOT, built
from tests.packaging.test_environments import Environment, install

pytestmark = pytest.mark.slow

PROVIDERS = (
    "apache-airflow-providers-apprise==2.4.1",
    "apache-airflow-providers-pagerduty==5.3.1",
    "apache-airflow-providers-slack==9.11.1",
)
SLACK = "airflow.providers.slack.notifications.slack_webhook.SlackWebhookNotifier"
PAGERDUTY = "airflow.providers.pagerduty.notifications.pagerduty.PagerdutyNotifier"
APPRISE = "airflow.providers.apprise.notifications.apprise.AppriseNotifier"
NOTIFY = f"""\
notify:
  - {{notifier: {SLACK}, arguments: {{slack_webhook_conn_id: broken}}}}
  - {{notifier: {SLACK}}}
  - {{notifier: {PAGERDUTY}, arguments: {{severity: error}}}}
  - {{notifier: {APPRISE}}}
"""
NAME = "<https://evil.example|here>"
"""A producer's name of a batch."""
TELL = """\
import sys
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.inbox.inbox import Inbox
from flagfall.operators.notices import tell
from flagfall.stages.ingest import ingest
from flagfall.verdict.look import verdict_of
from flagfall.verdict.message import Link
from pagerduty import EventsApiV2Client

EventsApiV2Client.default_base_url = sys.argv[1]  # it knows PagerDuty's own only
dataset = find_dataset("toy")
inbox = Inbox(Feed.of(dataset))
for marker in inbox.pending():
    ingest(dataset, inbox, marker)
context = {"run_id": "run 1", "dag": None}
tell(dataset, inbox, verdict_of(dataset, inbox), context, [Link("Report", "https://lake.example")])
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    wheel = built(ROOT, "wheel", tmp_path_factory.mktemp("wheel") / "dist")
    return install(tmp_path_factory.mktemp("notifiers") / "it", f"{wheel}[airflow]", *PROVIDERS)


def answers(asked: Asked) -> Answer:
    """As each service answers; one of Slack's channels is gone."""
    if asked.path == "/services/broken":
        return Answer(404, b"no_service")
    if asked.path.startswith("/services"):
        return Answer(200, b"ok")
    return Answer(202, b'{"status": "success", "dedup_key": "k"}')


@pytest.fixture
def services(tmp_path: Path) -> Iterator[tuple[Canned, Canned]]:
    """A server, and one with TLS, which PagerDuty and Teams want."""
    write_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem")
    with canned_server(answers) as plain, canned_server(answers, tls) as secure:
        yield plain, secure


def connections(plain: Canned, secure: Canned) -> dict[str, str]:
    """Airflow's, as its environment has them."""
    slack = {"conn_type": "slackwebhook", "host": f"{plain.url}/services"}
    port = secure.url.rpartition(":")[2]
    flow = f"workflows://127.0.0.1:{port}/flow/signature"
    found: dict[str, Any] = {
        "SLACK_DEFAULT": {**slack, "password": "team"},
        "BROKEN": {**slack, "password": "broken"},
        "PAGERDUTY_EVENTS_DEFAULT": {"conn_type": "pagerduty_events", "password": "k" * 32},
        "APPRISE_DEFAULT": {
            "conn_type": "apprise",
            "extra": {"config": {"path": flow, "tag": "all"}},
        },
    }
    return {f"AIRFLOW_CONN_{name}": json.dumps(found) for name, found in found.items()}


def test_slack_pagerduty_and_teams_are_told_of_a_rejected_batch_though_one_channel_is_gone(
    environment: Environment, services: tuple[Canned, Canned], tmp_path: Path
) -> None:
    plain, secure = services
    toy = make_toy(tmp_path, more=NOTIFY)
    toy.drop(NAME.replace("/", "\u2215"), "nonsense\n")
    (tmp_path / "tell.py").write_text(TELL)
    where = {
        "FLAGFALL_DATASETS": str(tmp_path / "datasets"),
        "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
        "REQUESTS_CA_BUNDLE": str(tmp_path / "ca.pem"),
        **connections(plain, secure),
    }
    command = ("python", "-W", "ignore", str(tmp_path / "tell.py"), secure.url)
    for _ in range(2):
        said = environment.run(*command, **where)
        assert said.count(" failed; tried again") == 1, said
    assert [one.path for one in plain.asked] == [
        f"/services/{x}" for x in ("broken", "team", "broken")
    ]
    of_slack = json.loads(plain.asked[1].body)["text"]
    assert "&lt;https:" in of_slack
    assert "<https:" not in of_slack
    (of_pagerduty, of_teams) = (json.loads(one.body) for one in secure.asked)
    assert secure.asked[0].path == "/v2/enqueue"
    assert of_pagerduty["event_action"] == "trigger"
    assert of_pagerduty["payload"]["summary"].startswith("toy: https-evil.example-here (columns) ")
    assert "was rejected" in of_pagerduty["payload"]["custom_details"]
    (card,) = of_teams["attachments"]
    assert "was rejected and not corrected since" in json.dumps(card)
