"""Addresses of Flagfall's pages in Airflow (see ``flagfall.plugin``)."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from airflow.sdk.configuration import conf

from flagfall.operators.airflow_release import IS_3_3
from flagfall.verdict.message import Link

MOUNT = "/flagfall"
"""Where the pages are below Airflow's own address."""


def address(path: str) -> str:
    """The address of a page: in Airflow's frame where the release can open one there by address.

    Args:
        path: Below ``MOUNT``, such as ``/feeds/flights_pipeline``.

    Returns:
        A path of this server where Airflow does not know its own address.
    """
    base = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
    below = urlsplit(base).path
    frame = f"/plugin/flagfall{below}" if IS_3_3 else ""
    return f"{base}{frame}{MOUNT}{path}"


def report_page(dag_id: str, key: str) -> str:
    """The page with a report.

    Args:
        dag_id: The pipeline's DAG.
        key: Of the report below the dataset's folder: ``reports/<name>.html``.
    """
    name = key.rpartition("/")[2].removesuffix(".html")
    return address(f"/feeds/{quote(dag_id, safe='')}/reports/{quote(name, safe='')}")


def feed_link(dag_id: str) -> list[Link]:
    """The feed's page, where Airflow knows its own address."""
    link = address(f"/feeds/{quote(dag_id, safe='')}")
    return [Link("Feed in Airflow", link)] if link.startswith("http") else []
