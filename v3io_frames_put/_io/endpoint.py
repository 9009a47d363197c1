"""Where the platform is and who we are, checked once."""

from __future__ import annotations

import os
from base64 import b64encode
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from v3io_frames_put._wire.api import SESSION_KEY_HEADER
from v3io_frames_put.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Secret(str):
    """Text that does not show itself, also not where a tool prints all variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the platform is, how it is trusted, and who we are.

    Attributes
    ----------
    url : str or None
        ``"http://host:8081"``, without a slash at its end. None: only a stream path
        can say.
    verify : bool or str
        Whether TLS is verified; a path is a file or folder of certificates to trust.
    access_key, username, password : str or None
        The key wins over the pair.
    is_direct : bool
        Whether proxies of the environment are passed by.
    """

    url: str | None = None
    verify: bool | str | os.PathLike[str] = True
    access_key: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    is_direct: bool = False

    def __post_init__(self) -> None:
        if self.url is not None:
            object.__setattr__(self, "url", _parse_url(self.url))
        object.__setattr__(self, "verify", _parse_verify(self.verify))
        _check_header_text("access_key", self.access_key)
        _check_pair(self)

    @classmethod
    def from_env(cls, *, verify: bool | str | os.PathLike[str] = True) -> Endpoint:
        """Read ``V3IO_API``, ``V3IO_ACCESS_KEY``, ``V3IO_USERNAME``, ``V3IO_PASSWORD``."""
        found = {name: os.environ.get(f"V3IO_{name}") or None for name in _VARIABLES}
        return cls(
            url=found["API"],
            verify=verify,
            access_key=found["ACCESS_KEY"],
            username=found["USERNAME"],
            # A password alone names nobody; the platform's own pods may set just a user.
            password=found["PASSWORD"] if found["USERNAME"] else None,
        )

    @classmethod
    def find(cls, given: Endpoint) -> Endpoint:
        """Fill in from the environment what was not given.

        Its secrets go nowhere but to its own endpoint.
        """
        if given.url is not None:
            return given
        found = cls.from_env(verify=given.verify)
        is_anonymous = given.access_key is given.username is given.password is None
        return found if is_anonymous else given.at(found.url)

    def at(self, url: str | None) -> Endpoint:
        """Be the same user at another host; None: here."""
        return self if url is None else replace(self, url=url)

    def with_secrets_of(self, other: Endpoint) -> Endpoint:
        """Be here what we are elsewhere."""
        user = other.username or self.username
        password = other.password if user == other.username else None
        return replace(self, access_key=other.access_key, username=user, password=password)

    def without_secrets(self) -> Endpoint:
        """Leave out the key and the password."""
        return replace(self, access_key=None, password=None)

    def auth_headers(self) -> Mapping[str, str]:
        """Say who we are, as the platform wants to hear it."""
        if self.access_key is not None:
            return {SESSION_KEY_HEADER: Secret(self.access_key)}
        if self.username is not None and self.password is not None:
            pair = f"{self.username}:{self.password}".encode()
            return {"Authorization": Secret(f"Basic {b64encode(pair).decode()}")}
        return {}

    def hide_secrets(self, text: bytes) -> bytes:
        """Cross out who we are where a platform, or a proxy, repeats it.

        Nothing short, and no mere number, is looked for: it may stand there by chance.
        """
        pair = self.auth_headers().get("Authorization", "").removeprefix("Basic ")
        for secret in filter(None, (self.access_key, self.password, pair)):
            if len(secret) >= _MIN_SECRET and not secret.isdigit():
                text = text.replace(secret.encode(), b"***")
        return text


_MIN_SECRET = 8
_VARIABLES = ("API", "ACCESS_KEY", "USERNAME", "PASSWORD")


def _parse_url(text: object) -> str:
    """Check an endpoint, and give it the scheme it may lack and no slash at its end."""
    if not isinstance(text, str):
        raise ConfigError(f"endpoint: expected text, got {type(text).__name__}. {_EXAMPLE}")
    if "@" in text:
        # Not shown: what stands before the @ is a password.
        raise ConfigError(
            "endpoint holds credentials; expected none in the URL. "
            "Give them as username= and password=, or as access_key=."
        )
    url = text.strip() if "://" in text else f"http://{text.strip()}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"endpoint {text!r}: {error}. {_EXAMPLE}") from error
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ConfigError(f"endpoint {text!r}: expected http:// or https:// and a host. {_EXAMPLE}")
    if parts.path.strip("/") or parts.query or parts.fragment or not _is_host_text(url):
        raise ConfigError(f"endpoint {text!r}: expected only a host and a port. {_EXAMPLE}")
    return f"{parts.scheme}://{parts.netloc}"


_EXAMPLE = "Write it as 'https://host:8443', or set V3IO_API."


def _is_host_text(url: str) -> bool:
    return url.isprintable() and not any(character in url for character in ' "\\<>^`{|}')


def _parse_verify(verify: object) -> bool | str:
    """Check that a file of certificates is there."""
    if isinstance(verify, bool):
        return verify
    if not isinstance(verify, (str, os.PathLike)):
        raise ConfigError(f"verify={verify!r}: expected True, False or a file of certificates.")
    path = os.fspath(verify)
    if not isinstance(path, str) or not os.path.exists(path):  # noqa: PTH110  # a str it stays
        raise ConfigError(
            f"verify={path!r}: expected a file or folder of certificates, and there is none. "
            f"Correct the path."
        )
    return path


def _check_header_text(name: str, text: object) -> None:
    """Refuse what no HTTP header can hold; the text itself is never shown."""
    if text is None:
        return
    if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable():
        raise ConfigError(
            f"{name}: expected one line of ASCII text. Check for a line end or quotes around it."
        )
    if text != text.strip():
        raise ConfigError(f"{name}: expected no blanks around it. Strip them.")


def _check_pair(endpoint: Endpoint) -> None:
    """Refuse a password without a user, and what Basic authentication cannot hold."""
    for name in ("username", "password"):
        value = getattr(endpoint, name)
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"{name}: expected text, got {type(value).__name__}.")
    if endpoint.password is not None and not endpoint.username:
        raise ConfigError("password: expected a username with it. Give username= too.")
    if endpoint.username is not None and ":" in endpoint.username:
        raise ConfigError("username: expected no colon, which HTTP would read as its end.")
