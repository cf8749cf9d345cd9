"""The plugin (entry point ``airflow.plugins``): the pages' address, and where Airflow links them.

A mounted application inherits none of Airflow's guards: ``app.py`` has the pages' own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

NAME = "flagfall"

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class LazyPages:
    """The pages' application, which is imported when the first page is asked for."""

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serve a request."""
        from flagfall.plugin.app import pages

        await pages()(scope, receive, send)


def _view(name: str, route: str, destination: str, path: str) -> dict[str, str]:
    """A page of Airflow's UI that shows one of ours.

    Addresses are relative: Airflow may itself be below a path of its server.
    """
    return {
        "name": name,
        "href": f"{NAME}{path}",
        "url_route": route,
        "destination": destination,
        "icon": f"{NAME}/static/icon.svg",
        "icon_dark_mode": f"{NAME}/static/icon-dark.svg",
    }


class FlagfallPlugin(AirflowPlugin):
    """Feeds in the navigation, a feed beside its DAG, its batches beside their run."""

    name = NAME
    fastapi_apps = [  # noqa: RUF012  as Airflow declares it
        {"app": LazyPages(), "url_prefix": f"/{NAME}", "name": "Flagfall"}
    ]
    external_views = [  # noqa: RUF012
        {**_view("Feeds", NAME, "nav", "/"), "nav_top_level": True},
        _view("Feed", "flagfall-feed", "dag", "/feeds/{DAG_ID}"),
        _view("Batches", "flagfall-run", "dag_run", "/feeds/{DAG_ID}/runs/{RUN_ID}"),
    ]

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Airflow calls it in each of its processes, and in each task."""
        from flagfall.plugin.forked import import_if_scheduler

        import_if_scheduler()
