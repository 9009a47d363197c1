"""``LocalPlatform``: the platform, its faults, its log and its server as one thing to use."""

from __future__ import annotations

import os
import signal
import ssl
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from v3io_frames_put.local._api import Platform
from v3io_frames_put.local._front import Front
from v3io_frames_put.local._log import Arrival, Log
from v3io_frames_put.local._rules import AccessKey, Rules, access_keys
from v3io_frames_put.local._server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from v3io_frames_put.client import Client
    from v3io_frames_put.local._direct import StoredRecord
    from v3io_frames_put.local._faults import Fault

Tls = ssl.SSLContext | tuple[str | os.PathLike[str], str | os.PathLike[str]]

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


class LocalPlatform:
    """A platform of your own, on a port of this machine.

    It serves between ``__enter__`` and ``__exit__``, in a thread that ends with it. Requests
    are answered one after the other, so that a test sees what it expects to see.

    Parameters
    ----------
    data_dir : path, optional
        Keeps streams and records in this directory: what was acknowledged survives the
        death of the process. None keeps everything in memory.
    port : int
        Where to listen; 0 finds a free port.
    access_key : str, AccessKey or several AccessKey, optional
        Who may do what. None: anybody anything.
    tls : (certificate file, key file) or SSLContext, optional
        Serve HTTPS.
    faults : iterable of Fault, optional
        What goes wrong; see ``v3io_frames_put.local``.
    host : str
        The address to listen on. Others than the loopback one are open to your network.
    rules : Rules, optional
        Versions and limits of the platform.
    clock : callable
        Seconds since 1970, for arrival times and retention.

    Examples
    --------
    >>> from v3io_frames_put.local import LocalPlatform
    >>> with LocalPlatform() as platform:
    ...     platform.create_stream("projects/demo", shards=2)
    ...     platform.add_records("projects/demo", [b"one", b"two"])
    ...     [record.data for record in platform.records("projects/demo")]
    [b'one', b'two']
    """

    def __init__(  # the first five are the contract's, the rest by keyword
        self,
        data_dir: str | Path | None = None,
        port: int = 0,
        access_key: str | AccessKey | Iterable[AccessKey] | None = None,
        tls: Tls | None = None,
        faults: Iterable[Fault] | None = None,
        *,
        host: str = "127.0.0.1",
        rules: Rules | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = access_keys(access_key)
        self._data_dir, self._address, self._tls = data_dir, (host, port), tls
        self._rules, self._clock = rules, clock
        self._first_faults = tuple(faults or ())
        self._log = Log()
        self._running: tuple[Front, Server] | None = None
        self._stop_asked = threading.Event()

    def __enter__(self) -> Self:
        """Open the store and start serving; the port is known on return."""
        context = tls_context(self._tls)
        platform = Platform(
            self._data_dir, access_key=self._keys, rules=self._rules, clock=self._clock
        )
        front = Front(platform, self._first_faults)
        try:
            server = Server(front, self._log, self._address, context)
            server.start()
        except BaseException:
            platform.close()
            raise
        self._running = front, server
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cut all connections, end the thread, close the store."""
        front, server = self._parts
        self._running = None
        server.stop()
        front.platform.close()

    @property
    def _parts(self) -> tuple[Front, Server]:
        if self._running is None:
            raise RuntimeError("The local platform is not running. Use it in a with block.")
        return self._running

    # where it is

    @property
    def endpoint(self) -> str:
        """The URL to give to a client, such as ``http://127.0.0.1:40123``."""
        _, server = self._parts
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{server.host}:{server.port}"

    def client(self, **options: Any) -> Client:
        """Make a client of this package for this platform.

        Parameters
        ----------
        **options
            Passed on to ``v3io_frames_put.client.Client``; ``access_key`` and, with TLS from
            files, ``verify`` have defaults that fit. Proxies of the environment are passed by.
        """
        from v3io_frames_put.client import Client

        if self._keys:
            options.setdefault("access_key", self._keys[0].key)
        if isinstance(self._tls, tuple):
            options.setdefault("verify", os.fspath(self._tls[0]))
        client = Client(self.endpoint, **options)
        client._access.pass_proxies_by()  # noqa: SLF001  # none can reach this machine
        return client

    def wait(self) -> None:
        """Serve until ``stop`` is called or the process is interrupted."""
        self._stop_asked.wait()

    def stop(self) -> None:
        """End ``wait``; safe in a signal handler."""
        self._stop_asked.set()

    # faults

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The script of faults; setting it starts its counts anew."""
        return self._parts[0].faults

    @faults.setter
    def faults(self, faults: Iterable[Fault]) -> None:
        self._parts[0].faults = tuple(faults)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep every answer back inside the block; requests are handled nonetheless."""
        _, server = self._parts
        server.hold()
        try:
            yield
        finally:
            server.release()

    # what happened

    @property
    def requests(self) -> list[Arrival]:
        """Every request that arrived since the last ``clear``, in order."""
        return self._log.arrivals()

    def in_flight(self, function: str = "PutRecords") -> int:
        """Return how many requests of a function are under way."""
        return self._log.in_flight(function)

    def peak_in_flight(self, function: str = "PutRecords") -> int:
        """Return how many requests of a function were ever under way at once."""
        return self._log.peak_in_flight(function)

    def wait_until(
        self, condition: Callable[[LocalPlatform], bool], timeout_seconds: float = 10
    ) -> None:
        """Wait until requests or ghosts that come or go make a condition true.

        Raises
        ------
        TimeoutError
            It did not come true in time.
        """
        if not self._log.wait_until(lambda: condition(self), timeout_seconds):
            raise TimeoutError(f"The condition did not come true in {timeout_seconds} s.")

    def check(self) -> None:
        """Raise the first error of the platform itself; clients saw it as status 500."""
        for error in self._log.errors():
            raise error

    # what is stored

    def records(self, stream: str) -> list[StoredRecord]:
        """Return what stands in a stream, shard after shard, in stored order."""
        return self._parts[0].platform.records(stream)

    def create_stream(self, stream: str, shards: int = 1, retention_hours: int = 24) -> None:
        """Make a stream without a request."""
        self._parts[0].platform.create_stream(stream, shards, retention_hours)

    def add_records(
        self,
        stream: str,
        data: Iterable[bytes],
        *,
        shard: int | None = None,
        key: str | None = None,
    ) -> None:
        """Put records as another writer would, without a request."""
        self._parts[0].platform.add_records(stream, data, shard=shard, key=key)

    @property
    def platform(self) -> Platform:
        """The platform behind the server, with all that can be done without a request."""
        return self._parts[0].platform

    def clear(self) -> None:
        """Remove streams and files, set the faults of the start, forget the log."""
        front, server = self._parts
        server.forget_ghosts()
        front.faults = self._first_faults
        front.platform.clear()
        self._log.clear()


def tls_context(tls: Tls | None) -> ssl.SSLContext | None:
    """Make a server's TLS context from certificate and key files."""
    if tls is None or isinstance(tls, ssl.SSLContext):
        return tls
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*tls)
    return context


def serve_forever(
    platform: LocalPlatform, ready: Callable[[LocalPlatform], None] = lambda _: None
) -> None:
    """Serve until SIGINT or SIGTERM; for commands.

    Parameters
    ----------
    platform : LocalPlatform
        Not yet entered.
    ready : callable
        Called once requests are taken, with the platform: print its endpoint there.
    """
    with platform:
        before = {s: signal.signal(s, lambda *_: platform.stop()) for s in _ENDING}
        try:
            ready(platform)
            platform.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
