"""Tokens for inference servers; a dataset file names a connection and has no secret.

Inside Airflow the adapters put their own way here (``look_up_with``): the token is the connection's
password. Outside, in a container or on the command line, it is in the environment: for the
connection ``scoring`` in ``FLAGFALL_TOKEN_SCORING``.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from flagfall.errors import NotThere


def of_environment(conn_id: str) -> str:
    """The token that the environment has for a connection.

    Raises:
        NotThere: It has none.
    """
    variable = f"FLAGFALL_TOKEN_{conn_id.upper()}"
    if not (found := os.environ.get(variable)):
        raise NotThere("token for", conn_id, f"set {variable}, or leave model.server.conn_id out")
    return found


_look_up: Callable[[str], str] = of_environment


def look_up_with(function: Callable[[str], str]) -> None:
    """Have tokens looked up by ``function``, which is given a connection id."""
    global _look_up
    _look_up = function


def token(conn_id: str) -> str:
    """The token of a connection; empty without one.

    Raises:
        NotThere: There is none, or it cannot stand in a header. It is not shown.
    """
    found = _look_up(conn_id).strip() if conn_id else ""
    if not found.isascii() or not found.isprintable():
        raise NotThere("usable token for", conn_id, "expected printable ASCII on one line")
    return found
