"""Who asks, and whether he may.

The platform takes its own header, Basic credentials, and the AWS forms without looking at
their signature.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import TYPE_CHECKING, Final

from v3io_frames_put.local._messages import (
    PERMISSION_DENIED,
    UNAUTHORIZED,
    RefusedError,
    Request,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from v3io_frames_put.local._rules import AccessKey

_AWS: Final = re.compile(r"AWS ([^:\s]+):|AWS4-\S+ .*?Credential=([^/,\s]+)")

_READING: Final = frozenset({"Seek", "GetRecords", "GetItem", "GetItems", "GET", "HEAD"})
#: DescribeStream has answered those without permission for most of the platform's life.
_OPEN: Final = frozenset({"DescribeStream"})


def check_access(request: Request, keys: tuple[AccessKey, ...]) -> None:
    """Refuse who is not known (401) and what he may not do (403); no keys, no checks."""
    if not keys:
        return
    key = _find_key(request, keys)
    if key is None:
        raise RefusedError(UNAUTHORIZED)
    may = key.may_read if request.function in _READING else key.may_write
    if not may and request.function not in _OPEN:
        raise RefusedError(PERMISSION_DENIED)


def _find_key(request: Request, keys: Iterable[AccessKey]) -> AccessKey | None:
    """Return the key a request carries."""
    session = request.header("X-v3io-session-key")
    authorization = request.header("Authorization") or ""
    aws = _AWS.match(authorization)
    sent = session or (aws and (aws[1] or aws[2]))
    if sent:
        return next((key for key in keys if key.key == sent), None)
    username, password = _basic(authorization)
    return next((key for key in keys if key.accepts(username, password)), None)


def _basic(authorization: str) -> tuple[str, str]:
    """Return user name and password of a Basic header, empty when there are none."""
    scheme, _, coded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        username, _, password = b64decode(coded, validate=True).decode().partition(":")
    except ValueError as error:
        raise RefusedError(UNAUTHORIZED) from error
    return username, password
