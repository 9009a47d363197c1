"""URLs of files as they may be shown."""

from __future__ import annotations

import re
from typing import Final

# Up to the last @ before a slash; where none is, a slash may stand in it: unless it is a port.
_PASSWORD: Final = re.compile(r"(://[^/@:\s]*:)(?:[^/\s]*@|(?!\d+(?:/|$))\S*?@)")


def hide_password(text: str) -> str:
    """Cross the password of a URL out, wherever it stands in a text."""
    return _PASSWORD.sub(r"\1***@", text)


def public_cause(error: Exception) -> Exception | None:
    """Return an error that may be shown: one without a password in its text."""
    return error if hide_password(str(error)) == str(error) else None
