"""Prints secrets for ``compose.yaml``, new ones each time; keep them in ``deploy/.env``."""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from pathlib import Path
from secrets import token_bytes, token_hex

PROJECT = Path(__file__).resolve().parent.parent
IMAGE_USER = 50000
"""The user of the image: where root runs this, in a project that is root's."""


def user() -> int:
    """Whose files landing zone and lake are: never root, which a container must not be.

    With ``sudo`` it is the owner of the project's folder.
    """
    return os.getuid() or PROJECT.stat().st_uid or IMAGE_USER


if __name__ == "__main__":
    for name in ("DB_PASSWORD", "API_SECRET", "JWT_SECRET"):
        print(f"FLAGFALL_{name}={token_hex(32)}")
    print(f"FLAGFALL_FERNET_KEY={urlsafe_b64encode(token_bytes(32)).decode()}")
    print(f"FLAGFALL_UID={user()}")
