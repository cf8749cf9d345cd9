"""What tasks do: imported on a worker when one runs, not wherever a DAG file is read."""

from __future__ import annotations

from flagfall.triggers import connections

connections.use()
