"""Where the platform is and who we are, checked once."""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, SupportsIndex
from urllib.parse import quote, quote_plus, unquote, urlsplit

from .._wire.api import SESSION_KEY_HEADER
from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Secret(str):
    """Text that does not show itself where a tool prints the variables of a frame."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __getitem__(self, place: SupportsIndex | slice) -> Secret:
        """Return a part, which is a secret, too: tools cut long texts before they show them."""
        return Secret(super().__getitem__(place))


class SecretBytes(bytes):
    """Bytes that do not show themselves, such as the head of a request."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'***'"


def conceal(value: object) -> Any:
    """Return a key or a password as a value whose repr hides it; None stays None.

    To be called before anything can be raised: tracebacks may show the variables of a frame.
    What is not text becomes empty text, which is refused.
    """
    return None if value is None else Secret(value if isinstance(value, str) else "")


_MIN_SECRET: Final = 4
_MIN_DISTINCT: Final = 8  # a shorter secret may be part of a word by chance
_JSON_TEXT: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')


class Secrets:
    """Hides secrets in text that others wrote, however they are spelled.

    Found are the plain text, JSON and backslash escapes, percent-encoding and the entities of
    HTML. A secret that is shorter than eight characters, or only digits, is hidden where it is a
    whole word; in JSON only within texts, as a number may equal it by chance. One of fewer than
    four characters is not looked for.

    Parameters
    ----------
    texts : iterable of str
        The secrets.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        distinct: set[str] = set()
        common: set[str] = set()
        for text in texts:
            if len(text) >= _MIN_DISTINCT and not text.isdigit():
                distinct |= _spellings(text)
            elif len(text) >= _MIN_SECRET:
                common |= _spellings(text)
        self._distinct = _compile(distinct, rb"(?:%b)")
        self._common = _compile(common, rb"(?<![0-9A-Za-z])(?:%b)(?![0-9A-Za-z])")

    def __repr__(self) -> str:
        return "Secrets()"

    def hide(self, text: bytes) -> bytes:
        """Return a text with every secret crossed out."""
        if self._distinct is not None:
            text = self._distinct.sub(b"***", text)
        common = self._common
        if common is None:
            return text
        if text.lstrip()[:1] in (b"{", b"["):
            return _JSON_TEXT.sub(lambda found: common.sub(b"***", found[0]), text)
        return common.sub(b"***", text)

    def hide_text(self, text: str) -> str:
        """Return a text with every secret crossed out."""
        return self.hide(text.encode("utf-8", "replace")).decode("utf-8", "replace")


def _spellings(secret: str) -> set[str]:
    """List the spellings of a text; capitals of hexadecimal digits are ignored."""
    import html  # a table of every entity, which a client without secrets does not need

    escapes = decimals = hexadecimals = ""
    for number in map(ord, secret):
        escapes += f"\\u{number:04x}"
        decimals += f"&#{number};"
        hexadecimals += f"&#x{number:x};"
    escaped = {escapes}
    for text in (secret, _quote(secret), _quote(secret, ensure_ascii=False)):
        escaped |= {text, text.replace("/", "\\/")}
    percent = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    return {
        *escaped,
        *map(_quote, escaped),  # JSON in JSON
        *percent,
        *map(quote, percent),
        html.escape(secret),
        decimals,
        hexadecimals,
    }


def _quote(text: str, *, ensure_ascii: bool = True) -> str:
    return json.dumps(text, ensure_ascii=ensure_ascii)[1:-1]


def _compile(texts: Iterable[str], form: bytes) -> re.Pattern[bytes] | None:
    # Longer ones first: a secret, or a spelling, may begin with another.
    ordered = sorted(map(str.encode, texts), key=len, reverse=True)
    found = b"|".join(map(re.escape, ordered))
    return re.compile(form % found, re.IGNORECASE) if found else None


NO_SECRETS: Final = Secrets()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the platform is, how it is trusted, and the credentials: the key wins over the pair."""

    url: str | None = None  # without a slash at its end; None: only a stream path can say
    verify: bool | str | os.PathLike[str] = True  # a path: certificates to trust
    access_key: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    is_direct: bool = False  # whether the environment's proxies are ignored

    def __post_init__(self) -> None:
        if self.url is not None:
            object.__setattr__(self, "url", _parse_url(conceal(self.url)))
        object.__setattr__(self, "access_key", conceal(self.access_key))
        object.__setattr__(self, "password", conceal(self.password))
        object.__setattr__(self, "verify", _parse_verify(self.verify))
        _check_user(self)

    @classmethod
    def from_env(cls, *, verify: bool | str | os.PathLike[str] = True) -> Endpoint:
        """Read ``V3IO_API``, ``V3IO_ACCESS_KEY``, ``V3IO_USERNAME``, ``V3IO_PASSWORD``."""
        username = _read_env("USERNAME")
        return cls(
            url=conceal(_read_env("API")),
            verify=verify,
            access_key=conceal(_read_env("ACCESS_KEY")),
            username=username,
            # A password alone names nobody; the platform's own pods may set just a user.
            password=conceal(_read_env("PASSWORD")) if username else None,
        )

    @classmethod
    def find(cls, given: Endpoint) -> Endpoint:
        """Fill in from the environment what was not given.

        Its secrets go nowhere but to its own endpoint.
        """
        if given.username is not None and given.password is given.access_key is None:
            raise ConfigError("username: expected a password with it. Give password= too.")
        if given.url is not None:
            return given
        found = cls.from_env(verify=given.verify)
        is_anonymous = given.access_key is given.username is given.password is None
        return found if is_anonymous else given.at(found.url)

    def at(self, url: str | None) -> Endpoint:
        """Return the same user at another host; None: at this one."""
        return self if url in (None, self.url) else replace(self, url=url)

    def with_secrets_of(self, other: Endpoint) -> Endpoint:
        """Return this endpoint with the user, key and password of another."""
        user = other.username or self.username
        password = other.password if user == other.username else None
        return replace(self, access_key=other.access_key, username=user, password=password)

    def without_secrets(self) -> Endpoint:
        """Return this endpoint without key and password."""
        return replace(self, access_key=None, password=None)

    def auth_headers(self) -> Mapping[str, str]:
        """Return the headers that authenticate us."""
        if self.access_key is not None:
            return {SESSION_KEY_HEADER: Secret(self.access_key)}
        if self.username is not None and self.password is not None:
            basic = _encode_basic(self.username, self.password)
            return {"Authorization": Secret(f"Basic {basic}")}
        return {}

    def secrets(self, proxies: Iterable[str] = ()) -> Secrets:
        """Return what to hide in answers: key, password, Basic authentication, also of proxies."""
        basic = self.auth_headers().get("Authorization", "").removeprefix("Basic ")
        texts = [self.access_key, self.password, basic]
        for proxy in map(urlsplit, proxies):
            if proxy.password:
                password = unquote(proxy.password)
                texts += [password, _encode_basic(unquote(proxy.username or ""), password)]
        return Secrets(filter(None, texts))


def _encode_basic(user: str, password: str) -> str:
    return b64encode(f"{user}:{password}".encode()).decode()


def _read_env(name: str) -> str | None:
    return os.environ.get(f"V3IO_{name}") or None


def _parse_url(text: str) -> str:
    """Check an endpoint, and give it the scheme it may lack and no slash at its end."""
    if not text:
        raise ConfigError(f"endpoint: expected text that is not empty. {_EXAMPLE}")
    if "@" in text:
        # Not shown: what precedes the @ is a password.
        raise ConfigError(
            "endpoint holds credentials; expected none in the URL. "
            "Give them as username= and password=, or as access_key=."
        )
    text = str(text)  # it holds no secret
    url = text.strip() if "://" in text else f"http://{text.strip()}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"endpoint {text!r}: {error}. {_EXAMPLE}") from error
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ConfigError(f"endpoint {text!r}: expected http:// or https:// and a host. {_EXAMPLE}")
    is_text = url.isprintable() and not set(url) & set(' "\\<>^`{|}')
    if parts.path.strip("/") or parts.query or parts.fragment or not is_text:
        raise ConfigError(f"endpoint {text!r}: expected only a host and a port. {_EXAMPLE}")
    return f"{parts.scheme}://{parts.netloc}"


_EXAMPLE = "Write it as 'https://host:8443', or set V3IO_API."


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


def _check_user(endpoint: Endpoint) -> None:
    """Refuse what HTTP cannot hold; no secret is shown."""
    key: object = endpoint.access_key
    if key is not None:
        if not isinstance(key, str) or not key or not key.isascii() or not key.isprintable():
            raise ConfigError(
                "access_key: expected one line of ASCII text. "
                "Check for a line end or quotes around it."
            )
        if key != key.strip():
            raise ConfigError("access_key: expected no blanks around it. Strip them.")
    for name in ("username", "password"):
        value: object = getattr(endpoint, name)
        if value is None:
            continue
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{name}: expected text that is not empty.")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ConfigError(f"{name}: expected Unicode text; it holds half a character.")
    if endpoint.password is not None and not endpoint.username:
        raise ConfigError("password: expected a username with it. Give username= too.")
    if endpoint.username is not None and ":" in endpoint.username:
        raise ConfigError("username: expected no colon, which HTTP would read as its end.")
