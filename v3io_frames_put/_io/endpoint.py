"""Where the platform is and who we are, checked once."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, SupportsIndex
from urllib.parse import unquote, urlsplit

from v3io_frames_put._wire.api import SESSION_KEY_HEADER
from v3io_frames_put.errors import ConfigError

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


@dataclass(frozen=True, slots=True)
class NotText:
    """What was given as a secret and is not text; refused without being shown."""

    kind: str

    def __repr__(self) -> str:
        return f"<{self.kind}>"


def conceal(value: object) -> Any:
    """Return a key or a password as a value whose repr hides it; None stays None.

    To be called before anything can be raised: tracebacks may show the variables of a frame.
    """
    if value is None or isinstance(value, Secret):
        return value
    return Secret(value) if isinstance(value, str) else NotText(type(value).__name__)


_MIN_SECRET: Final = 8
_ESCAPE: Final = rb"\\{1,8}"  # of JSON in JSON in JSON
_LETTERS: Final = {"\b": b"b", "\f": b"f", "\n": b"n", "\r": b"r", "\t": b"t"}
_ENTITIES: Final = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


class Secrets:
    """Hides secrets in text that others wrote, however they are spelled.

    Found are the plain text, JSON and backslash escapes, percent-encoding and the
    entities of HTML, also where they are mixed. Not looked for is what may be there by
    chance: a secret that is shorter than eight characters, or only digits.

    Parameters
    ----------
    texts : iterable of str
        The secrets.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        # Longer ones first: a secret may begin with another.
        found = {text for text in texts if len(text) >= _MIN_SECRET and not text.isdigit()}
        spellings = [_spellings(text) for text in sorted(found, key=len, reverse=True)]
        self._pattern = re.compile(b"|".join(spellings)) if spellings else None

    def __repr__(self) -> str:
        return "Secrets()"

    def hide(self, text: bytes) -> bytes:
        """Return a text with every secret crossed out."""
        return text if self._pattern is None else self._pattern.sub(b"***", text)

    def hide_text(self, text: str) -> str:
        """Return a text with every secret crossed out."""
        if self._pattern is None:
            return text
        return self.hide(text.encode("utf-8", "replace")).decode("utf-8", "replace")


NO_SECRETS: Final = Secrets()


def _spellings(secret: str) -> bytes:
    r"""Make a pattern of all spellings of a text, character by character.

    Of ``"`` these are found, among others: ``"`` ``\"`` ``\u0022`` ``%22`` ``%2522``
    ``&quot;`` ``&#34;`` ``&#x22;``.
    """
    # A run of backslashes is one step: several in a row would match in exponentially many ways.
    steps = re.findall(r"\\+|[^\\]", secret)
    return b"".join(b"(?:%b)" % b"|".join(_spellings_of(step)) for step in steps)


def _spellings_of(step: str) -> list[bytes]:
    """List the spellings of one character, or of a run of backslashes.

    All repetitions are bounded, so that the search is linear in whatever a platform answers.
    """
    plain = re.escape(step.encode())
    percent = b"".join(b"%%(?:25){0,3}%b" % _any_case(b"%02x" % byte) for byte in step.encode())
    units = step.encode("utf-16-be").hex()
    escapes = b"".join(
        _ESCAPE + b"u" + _any_case(units[at : at + 4].encode()) for at in range(0, len(units), 4)
    )
    entity = b"".join(
        b"&#0{0,6}(?:%d|[xX]0{0,6}%b);" % (ord(one), _any_case(b"%x" % ord(one))) for one in step
    )
    spellings = [percent, escapes, entity]
    if step in _LETTERS:
        spellings.append(_ESCAPE + _LETTERS[step])
    if step in _ENTITIES:
        spellings.append(b"&%b;" % _ENTITIES[step].encode())
    if step[0] == "\\":
        return [*spellings, rb"\\{%d,%d}" % (len(step), 8 * len(step))]
    if not step.isalnum():
        spellings.append(_ESCAPE + plain)
    if step == " ":
        spellings.append(rb"\+")
    return [*spellings, plain]  # last: other spellings of "%" and "&" begin with it


def _any_case(digits: bytes) -> bytes:
    """Make a pattern of hexadecimal digits in upper and lower case."""
    return b"".join(
        b"[%b%b]" % (bytes([digit]), bytes([digit]).upper()) if chr(digit).isalpha()
        else bytes([digit])
        for digit in digits
    )  # fmt: skip


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
        Whether the environment's proxies are ignored.
    """

    url: str | None = None
    verify: bool | str | os.PathLike[str] = True
    access_key: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    is_direct: bool = False

    def __post_init__(self) -> None:
        if self.url is not None:
            object.__setattr__(self, "url", _parse_url(conceal(self.url)))
        object.__setattr__(self, "access_key", conceal(self.access_key))
        object.__setattr__(self, "password", conceal(self.password))
        object.__setattr__(self, "verify", _parse_verify(self.verify))
        _check_header_text("access_key", self.access_key)
        _check_pair(self)

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
        if given.url is not None:
            return given
        found = cls.from_env(verify=given.verify)
        is_anonymous = given.access_key is given.username is given.password is None
        return found if is_anonymous else given.at(found.url)

    def at(self, url: str | None) -> Endpoint:
        """Return the same user at another host; None: at this one."""
        return self if url is None else replace(self, url=url)

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
        for proxy in proxies:
            user, password = map(unquote, _userinfo(proxy))
            texts += [password, _encode_basic(user, password)] if password else []
        return Secrets(text for text in texts if text)


def _userinfo(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.username or "", parts.password or ""


def _encode_basic(user: str, password: str) -> str:
    return b64encode(f"{user}:{password}".encode()).decode()


def _read_env(name: str) -> str | None:
    return os.environ.get(f"V3IO_{name}") or None


def _parse_url(text: object) -> str:
    """Check an endpoint, and give it the scheme it may lack and no slash at its end."""
    if not isinstance(text, str):
        kind = text.kind if isinstance(text, NotText) else type(text).__name__
        raise ConfigError(f"endpoint: expected text, got {kind}. {_EXAMPLE}")
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
        value: object = getattr(endpoint, name)
        if value is None:
            continue
        if not isinstance(value, str):
            kind = value.kind if isinstance(value, NotText) else type(value).__name__
            raise ConfigError(f"{name}: expected text, got {kind}.")
        if not _is_unicode(value):
            raise ConfigError(f"{name}: expected Unicode text; it holds half a character.")
    if endpoint.password is not None and not endpoint.username:
        raise ConfigError("password: expected a username with it. Give username= too.")
    if endpoint.username is not None and ":" in endpoint.username:
        raise ConfigError("username: expected no colon, which HTTP would read as its end.")


def _is_unicode(text: str) -> bool:
    """Return whether a text can be encoded; the error, which holds the text, goes no further."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
