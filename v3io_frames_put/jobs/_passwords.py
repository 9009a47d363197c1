"""URLs of files as they may be shown."""

from __future__ import annotations

import re
from typing import Final

_SECRETS: Final = [
    # Up to the last @ before a slash; where none is, a slash may stand in it: unless it is a port.
    re.compile(r"(://[^/@:\[\s]*:)(?:[^/\s]*@|(?!\d+(?:/|$))\S*?@)"),
    re.compile(r"(https?://)[^/@:\s]+@", re.IGNORECASE),  # a token instead of a name
]
_URL: Final = re.compile(r"\w://\S+")
_SIGNATURE: Final = re.compile(
    r"([?&#](?:sig|(?:[\w-]+-)?signature|[\w-]+-security-token|(?:access_|api_)?(?:token|key)"
    r"|accesskey|password)=)[^&\s'\"]+",
    re.IGNORECASE,
)


def hide_password(text: str) -> str:
    """Cross out what opens a URL to whoever has it, wherever it stands in a text."""
    for secret in _SECRETS:
        text = secret.sub(r"\1***@", text)
    return _URL.sub(lambda url: _SIGNATURE.sub(r"\1***", url[0]), text)


def public_cause(error: Exception) -> Exception | None:
    """Return an error that may be shown: one without a password in its text."""
    return error if hide_password(str(error)) == str(error) else None
