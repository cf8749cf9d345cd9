"""Tokens for inference servers. A dataset file names a connection and has no secret.

Inside Airflow, ``flagfall.triggers`` sets its own look-up (``look_up_with``): the token is the
connection's password. Outside, in a container or on the command line, the token is in the
environment: ``FLAGFALL_TOKEN_SCORING`` for the connection ``scoring``.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from flagfall.errors import NotThere


def of_environment(conn_id: str) -> str:
    """Return the token of a connection from the environment.

    Raises:
        NotThere: Its variable is not set.
    """
    variable = f"FLAGFALL_TOKEN_{conn_id.upper()}"
    if not (found := os.environ.get(variable)):
        raise NotThere("token for", conn_id, f"set {variable}, or leave model.server.conn_id out")
    return found


_look_up: Callable[[str], str] = of_environment


def look_up_with(function: Callable[[str], str]) -> None:
    """Set the function that returns the token of a connection id."""
    global _look_up
    _look_up = function


def token(conn_id: str) -> str:
    """Return the token of a connection; empty if ``conn_id`` is empty.

    Raises:
        NotThere: There is no token, or it cannot be sent in a header. It is not shown.
    """
    found = _look_up(conn_id).strip() if conn_id else ""
    if not found.isascii() or not found.isprintable():
        raise NotThere("usable token for", conn_id, "expected printable ASCII on one line")
    return found
