"""S3's errors, and those of its two clients, translated in one place.

An error that may heal by itself becomes ``StoreUnavailable``, any other ``StoreRefused``; an absent
object stays ``FileNotFoundError``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flagfall.errors import AccessDenied, StoreError, StoreRefused, StoreUnavailable

_CODE = re.compile(r"<Code>([\w.]+)</Code>|\(code: ([\w.]+)\)")
_HTTP = re.compile(r"status code: (\d{3})")
_OTHER_REGION = re.compile(r"configured region|AuthorizationHeaderMalformed|PermanentRedirect")
_CUSTOMERS_KEY = "Server Side Encryption"
"""In the message of S3's ``InvalidRequest`` for an object that has a key of its own (SSE-C)."""
_NO_RIGHTS = (
    "access denied; the role needs s3:ListBucket on the bucket and s3:GetObject below the prefix"
    " (in the lake s3:PutObject and s3:DeleteObject, too)"
)
_BAD_KEYS = (
    "the credentials are not accepted; correct them in the Airflow connection or the environment"
)
_NO_KEY = (
    "the object was encrypted with a key of its producer's (SSE-C) or with one that is disabled or"
    " deleted; have it written again with a key that may be used"
)
_KEY_REFUSED = "no usable key"
"""Our word for what S3 has several for."""
_REFUSED = {
    "NoSuchBucket": "there is no such bucket; check the URI in the dataset file and the account",
    "AccessDenied": _NO_RIGHTS,
    "AllAccessDisabled": _NO_RIGHTS,
    "AccountProblem": "AWS says that there is a problem with the account",
    "InvalidAccessKeyId": _BAD_KEYS,
    "SignatureDoesNotMatch": _BAD_KEYS,
    "InvalidToken": _BAD_KEYS,
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "InvalidObjectState": "the object is archived; restore it first",
    "MethodNotAllowed": "the object is a delete marker, or may not be written",
    "KeyTooLongError": "the key is longer than 1,024 bytes; use shorter names",
    "403": f"{_NO_RIGHTS}, or {_BAD_KEYS}",
    _KEY_REFUSED: _NO_KEY,
}
_OF_THE_OBJECT = ("AccessDenied", "403", "InvalidObjectState", "MethodNotAllowed", _KEY_REFUSED)
"""What may concern one object alone: another account's, or one that is archived."""
_KEY_CODES = tuple(
    f"KMS.{why}Exception" for why in ("Disabled", "KMSInvalidState", "NotFound", "InvalidKeyUsage")
)
_THROTTLED = "S3 asks to slow down (throttled); it is asked again later"
_EXPIRED = "the credentials have expired; renew them in the Airflow connection or the environment"
_MAY_HEAL = {
    "SlowDown": _THROTTLED,
    "503": _THROTTLED,
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "PreconditionFailed": "the object was written again while it was read",
}
_LOOK_UP_AGAIN = {"401", "403"} | {
    code for code, why in (_REFUSED | _MAY_HEAL).items() if why in (_BAD_KEYS, _EXPIRED)
}
"""What the credentials may be to blame for; a HEAD is answered with nothing but a number."""
_ELSEWHERE = (
    "the bucket is in another region; set region_name in the Airflow connection or"
    " AWS_DEFAULT_REGION in the environment"
)
_NO_CREDENTIALS = (
    "no AWS credentials for now; see what the Airflow connection, the environment or the role says"
)
_UPLOAD_GONE = (
    "S3 knows the upload no more: it is complete, or was broken off; it is done once more"
)
NO_ANSWER = "S3 does not answer as it should; check the network, the proxy and the endpoint"


class OtherRegion(StoreRefused):
    """The bucket is not in the region that was asked."""


_OWN_KEY = (
    "where others can be read, this one was encrypted with a key of its producer's (SSE-C) or with"
    " one that is disabled: have it written again"
)


class BadRequest(StoreUnavailable):
    """400 and no word why: a proxy, expired credentials, or a HEAD in another region."""


class UnusableKey(StoreRefused):
    """A listing has a key that obstore cannot represent."""


@contextmanager
def translated(uri: str, key: str, forget: Callable[[], None]) -> Iterator[None]:
    """Translate errors of obstore and botocore.

    Args:
        uri: The store's.
        key: Of the object that is asked for; empty for none.
        forget: Called where the credentials may be to blame: the next request looks them up anew.

    Raises:
        FileNotFoundError: There is no such object.
        StoreError: Anything else.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from obstore.exceptions import BaseError, InvalidPathError

    where = f"{uri}/{key}" if key else uri
    try:
        yield
    except InvalidPathError as error:
        raise UnusableKey(where, "a key that cannot be represented") from error
    except FileNotFoundError as error:
        raise _absent(uri, where, str(error)) from None
    except (BaseError, BotoCoreError, ClientError) as error:
        if _may_be_the_credentials(error):
            forget()
        raise _translation(where, error) from error


def _absent(uri: str, where: str, said: str) -> Exception:
    if "<Code>NoSuchBucket<" in said:
        return StoreRefused(uri, _REFUSED["NoSuchBucket"])
    if "<Code>NoSuchUpload<" in said:
        return StoreUnavailable(where, _UPLOAD_GONE)
    return FileNotFoundError(where)


def _may_be_the_credentials(error: Exception) -> bool:
    from flagfall.stores.aws import is_misconfigured

    if _OTHER_REGION.search(str(error)):
        return False
    blamed = _code_of(error) in _LOOK_UP_AGAIN
    return blamed or is_misconfigured(error) or _is_without_credentials(error)


def _translation(where: str, error: Exception) -> StoreError:
    from flagfall.stores.aws import is_misconfigured

    said, code = str(error), _code_of(error)
    if _OTHER_REGION.search(said):
        return OtherRegion(where, _ELSEWHERE)
    if is_misconfigured(error):
        return StoreRefused(where, said)
    if code in _OF_THE_OBJECT:
        return AccessDenied(where, _REFUSED[code])
    if code in _REFUSED:
        return StoreRefused(where, _REFUSED[code])
    if code == "400":
        return BadRequest(where, f"{NO_ANSWER} (HTTP status 400); {_OWN_KEY}")
    return StoreUnavailable(where, _MAY_HEAL.get(code) or _excuse(error, code))


def _code_of(error: Exception) -> str:
    """What S3 calls an error, or the HTTP status; empty where there was no answer."""
    code = _said_code(error)
    is_customers = code == "InvalidRequest" and _CUSTOMERS_KEY in str(error)
    return _KEY_REFUSED if is_customers or code in _KEY_CODES else code


def _said_code(error: Exception) -> str:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", ""))
    found = _CODE.search(str(error)) or _HTTP.search(str(error))
    return next(filter(None, found.groups())) if found else ""


def _is_without_credentials(error: Exception) -> bool:
    from botocore.exceptions import CredentialRetrievalError, NoCredentialsError
    from obstore.exceptions import UnauthenticatedError

    return isinstance(error, UnauthenticatedError | CredentialRetrievalError | NoCredentialsError)


def _excuse(error: Exception, code: str) -> str:
    """What to say of an error that may heal; of the answer itself, at most its status."""
    if _is_without_credentials(error) and not code:
        return f"{_NO_CREDENTIALS} ({_short(str(error))})"
    if code.isdecimal():
        return f"{NO_ANSWER} (HTTP status {code})"
    return f"S3 says {code}" if code else f"{NO_ANSWER} ({_short(str(error))})"


def _short(said: str) -> str:
    return said.split("\n\nDebug source", 1)[0].removeprefix("Generic S3 error: ")[:300]
