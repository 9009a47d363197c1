"""One try of one request: out through requests' adapter, back as a value."""

from __future__ import annotations

import os
import socket
import ssl
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING, Final, cast

import requests
import urllib3.exceptions as u3
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3.util import Timeout

from v3io_frames_put._io.connection import CutError, Line, watch
from v3io_frames_put._wire.api import FUNCTION_HEADER, PUT_RECORDS, Answer, Fault
from v3io_frames_put.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from urllib3 import BaseHTTPResponse, HTTPConnectionPool

    from v3io_frames_put._io.endpoint import Endpoint
    from v3io_frames_put._wire.api import Attempt, FaultKind, Request
    from v3io_frames_put.config import Timeouts

NETWORK_ERRORS: Final = (
    OSError,
    HTTPException,
    UnicodeError,  # a host name that no name look-up takes
    u3.HTTPError,
    u3.ProxySchemeUnsupported,
    requests.RequestException,
)

KINDS: Final[tuple[tuple[type[BaseException], FaultKind], ...]] = (
    (CutError, "stopped"),
    (ssl.SSLCertVerificationError, "certificate"),
    (u3.ProxyError, "proxy"),
    (u3.ProxySchemeUnsupported, "proxy"),
    (requests.exceptions.ProxyError, "proxy"),
    (socket.gaierror, "dns"),
    (u3.NameResolutionError, "dns"),
    (UnicodeError, "dns"),
    (u3.LocationParseError, "dns"),
    (ssl.SSLError, "tls"),
    (u3.SSLError, "tls"),
    (requests.exceptions.SSLError, "tls"),
    (u3.NewConnectionError, "connect"),
    (ConnectionRefusedError, "connect"),
    (TimeoutError, "timeout"),
    (u3.TimeoutError, "timeout"),
    (requests.Timeout, "timeout"),
    (RemoteDisconnected, "closed"),
    (u3.InvalidChunkLength, "garbled"),  # narrower than the next
    (IncompleteRead, "closed"),
    (ConnectionError, "reset"),
    (HTTPException, "garbled"),
    (u3.DecodeError, "garbled"),
    (u3.HeaderParsingError, "garbled"),
    (requests.exceptions.ContentDecodingError, "garbled"),
    (requests.exceptions.ChunkedEncodingError, "garbled"),
    (requests.exceptions.ConnectionError, "reset"),
    (OSError, "reset"),
    (u3.HTTPError, "garbled"),
)

_MAX_TEXT: Final = 200


def fault_kind(error: BaseException) -> FaultKind:
    """Say what went wrong, by the error and what lies within it."""
    errors = list(_layers(error))
    for kind_of_error, kind in KINDS:
        if any(isinstance(layer, kind_of_error) for layer in errors):
            return kind
    raise error


def fault_text(error: BaseException) -> str:
    """Describe an error for people, in the words of its innermost layer."""
    inner = list(_layers(error))[-1]
    return " ".join(f"{type(inner).__name__}: {inner}".split())[:_MAX_TEXT]


def _layers(error: BaseException) -> Iterator[BaseException]:
    """Unwrap an error: urllib3 and requests put the cause in many places."""
    seen: set[int] = set()
    layer: BaseException | None = error
    while layer is not None and id(layer) not in seen:
        seen.add(id(layer))
        yield layer
        layer = _within(layer)


def _within(error: BaseException) -> BaseException | None:
    candidates = (getattr(error, "reason", None), error.__cause__, *error.args[::-1])
    return next((inner for inner in candidates if isinstance(inner, BaseException)), None)


_BASE_HEADERS: Final = {"User-Agent": "v3io-frames-put", "Accept-Encoding": "gzip, deflate"}
_SUCCESS: Final = 200
# A body leaves in pieces, each within read_seconds: a slow line is not a dead one.
_PIECE_BYTES: Final = 256 * 2**10


class Transport:
    """Carries requests to one endpoint, one at a time, over one connection.

    Parameters
    ----------
    endpoint : Endpoint
        Where to, as whom, trusting what.
    timeouts : Timeouts
        Of each request.
    clock : callable
        Monotonic seconds.

    Notes
    -----
    Belongs to one thread; only ``shutdown`` may be called from another.
    """

    def __init__(
        self, endpoint: Endpoint, timeouts: Timeouts, *, clock: Callable[[], float]
    ) -> None:
        if endpoint.url is None:
            raise ConfigError("no endpoint is known. Give Client(endpoint=...), or set V3IO_API.")
        self._endpoint, self._where = endpoint, endpoint.url
        self._headers = {**_BASE_HEADERS, **endpoint.auth_headers()}
        self._timeout = Timeout(connect=timeouts.connect_seconds, read=timeouts.read_seconds)
        self._line = Line(timeouts, clock, is_insecure=endpoint.verify is False)
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0)
        self._pool, self._prefix = _open_pool(self._adapter, endpoint)
        self._pool.ConnectionCls = watch(self._pool.ConnectionCls, self._line)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"Transport({self._where!r})"

    def attempt(self, request: Request) -> Attempt:
        """Try a request once.

        Network trouble is never raised: it is a ``Fault``, which says how far the
        request had come. After a ``Fault`` the connection is closed.
        """
        is_reusable = False
        try:
            self._line.begin()
            answer = self._exchange(request)
            is_reusable = self._line.stage == "waiting" and answer.status >= _SUCCESS
        except NETWORK_ERRORS as error:
            return self._fault(error)
        finally:
            # Also when a KeyboardInterrupt passes: half an exchange is on that line.
            self._line.end(is_reusable=is_reusable)
        if answer.status < _SUCCESS:
            detail = f"{self._where}: the answer ended with an interim status"
            return Fault("garbled", self._line.stage, detail)
        return answer

    def shutdown(self) -> None:
        """Let no byte leave from now on; from any thread, for good.

        A request under way ends in a ``Fault`` of kind ``"stopped"``.
        """
        self._line.cut()

    def close(self) -> None:
        """Close the connection; the transport can still be used."""
        self._line.end(is_reusable=False)

    def _exchange(self, request: Request) -> Answer:
        response = self._pool.urlopen(
            request.method,
            self._prefix + request.path,
            body=_pieces(request.body),
            headers={**self._headers, **_length(request.body), **request.headers},
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=self._timeout,
            preload_content=False,
        )
        body = response.read()
        response.release_conn()
        is_error = response.status != _SUCCESS
        if is_error or request.headers.get(FUNCTION_HEADER) == PUT_RECORDS:  # they may tell of one
            body = self._endpoint.hide_secrets(body)
        return Answer(response.status, _lower_headers(response), body)

    def _fault(self, error: Exception) -> Fault:
        detail = f"{self._where}: {fault_text(error)}"
        kind = "stopped" if self._line.is_cut else fault_kind(error)
        return Fault(kind, self._line.stage, detail)


def _pieces(body: bytes | memoryview) -> list[bytes] | None:
    whole = cast("bytes", memoryview(body))  # as good to a socket, and nothing is copied
    starts = range(0, len(whole), _PIECE_BYTES)
    return [whole[start : start + _PIECE_BYTES] for start in starts] or None


def _length(body: bytes | memoryview) -> dict[str, str]:
    """Give the length of a body, which its pieces do not tell; without one, urllib3 knows."""
    return {"Content-Length": str(len(body))} if body else {}


def _lower_headers(response: BaseHTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _open_pool(adapter: HTTPAdapter, endpoint: Endpoint) -> tuple[HTTPConnectionPool, str]:
    """Find proxies and certificates as requests does, once; no connection is made yet.

    Returns the pool, and what stands before each path: a proxy that forwards plain
    HTTP wants whole URLs.
    """
    url = f"{endpoint.url}/"
    prepared = requests.Request("GET", url).prepare()
    wanted = cast("bool | str", endpoint.verify)  # a path has become text when it was made
    try:
        with requests.Session() as session:
            session.trust_env = not endpoint.is_direct
            settings = session.merge_environment_settings(url, {}, None, wanted, None)
        verify, proxies = settings["verify"], dict(settings["proxies"])
        pool = cast(
            "HTTPConnectionPool",
            adapter.get_connection_with_tls_context(prepared, verify, proxies=proxies),
        )
        adapter.cert_verify(pool, url, verify, None)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError) as error:
        # What requests says of a proxy may show its password, and so would our context.
        raise ConfigError(_settings_message(endpoint, error)) from None
    if isinstance(verify, str) and url.startswith("https:"):
        _check_certificates(verify)
    forwarded = adapter.request_url(prepared, proxies) != "/" and select_proxy(url, proxies)
    return pool, str(endpoint.url) if forwarded else ""


def _check_certificates(path: str) -> None:
    """Refuse a file without certificates: each connection would fail on it, and be tried again."""
    place = "capath" if os.path.isdir(path) else "cafile"  # noqa: PTH112  # as requests tells
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(**{place: path})
    except OSError as error:
        raise ConfigError(
            f"{path!r}: no certificates can be read from it ({error.strerror or error}); expected "
            f"PEM. Correct verify=, --ca-file, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE."
        ) from error


def _settings_message(endpoint: Endpoint, error: Exception) -> str:
    return (
        f"endpoint {endpoint.url}: its proxy or certificate settings cannot be used "
        f"({type(error).__name__}). Check verify=, HTTP_PROXY, HTTPS_PROXY, "
        f"REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE."
    )
