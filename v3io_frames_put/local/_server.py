"""The platform on a socket: one thread, one event loop, and the log of what arrives.

It enacts exchanges. The only thing it decides is which requests may come in at all.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import Counter, deque
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from threading import Condition, Event, Thread
from typing import TYPE_CHECKING, Final

from aiohttp import web

from ._http import DelayedWrite, ErrorAnswer, Exchange, Request, Response
from .faults import Arrival, FaultProxy

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Iterator


_ARRIVALS_KEPT: Final = 100_000  # a server that runs for weeks must not grow
_BACKLOG: Final = 512
_TURNS_TO_ATTACH: Final = 4  # of the event loop, from accepting a connection to knowing it
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # linger for 0 seconds
_DRIPS: Final = 20


class RequestLog:
    """What arrived and what is in flight; one thread writes, others read and wait."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.arrivals: deque[Arrival] = deque(maxlen=_ARRIVALS_KEPT)
        self.in_flight: Counter[str] = Counter()
        self.errors: list[BaseException] = []  # of the platform itself
        self._count = 0

    @contextmanager
    def record(self, function: str, path: str) -> Iterator[Arrival]:
        """Log a request and count it as in flight during the block."""
        with self.changed:
            self.in_flight[function] = count = self.in_flight[function] + 1
            self._count += 1
            arrival = Arrival(self._count, function, path, count)
            self.arrivals.append(arrival)
            self.changed.notify_all()
        try:
            yield arrival
        finally:
            self.in_flight[function] -= 1
            self.notify()

    def notify(self) -> None:
        """Let those who wait look again."""
        with self.changed:
            self.changed.notify_all()

    def clear(self) -> None:
        """Forget arrivals and errors; what is in flight stays counted."""
        with self.changed:
            self._count = 0
            self.arrivals.clear()
            self.errors.clear()


class Server:
    """An HTTP server in a thread of its own, where ``proxy`` decides on every request.

    ``hosts`` are the names in ``Host`` that are answered; None: all, and any origin.
    """

    def __init__(
        self,
        proxy: FaultProxy,
        log: RequestLog,
        address: tuple[str, int],
        tls: ssl.SSLContext | None = None,
        hosts: frozenset[str] | None = None,
    ) -> None:
        self.proxy, self._log, self._tls, self._hosts = proxy, log, tls, hosts
        self._socket = socket.create_server(address, backlog=_BACKLOG)
        self.host, self.port = self._socket.getsockname()[:2]
        self._ready, self._released = Event(), asyncio.Event()
        self._released.set()
        self._failure: BaseException | None = None
        self._thread = Thread(target=self._run, name="v3io-local-platform", daemon=True)

    def start(self) -> None:
        """Start serving; return when requests are taken."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Cut all connections, stop listening and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold back every answer that has not begun to leave when the block begins."""
        self._call(self._released.clear)
        try:
            yield
        finally:
            self._call(self._released.set)

    def cancel_delayed_writes(self) -> None:
        """Drop delayed writes; none happens after this returns."""
        self._call(lambda: [task.cancel() for task in self._delayed])

    def _call(self, action: Callable[[], object]) -> None:
        """Do something in the server's thread, and wait for it."""

        async def call() -> None:
            action()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001  # start() raises it in the caller's thread
            self._failure = error
            self._log.errors.append(error)
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._delayed: set[asyncio.Task[None]] = set()
        self._restarts: set[asyncio.Task[None]] = set()
        self._web = web.Server(self._answer, access_log=None, handler_cancellation=True)
        await self._serve()
        self._ready.set()
        await self._stopped.wait()
        for task in self._delayed | self._restarts:
            task.cancel()
        await self._stop_listening()
        self._cut_connections()
        await self._web.shutdown(timeout=0)

    async def _serve(self) -> None:
        """Accept connections."""
        self._listener = await self._loop.create_server(self._web, sock=self._socket, ssl=self._tls)

    async def _stop_listening(self) -> None:
        """Refuse connections from now on.

        asyncio leaks a connection whose listener is closed between accepting and attaching
        it, so accepting ends first.
        """
        with suppress(NotImplementedError):  # the loop of Windows has no readers
            self._loop.remove_reader(self._socket)
        for _ in range(_TURNS_TO_ATTACH):
            await asyncio.sleep(0)
        self._listener.close()

    def _cut_connections(self) -> None:
        """Reset every connection, as the death of the server would."""
        for connection in self._web.connections:
            if connection.transport is not None:
                _reset(connection.transport)

    async def _answer(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of aiohttp's."""
        path, _, query = http.raw_path.partition("?")
        head = Request(http.method, path, query, dict(http.headers))
        with self._log.record(head.function, path) as arrival:
            try:
                exchange = await self._decide(http, head, arrival)
            except Exception as error:  # noqa: BLE001  # LocalPlatform.check() raises it
                self._log.errors.append(error)
                exchange = Exchange(response=Response(500, {}, repr(error).encode()))
            if exchange.response is not None:
                arrival.status = exchange.response.status
            await self._released.wait()
            if exchange.down_seconds:
                await self._stop_listening()  # before the client can know and come again
            try:
                return await _enact(http, exchange)
            finally:  # also when the client goes, which cancels this task
                self._follow_up(exchange)

    async def _decide(self, http: web.BaseRequest, head: Request, arrival: Arrival) -> Exchange:
        """Return what a request gets, having read its body if that matters."""
        refusal = None if self._hosts is None else refuse_foreign(head, self._hosts)
        if refusal is not None:
            return Exchange(response=refusal)
        exchange = self.proxy.before_body(head, arrival)
        if exchange is not None:
            return exchange
        # The rest of a body that is too long is not kept: aiohttp drops it and hangs up.
        refusal = self.proxy.platform.refuse_size(head, http.content_length or 0)
        if refusal is not None:
            return Exchange(response=refusal)
        if (head.header("Expect") or "").lower() == "100-continue":
            await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = bytearray()
        try:
            async for part in http.content.iter_any():
                body += part
                refusal = self.proxy.platform.refuse_size(head, len(body))
                if refusal is not None:
                    return Exchange(response=refusal)
        except (ConnectionError, web.RequestPayloadError):  # the client went, or sent no HTTP
            return Exchange(response=None, ending="reset")
        arrival.body_bytes = len(body)
        request = Request(head.method, head.path, head.query, head.headers, bytes(body))
        return self.proxy.after_body(request, arrival)

    def _follow_up(self, exchange: Exchange) -> None:
        """Start what happens after an exchange."""
        for write in exchange.delayed_writes:
            self._spawn(self._write_later(write), self._delayed)
        if exchange.down_seconds is not None:
            self._spawn(self._restart(exchange.down_seconds), self._restarts)

    def _spawn(self, work: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> None:
        """Run work beside the requests and log its errors."""

        def reap(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self._log.errors.append(error)

        task = self._loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(reap)

    async def _write_later(self, write: DelayedWrite) -> None:
        await asyncio.sleep(write.after_seconds)
        self.proxy.apply_delayed_write(write)
        self._log.notify()

    async def _restart(self, down_seconds: float) -> None:
        """Go down and come back on the same port."""
        self._cut_connections()
        self.proxy.platform.restart()
        if down_seconds:
            await asyncio.sleep(down_seconds)
            self._socket = socket.create_server((self.host, self.port), backlog=_BACKLOG)
            await self._serve()
            self._log.notify()


def refuse_foreign(head: Request, hosts: frozenset[str]) -> Response | None:
    """Return the 403 of a request that a foreign web page may have sent, else None.

    Only for a platform without an access key. A page whose own name is made to lead here
    (DNS rebinding) sends that name as Host; an address or a name of this machine is not
    one. A page of another site that posts here is known by Origin and Sec-Fetch-Site.
    """
    host = (head.header("Host") or "").lower()
    name = re.sub(r":[0-9]*$", "", host).strip("[]").rstrip(".")
    if host and name not in hosts and name != "localhost" and not _is_address(name):
        message = (
            f"Host {name[:99]!r} is not a name of this local platform, which asks for no access"
            " key. Start it with an access key, or allow the name (allowed_hosts=[...] in"
            " Python, --allow-host NAME of v3io-put serve)."
        )
        return ErrorAnswer(403, -13, message).response()
    if head.method.upper() in {"GET", "HEAD"}:
        return None
    origin, site = head.header("Origin"), head.header("Sec-Fetch-Site")
    is_own = origin is None or origin.lower().partition("://")[2] == host
    if is_own and (site is None or site.lower() in {"same-origin", "none"}):
        return None
    message = (
        "The request comes from a web page of another site, and this local platform asks for no"
        " access key. Start it with an access key."
    )
    return ErrorAnswer(403, -13, message).response()


def _is_address(name: str) -> bool:
    """Return whether a name is an IP address, to which no other name can lead."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


async def _enact(http: web.BaseRequest, exchange: Exchange) -> web.StreamResponse:
    """Give a request its exchange; aiohttp ends or keeps a connection that stays open."""
    if exchange.body_read < 1:  # and not a byte more than one read brings
        wanted = int((http.content_length or 0) * exchange.body_read)
        while wanted > 0 and not http.content.at_eof():
            wanted -= len(await http.content.read(wanted))
    if exchange.wait_seconds is None:
        await asyncio.Event().wait()  # until the client goes, which cancels this task
    elif exchange.wait_seconds:
        await asyncio.sleep(exchange.wait_seconds)
    answer = None if exchange.response is None else await _send(http, exchange.response, exchange)
    if exchange.ending == "keep" and exchange.body_sent >= 1 and answer is not None:
        return answer
    if http.transport is not None:
        if exchange.ending == "reset":
            _reset(http.transport)
        else:
            http.transport.close()
        await asyncio.sleep(0)  # the loop tells aiohttp that the connection is gone
    return answer or web.Response()  # nobody receives it


async def _send(
    http: web.BaseRequest, response: Response, exchange: Exchange
) -> web.StreamResponse:
    """Send an answer as far as the exchange goes."""
    status, reason, headers = response.status, response.reason, response.headers
    if exchange.body_sent >= 1 and not exchange.drip_seconds:
        whole = web.Response(
            status=status, reason=reason, headers=headers, body=response.body or None
        )
        if exchange.ending != "keep":
            whole.force_close()
            await whole.prepare(http)
            await whole.write_eof()
        return whole
    answer = web.StreamResponse(status=status, reason=reason, headers=headers)
    answer.content_length = len(response.body)
    await answer.prepare(http)
    body = response.body[: int(len(response.body) * exchange.body_sent)]
    step = max(1, -(-len(body) // _DRIPS)) if exchange.drip_seconds else max(1, len(body))
    for start in range(0, len(body), step):
        await asyncio.sleep(exchange.drip_seconds / _DRIPS)
        await answer.write(body[start : start + step])
    return answer


def _reset(transport: asyncio.BaseTransport) -> None:
    """Close a connection by a reset."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()  # type: ignore[attr-defined]  # every transport of a stream has it
