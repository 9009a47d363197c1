"""One try of one request: sent over a connection, returned as a value."""

from __future__ import annotations

import os
import socket
import ssl
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

import requests
import urllib3.exceptions as u3
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy

from .._wire.api import FUNCTION_HEADER, GET_ITEM, GET_RECORDS, PUT_RECORDS, SEEK, Answer, Fault
from ..errors import ConfigError
from .connection import ClosedError, Connection, CutError, GarbledAnswerError, WrongSchemeError
from .endpoint import NO_SECRETS, Endpoint, Secret, SecretBytes, Secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from urllib3 import HTTPConnectionPool

    from .._wire.api import Attempt, FaultKind, Request
    from ..config import Timeouts

# What an error means; the first that fits the error or one within it. All other errors of urllib3
# come from opening a connection, as do those of http.client, which reads a proxy's answer.
KINDS: Final[tuple[tuple[type[BaseException], FaultKind], ...]] = (
    (CutError, "stopped"),
    (WrongSchemeError, "scheme"),
    (ssl.SSLCertVerificationError, "certificate"),
    (u3.ProxyError, "proxy"),
    (u3.ProxySchemeUnsupported, "proxy"),
    (socket.gaierror, "dns"),
    (u3.NameResolutionError, "dns"),
    (UnicodeError, "dns"),  # a host name that cannot be looked up
    (u3.LocationParseError, "dns"),
    (ssl.SSLError, "tls"),
    (u3.SSLError, "tls"),
    (u3.NewConnectionError, "connect"),
    (ConnectionRefusedError, "connect"),
    (TimeoutError, "timeout"),
    (u3.TimeoutError, "timeout"),
    (ClosedError, "closed"),
    (GarbledAnswerError, "garbled"),
    (OSError, "reset"),
    (HTTPException, "garbled"),
    (u3.HTTPError, "garbled"),
)
NETWORK_ERRORS: Final = tuple(kind_of_error for kind_of_error, _ in KINDS)

_MAX_TEXT: Final = 200


def fault_kind(error: BaseException) -> FaultKind:
    """Classify an error by its own type and the types of the errors within it."""
    errors = list(_layers(error))
    for kind_of_error, kind in KINDS:
        if any(isinstance(layer, kind_of_error) for layer in errors):
            return kind
    raise error


def fault_detail(
    error: BaseException, kind: FaultKind, where: str, secrets: Secrets = NO_SECRETS
) -> str:
    """Describe what went wrong and where: frequent causes in plain words, others in their own."""
    host, inner = where.rpartition("://")[2], list(_layers(error))[-1]
    if kind == "connect" and isinstance(inner, ConnectionRefusedError):
        return f"connection refused by {host}"
    text = secrets.hide_text(f"{type(inner).__name__}: {inner}")
    text = " ".join(text.split())[:_MAX_TEXT]
    return f"host name not found: {host} ({text})" if kind == "dns" else f"{where}: {text}"


def _layers(error: BaseException) -> Iterator[BaseException]:
    """Unwrap an error: urllib3 puts the cause in many places."""
    seen: set[int] = set()
    layer: BaseException | None = error
    while layer is not None and id(layer) not in seen:
        seen.add(id(layer))
        yield layer
        candidates = (getattr(layer, "reason", None), layer.__cause__, *layer.args[::-1])
        layer = next((inner for inner in candidates if isinstance(inner, BaseException)), None)


_BASE_HEADERS: Final = {"User-Agent": "v3io-frames-put", "Accept-Encoding": "identity"}
_SUCCESS: Final = 200


class Transport:
    """Sends requests to one endpoint, one at a time, over one connection.

    Belongs to one thread; only ``shutdown`` may be called from another.
    ``first_contact_seconds`` limits the time until the first connection is open.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeouts: Timeouts,
        *,
        clock: Callable[[], float],
        first_contact_seconds: float | None = None,
    ) -> None:
        if endpoint.url is None:
            raise ConfigError("no endpoint is known. Give Client(endpoint=...), or set V3IO_API.")
        self._where = endpoint.url
        self._has_answered = False
        way = _find_way(endpoint)
        self._target_prefix, self._secrets = way.target_prefix, way.secrets
        headers = {
            "Host": way.host,
            **_BASE_HEADERS,
            **{name: Secret(value) for name, value in way.proxy_headers.items()},
            **endpoint.auth_headers(),
        }
        self._headers = SecretBytes(_format_headers(headers))  # the same in every request
        self._connection = Connection(
            way.pool,
            has_tunnel=way.has_tunnel,
            timeouts=timeouts,
            first_contact_seconds=first_contact_seconds,
            clock=clock,
        )

    def __repr__(self) -> str:
        return f"Transport({self._where!r})"

    def attempt(self, request: Request) -> Attempt:
        """Try a request once.

        Network trouble is never raised: it is returned as a ``Fault``, which says how far
        the request came. After a ``Fault`` the connection is closed.
        """
        first_line = f"{request.method} {self._target_prefix}{request.path} HTTP/1.1\r\n"
        has_length = request.body or request.method in ("POST", "PUT")
        length = {"Content-Length": str(len(request.body))} if has_length else {}
        rest = _format_headers({**length, **request.headers})
        head = SecretBytes(b"%b%b%b\r\n" % (first_line.encode("ascii"), self._headers, rest))
        try:
            answer = self._connection.exchange(request.method, head, request.body)
        except NETWORK_ERRORS as error:
            return self._fault(error)
        self._has_answered = True
        return _hide_secrets(answer, request, self._secrets)

    def _fault(self, error: BaseException) -> Fault:
        kind, stage = fault_kind(error), self._connection.stage
        if self._connection.is_shut_down:
            kind = "stopped"
        elif kind == "scheme":
            if self._has_answered:  # it has spoken HTTP here: something on the way fails
                kind = "tls"
            else:
                stage = "connecting"  # whatever was sent, nobody understood it
        return Fault(kind, stage, fault_detail(error, kind, self._where, self._secrets))

    def shutdown(self) -> None:
        """Let no byte leave from now on; from any thread, for good.

        A request under way ends in a ``Fault`` of kind ``"stopped"``.
        """
        self._connection.shutdown()

    def close(self) -> None:
        """Close the connection; the transport can still be used."""
        self._connection.close()


def _format_headers(headers: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


def _hide_secrets(answer: Answer, request: Request, secrets: Secrets) -> Answer:
    """Hide secrets where a platform, or a proxy, repeats them.

    Every text that enters results, exceptions and logs comes through here, or is the
    detail of a fault. What is read from a stream is left as it is. An answer to PutRecords
    holds text in ErrorMessage alone, and a name can be spelled otherwise only with a
    backslash: most answers need no search.
    """
    if answer.status != _SUCCESS:
        headers = {name: secrets.hide_text(value) for name, value in answer.headers.items()}
        return Answer(answer.status, headers, secrets.hide(answer.body))
    function = request.headers.get(FUNCTION_HEADER)
    if function in (GET_RECORDS, GET_ITEM, SEEK):
        return answer
    if function == PUT_RECORDS and b"ErrorMessage" not in answer.body and b"\\" not in answer.body:
        return answer
    return Answer(answer.status, answer.headers, secrets.hide(answer.body))


class _Way(NamedTuple):
    """How an endpoint is reached."""

    pool: HTTPConnectionPool
    host: str  # for the Host header
    target_prefix: str  # of each path: a proxy that forwards plain HTTP expects whole URLs
    proxy_headers: Mapping[str, str]  # what such a proxy wants to see in each request
    has_tunnel: bool  # whether a proxy is asked to CONNECT
    secrets: Secrets  # those of the endpoint and of the proxy


def _find_way(endpoint: Endpoint) -> _Way:
    """Find proxies and certificates as requests does, once; no connection is made yet."""
    url = f"{endpoint.url}/"
    try:
        verify, proxies = _read_settings(endpoint, url)
        prepared = requests.Request("GET", url).prepare()
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0)
        pool: Any = adapter.get_connection_with_tls_context(prepared, verify, proxies=proxies)
        adapter.cert_verify(pool, url, verify, None)  # type: ignore[no-untyped-call]
        is_proxied = bool(select_proxy(url, proxies))
        is_forwarded = is_proxied and adapter.request_url(prepared, proxies) != "/"
    except (OSError, ValueError, TypeError) as error:
        problem = type(error).__name__
    else:
        if isinstance(verify, str) and url.startswith("https:"):
            _check_certificates(verify)
        return _Way(
            pool,
            host=urlsplit(str(prepared.url)).netloc,
            target_prefix=str(endpoint.url) if is_forwarded else "",
            proxy_headers=pool.proxy_headers if is_forwarded else {},
            has_tunnel=pool.proxy is not None and not is_forwarded,
            secrets=endpoint.secrets(proxies.values()),
        )
    # Raised here and without a cause: what requests says of a proxy may show its password.
    raise ConfigError(
        f"endpoint {endpoint.url}: its proxy or certificate settings cannot be used "
        f"({problem}). Check verify=, HTTP_PROXY, HTTPS_PROXY, "
        f"REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE."
    )


def _read_settings(endpoint: Endpoint, url: str) -> tuple[bool | str, dict[str, str]]:
    """Read the environment's certificates and proxies.

    In a function of its own, since a proxy's password is plain text in ``settings``.
    """
    with requests.Session() as session:
        session.trust_env = not endpoint.is_direct
        # A path has become text when the endpoint was made.
        wanted = cast("bool | str", endpoint.verify)
        settings = session.merge_environment_settings(url, {}, None, wanted, None)
    found = settings["proxies"]
    proxies: dict[str, str] = dict(zip(found, map(Secret, found.values()), strict=True))
    return cast("bool | str", settings["verify"]), proxies


def _check_certificates(path: str) -> None:
    """Refuse a file without certificates: each connection would fail on it, and be tried again."""
    place = "capath" if os.path.isdir(path) else "cafile"  # noqa: PTH112  # as requests decides
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(**{place: path})
    except OSError as error:
        raise ConfigError(
            f"{path!r}: no certificates can be read from it ({error.strerror or error}); expected "
            f"PEM. Correct verify=, --ca-file, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE."
        ) from error
