"""What differs between Airflow 3.2 and 3.3, in one place. ``flagfall.extras`` refuses older ones.

Flagfall runs on 3.3 and, with two things less, on 3.2: there a task that cannot be helped fails by
``AirflowFailException``, since there are no retry policies; and a sensor starts on a worker, since
no task starts from its trigger.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from flagfall.errors import HOPELESS, NotFinished
from flagfall.extras import airflow_release

if TYPE_CHECKING:
    from airflow.sdk import Context

_AnyMethod = TypeVar("_AnyMethod", bound=Callable[..., Any])

IS_3_3 = airflow_release() >= (3, 3)
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


def failure(context: Context) -> str | BaseException | None:
    """The error that made a task fail; ``None`` where Airflow does not say.

    On 3.2 it is the one that ``fails_for_good`` caught, not the ``AirflowFailException`` that
    replaced it.
    """
    error = context.get("exception")
    if IS_3_3:
        return error
    from airflow.sdk.exceptions import AirflowFailException

    return (isinstance(error, AirflowFailException) and error.__cause__) or error
