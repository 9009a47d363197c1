"""``LocalPlatform``: the platform, its faults, its log and its server in one object."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ._platform import Platform, StoredRecord
from ._rules import AccessKey, Rules, access_keys
from ._server import RequestLog, Server
from .faults import Arrival, Fault, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from typing_extensions import Self

    from ..client import Client

    StrPath = str | os.PathLike[str]


class LocalPlatform:
    """A platform of your own, on a port of this machine.

    It serves in a ``with`` block, or between ``start`` and ``stop``, in a thread that ends
    with it. Requests are answered one after the other, so that tests are repeatable.

    Without an access key it refuses what a foreign web page could send: a ``Host`` that is
    not a name of this machine, and writing requests from other sites.

    Parameters
    ----------
    data_dir : path, optional
        Where to keep what is stored: it survives the death of the process. None: in memory.
    port : int
        Where to listen; 0 finds a free port.
    access_key : str, AccessKey or several AccessKey, optional
        Who may do what. None: anybody anything.
    tls : (certificate file, key file), optional
        Serve HTTPS.
    faults : iterable of Fault, optional
        What goes wrong; see ``v3io_frames_put.local.faults``.
    host : str
        The address to listen on. Others than the loopback one are open to your network.
    allowed_hosts : iterable of str
        Further names that clients may use for this machine, such as that of a container.
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

    In a notebook, one cell starts it and a later one stops it:

    >>> platform = LocalPlatform().start()
    >>> platform.stop()
    """

    def __init__(  # noqa: PLR0913  # the first five are the contract's, the rest by keyword
        self,
        data_dir: str | Path | None = None,
        port: int = 0,
        access_key: str | AccessKey | Iterable[AccessKey] | None = None,
        tls: tuple[StrPath, StrPath] | None = None,
        faults: Iterable[Fault] | None = None,
        *,
        host: str = "127.0.0.1",
        allowed_hosts: Iterable[str] = (),
        rules: Rules | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = access_keys(access_key)
        self._data_dir, self._address, self._tls = data_dir, (host, port), tls
        self._hosts = frozenset(
            name.lower() for name in (host, socket.gethostname(), *allowed_hosts)
        )
        self._rules, self._clock = rules, clock
        self._first_faults = tuple(faults or ())
        self._log = RequestLog()
        self._running: Server | None = None
        self._stopped = threading.Event()

    def start(self) -> Self:
        """Open the store, start serving, and return this platform; one that runs goes on."""
        if self._running is not None:
            return self
        context = None
        if self._tls is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            try:
                context.load_cert_chain(*self._tls)
            except OSError as error:
                raise ValueError(
                    f"tls: {self._tls[0]} and {self._tls[1]} are not a certificate and its private "
                    f"key, each a PEM file ({error}). Correct the paths."
                ) from error
        platform = Platform(
            self._data_dir, access_key=self._keys, rules=self._rules, clock=self._clock
        )
        proxy = FaultProxy(platform, self._first_faults)
        hosts = None if self._keys else self._hosts
        try:
            server = Server(proxy, self._log, self._address, context, hosts)
            server.start()
        except BaseException:
            platform.close()
            raise
        self._stopped.clear()
        self._running = server
        return self

    def stop(self) -> None:
        """Cut all connections, end the thread, close the store; stopping twice is allowed.

        Without ``data_dir`` everything stored is gone.
        """
        server, self._running = self._running, None
        if server is not None:
            server.stop()
            server.proxy.platform.close()
            self._stopped.set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self) -> None:
        """Serve until another thread calls ``stop`` or the process is interrupted."""
        self._stopped.wait()

    @property
    def _server(self) -> Server:
        if self._running is None:
            raise RuntimeError("The local platform is not running. Call start() first.")
        return self._running

    @property
    def endpoint(self) -> str:
        """The URL to give to a client, such as ``http://127.0.0.1:40123``."""
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{self._server.host}:{self._server.port}"

    def client(self, **options: Any) -> Client:
        """Make a client of this package for this platform.

        ``options`` are those of ``v3io_frames_put.client.Client``; ``access_key`` and ``verify``
        have defaults that fit. Proxies are not used.
        """
        from ..client import Client

        if self._keys:
            options.setdefault("access_key", self._keys[0].key)
        if self._tls is not None:
            options.setdefault("verify", os.fspath(self._tls[0]))
        client = Client(self.endpoint, **options)
        # No proxy can reach this machine.
        client._endpoint = replace(client._endpoint, is_direct=True)  # noqa: SLF001
        return client

    @property
    def platform(self) -> Platform:
        """The platform behind the server, with all that can be done without a request."""
        return self._server.proxy.platform

    # faults

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What goes wrong; setting it restarts the counts."""
        return self._server.proxy.faults

    @faults.setter
    def faults(self, faults: Iterable[Fault]) -> None:
        self._server.proxy.faults = tuple(faults)

    def hold(self) -> AbstractContextManager[None]:
        """Hold back every answer during the block; requests are handled nonetheless."""
        return self._server.hold()

    # what happened

    @property
    def requests(self) -> list[Arrival]:
        """Every request that arrived since the last ``clear``, in order; the newest 100,000."""
        with self._log.changed:
            return list(self._log.arrivals)

    def in_flight(self, function: str = "PutRecords") -> int:
        """Return how many requests of a function are in flight."""
        return self._log.in_flight[function]

    def peak_in_flight(self, function: str = "PutRecords") -> int:
        """Return how many of these ``requests`` were in flight at once."""
        return max((r.in_flight for r in self.requests if r.function == function), default=0)

    def wait_until(
        self, condition: Callable[[LocalPlatform], bool], timeout_seconds: float = 10
    ) -> None:
        """Wait until requests or delayed writes make a condition true, or raise TimeoutError."""
        with self._log.changed:
            if not self._log.changed.wait_for(lambda: condition(self), timeout_seconds):
                raise TimeoutError(f"The condition did not come true in {timeout_seconds} s.")

    def check(self) -> None:
        """Raise the first error of the platform itself; clients saw it as status 500."""
        for error in self._log.errors:
            raise error

    # what is stored

    def records(self, stream: str) -> list[StoredRecord]:
        """Return the records of a stream, shard after shard, in stored order."""
        return self.platform.records(stream)

    def create_stream(self, stream: str, shards: int = 1, retention_hours: int = 24) -> None:
        """Make a stream without a request."""
        self.platform.create_stream(stream, shards, retention_hours)

    def add_records(
        self,
        stream: str,
        data: Iterable[bytes],
        *,
        shard: int | None = None,
        key: str | None = None,
    ) -> None:
        """Put records as another writer would, without a request."""
        self.platform.add_records(stream, data, shard=shard, key=key)

    def clear(self) -> None:
        """Remove streams and files, restore the faults of the start, forget the log."""
        self._server.cancel_delayed_writes()
        self.faults = self._first_faults
        self.platform.clear()
        self._log.clear()
