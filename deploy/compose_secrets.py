"""Prints secrets for ``compose.yaml``, new ones each time; keep them in ``deploy/.env``."""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from secrets import token_bytes, token_hex

if __name__ == "__main__":
    for name in ("DB_PASSWORD", "API_SECRET", "JWT_SECRET"):
        print(f"FLAGFALL_{name}={token_hex(32)}")
    print(f"FLAGFALL_FERNET_KEY={urlsafe_b64encode(token_bytes(32)).decode()}")
    print(f"FLAGFALL_UID={os.getuid()}")
