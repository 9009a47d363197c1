"""A platform that we can reach: transports and questions to it, made when needed.

requests is loaded by the first of them. Plain data otherwise, so that it pickles;
connections and secrets stay behind.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from v3io_frames_put._delivery.asking import Asker
from v3io_frames_put._delivery.clock import Clock
from v3io_frames_put._delivery.endpoint import Endpoint
from v3io_frames_put._delivery.remote import RemoteStream
from v3io_frames_put._wire.paths import StreamPath, parse_stream_path
from v3io_frames_put.errors import ConfigError

if TYPE_CHECKING:
    from v3io_frames_put._delivery.transport import Transport
    from v3io_frames_put.config import Retry, Timeouts


class Access:
    """Where the platform is, who we are, how patient we are; safe to share."""

    def __init__(self, endpoint: Endpoint, timeouts: Timeouts, retry: Retry) -> None:
        self.endpoint, self.timeouts, self.retry = endpoint, timeouts, retry
        self._start()

    def pass_proxies_by(self) -> None:
        """Reach the platform directly, whatever the environment says of proxies."""
        self.endpoint = replace(self.endpoint, is_direct=True)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._askers: dict[str, Asker] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out connections, and secrets: pickles travel and lie about."""
        endpoint = self.endpoint.without_secrets()
        return {"endpoint": endpoint, "timeouts": self.timeouts, "retry": self.retry}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.endpoint = self.endpoint.with_secrets_of(Endpoint.from_env())
        self._start()

    def locate(self, stream: str | StreamPath) -> StreamPath:
        """Read a stream path, and fill in its API host."""
        place = stream if isinstance(stream, StreamPath) else parse_stream_path(stream)
        url = self.endpoint.at(place.endpoint).url
        if url is None:
            raise ConfigError(
                f"stream {str(place)!r}: no endpoint is known; expected one. "
                f"Set V3IO_API, or give Client(endpoint=...)."
            )
        return StreamPath(place.container, place.path, url)

    def transport(self, place: StreamPath | None = None) -> Transport:
        """Make a transport to the API host of a place, or to our own."""
        from v3io_frames_put._delivery.transport import Transport

        endpoint = self.endpoint.at(place.endpoint if place else None)
        return Transport(endpoint, self.timeouts, clock=Clock().now)

    def remote(self, stream: str | StreamPath) -> RemoteStream:
        """Return a stream that can be asked about."""
        place = self.locate(stream)
        return RemoteStream(self._asker(place), place)

    def close(self) -> None:
        """Close every connection; what is asked later opens new ones."""
        with self._lock:
            askers, self._askers = self._askers, {}
        for asker in askers.values():
            asker.close()

    def _asker(self, place: StreamPath) -> Asker:
        """Return who asks that host; its connections are kept between calls."""
        url = str(place.endpoint)
        with self._lock:
            if url not in self._askers:
                self._askers[url] = Asker(lambda: self.transport(place), self.retry, where=url)
            return self._askers[url]
