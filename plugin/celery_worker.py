"""A Celery worker imports this as it starts; ``deploy/celery.env`` says so.

It loads no plugins before it forks its tasks.
"""

from __future__ import annotations

from flagfall.plugin.forked import import_for_tasks

import_for_tasks()
