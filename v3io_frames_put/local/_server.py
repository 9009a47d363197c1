"""The platform on a socket: one thread, one event loop; it plays exchanges, decides nothing."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from v3io_frames_put.local._exchange import Exchange, Ghost
from v3io_frames_put.local._messages import Request, Response
from v3io_frames_put.local._play import play, reset

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine

    from v3io_frames_put.local._log import Arrival, Log

_BACKLOG: Final = 512
_TURNS_TO_ATTACH: Final = 4  # of the event loop, from accepting a connection to knowing it


class Front(Protocol):
    """Decides what a request gets."""

    def begin(self, head: Request, arrival: Arrival) -> Exchange | None:
        """Decide before the body is read, or leave it for later."""

    def finish(self, request: Request, arrival: Arrival) -> Exchange:
        """Decide on the whole request."""

    def haunt(self, ghost: Ghost) -> None:
        """Handle what a dead connection left behind."""

    def restart(self) -> None:
        """Forget what is not on disk."""


class Server:
    """A running HTTP server.

    Parameters
    ----------
    front : Front
        Decides on every request, in this server's thread.
    log : Log
        Told what arrives, and of errors in ``front``.
    address : (str, int)
        Where to listen; port 0 finds a free one.
    tls : SSLContext, optional
        Serve HTTPS with it.
    """

    def __init__(
        self, front: Front, log: Log, address: tuple[str, int], tls: ssl.SSLContext | None = None
    ) -> None:
        self._front, self._log, self._tls = front, log, tls
        self._socket = socket.create_server(address, backlog=_BACKLOG)
        self.host, self.port = self._socket.getsockname()[:2]
        self._ready, self._open = Event(), asyncio.Event()
        self._open.set()
        self._failure: BaseException | None = None
        self._thread = Thread(target=self._run, name="v3io-local-platform", daemon=True)

    def start(self) -> None:
        """Start serving; returns when requests are taken."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Cut all connections, stop listening and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def hold(self) -> None:
        """Keep every answer back that has not begun to leave when this returns."""
        asyncio.run_coroutine_threadsafe(self._hold(), self._loop).result()

    async def _hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        """Let the answers go that were kept back."""
        self._loop.call_soon_threadsafe(self._open.set)

    def forget_ghosts(self) -> None:
        """Drop what dead connections left behind; returns when none can come any more."""
        asyncio.run_coroutine_threadsafe(self._forget_ghosts(), self._loop).result()

    async def _forget_ghosts(self) -> None:
        for task in self._ghosts:
            task.cancel()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001  # start() raises it in the caller's thread
            self._failure = error
            self._log.note_error(error)
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._ghosts: set[asyncio.Task[None]] = set()
        self._restarts: set[asyncio.Task[None]] = set()
        self._web = web.Server(self._answer, access_log=None, handler_cancellation=True)
        await self._serve()
        self._ready.set()
        await self._stopped.wait()
        for task in self._ghosts | self._restarts:
            task.cancel()
        await self._stop_listening()
        self._cut_connections()
        await self._web.shutdown(timeout=0)

    async def _serve(self) -> None:
        """Take connections on our socket."""
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
                reset(connection.transport)

    async def _answer(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of aiohttp's."""
        target = http.raw_path
        path, _, query = target.partition("?")
        head = Request(http.method, path, query, dict(http.headers))
        with self._log.record(head.function, path) as arrival:
            try:
                exchange = self._front.begin(head, arrival)
                if exchange is None:
                    exchange = await self._read_and_finish(http, head, arrival)
            except Exception as error:  # noqa: BLE001  # checked by tests; the client sees a 500
                self._log.note_error(error)
                exchange = Exchange(response=Response(500, {}, repr(error).encode()))
            if exchange.response is not None:
                arrival.status = exchange.response.status
            await self._open.wait()
            if exchange.down_seconds:
                await self._stop_listening()  # before the client can know and come again
            try:
                return await play(http, exchange)
            finally:  # the end of the connection cancels us
                self._follow_up(exchange)

    async def _read_and_finish(
        self, http: web.BaseRequest, head: Request, arrival: Arrival
    ) -> Exchange:
        """Read the body and decide on the whole request."""
        if (head.header("Expect") or "").lower() == "100-continue":
            await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            body = await http.content.read()
        except (ConnectionError, web.RequestPayloadError):  # the client went, or sent no HTTP
            return Exchange(response=None, ending="reset")
        arrival.body_bytes = len(body)
        request = Request(head.method, head.path, head.query, head.headers, body)
        return self._front.finish(request, arrival)

    def _follow_up(self, exchange: Exchange) -> None:
        """Start what an exchange leaves behind."""
        for ghost in exchange.ghosts:
            self._spawn(self._haunt(ghost), self._ghosts)
        if exchange.down_seconds is not None:
            self._spawn(self._restart(exchange.down_seconds), self._restarts)

    def _spawn(self, work: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> None:
        """Run work beside the requests; its errors are ours."""

        def reap(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self._log.note_error(error)

        task = self._loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(reap)

    async def _haunt(self, ghost: Ghost) -> None:
        await asyncio.sleep(ghost.after_seconds)
        self._front.haunt(ghost)
        self._log.touch()

    async def _restart(self, down_seconds: float) -> None:
        """Die and come back on the same port."""
        self._cut_connections()
        self._front.restart()
        if down_seconds:
            await asyncio.sleep(down_seconds)
            self._socket = socket.create_server((self.host, self.port), backlog=_BACKLOG)
            await self._serve()
            self._log.touch()
