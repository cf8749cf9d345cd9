"""What differs between the releases of Airflow, in one place.

Flagfall runs on 3.3 and, with two things less, on 3.2: there a task that cannot be helped fails by
``AirflowFailException``, since there are no retry policies; and a sensor starts on a worker, since
no task starts from its trigger.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import airflow

from flagfall.errors import HOPELESS, FlagfallError, NotFinished

OLDEST = (3, 2)
_AnyMethod = TypeVar("_AnyMethod", bound=Callable[..., Any])


class AirflowTooOld(FlagfallError):
    """Flagfall cannot run on this release of Airflow."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"Airflow {found} is too old: Flagfall needs 3.2 or 3.3. The triggerer of 3.1 dies when"
            " a trigger reads a connection in a thread (apache/airflow #64620); upgrade Airflow"
        )


def release(version: str) -> tuple[int, int]:
    """Major and minor number of a release.

    Raises:
        AirflowTooOld: Flagfall cannot run on it.
    """
    major, minor = version.split(".")[:2]
    if (found := (int(major), int(minor))) < OLDEST:
        raise AirflowTooOld(version)
    return found


IS_3_3 = release(airflow.__version__) >= (3, 3)
STARTS_FROM_TRIGGER = IS_3_3
"""Whether a sensor can start on the triggerer, without a worker."""


def retry_what_may_heal() -> dict[str, Any]:
    """Arguments of a task that is not retried where trying again cannot help.

    Empty on 3.2: there its operator fails for good by itself (see ``fails_for_good``).
    """
    if not IS_3_3:
        return {}
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

    rule = RetryRule(
        exception=[f"{kind.__module__}.{kind.__name__}" for kind in (*HOPELESS, NotFinished)],
        action=RetryAction.FAIL,
        reason="trying again cannot help: somebody has to change something first",
    )
    return {"retry_policy": ExceptionRetryPolicy(rules=[rule])}


def fails_for_good(method: _AnyMethod) -> _AnyMethod:
    """Have a method of an operator fail for good where trying again cannot help.

    On 3.3 the task's retry policy sees to that, and the method stays as it is.
    """
    if IS_3_3:
        return method
    from airflow.sdk.exceptions import AirflowFailException

    @wraps(method)
    def failing(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except (*HOPELESS, NotFinished) as error:
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error

    return failing  # type: ignore[return-value]  # the same signature
