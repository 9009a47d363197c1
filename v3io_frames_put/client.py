"""Where the platform is, who uses it, and the verbs of its streams.

Nothing is connected and requests is not loaded until something is sent.
"""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, Any, Literal

from ._io import reader
from ._io.endpoint import Endpoint, conceal
from ._io.stream_admin import Clock, RetryingRequests, StreamAdmin
from ._wire.paths import StreamPath, parse_stream_path
from .config import Format, Limits, Retry, Timeouts, or_default
from .errors import ConfigError, InsecureConnectionWarning

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    import pandas as pd
    from typing_extensions import Self

    from ._io.reader import StartLike
    from ._io.transport import Transport
    from ._io.verify import Verification
    from ._wire.responses import RecordPage, StreamDescription


class Client:
    """A platform: its address, your credentials, timeouts and retries.

    Safe to share between threads. Connections are opened when they are
    needed, one per thread. A pickled Client holds no secret: when it is loaded, it
    takes access key, username and password from the environment.

    Parameters
    ----------
    endpoint : str, optional
        ``"https://host:8443"``; without a scheme, ``http://``. None: ``V3IO_API``. It may
        be missing if every stream path names its API host.
    access_key : str, optional
        Wins over username and password. None, with an endpoint from the environment
        and no other credentials: ``V3IO_ACCESS_KEY``, ``V3IO_USERNAME``,
        ``V3IO_PASSWORD``. The environment's secrets never go to an endpoint given here;
        they go to the host that a stream path names, as MLRun's do.
    username, password : str, optional
        Used without an access key.
    verify : bool or path
        Whether TLS certificates are verified, or a file of trusted certificates. False warns.
    timeouts : Timeouts
        Timeouts of each request.
    retry : Retry
        How long and how often a request is tried.
    limits : Limits
        Largest request and record that the platform accepts.

    Attributes
    ----------
    timeouts, retry, limits
        As given.
    """

    _endpoint = Endpoint()  # the repr of one that is refused needs it, in tracebacks

    def __init__(  # the contract's signature
        self,
        endpoint: str | None = None,
        access_key: str | None = None,
        *,
        username: str | None = None,
        password: str | None = None,
        verify: bool | str | PathLike[str] = True,
        timeouts: Timeouts | None = None,
        retry: Retry | None = None,
        limits: Limits | None = None,
    ) -> None:
        # No traceback shows them; people write passwords into endpoints, too.
        endpoint, access_key, password = conceal(endpoint), conceal(access_key), conceal(password)
        given = Endpoint(
            url=endpoint, verify=verify, access_key=access_key, username=username, password=password
        )
        self._set(
            Endpoint.find(given),
            or_default("timeouts", timeouts, Timeouts()),
            or_default("retry", retry, Retry()),
            or_default("limits", limits, Limits()),
        )
        if self._endpoint.verify is False:
            text = "verify=False: TLS is not verified, anyone on the way can read the access key"
            warnings.warn(text, InsecureConnectionWarning, stacklevel=2)

    def _set(self, endpoint: Endpoint, timeouts: Timeouts, retry: Retry, limits: Limits) -> None:
        self._endpoint = endpoint
        self.timeouts, self.retry, self.limits = timeouts, retry, limits
        self.interactive_retry = retry.where_a_person_waits()  # of the verbs, too
        self._lock = threading.Lock()
        self._requests: dict[str, RetryingRequests] = {}  # by API host

    def __getstate__(self) -> tuple[Any, ...]:
        """Leave out connections, and secrets: pickles travel and are kept."""
        return self._endpoint.without_secrets(), self.timeouts, self.retry, self.limits

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        endpoint, *settings = state
        self._set(endpoint.with_secrets_of(Endpoint.from_env()), *settings)

    def __repr__(self) -> str:
        user = f", username={self.username!r}" if self.username else ""
        return f"Client({self.endpoint!r}{user})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def endpoint(self) -> str | None:
        """Address of the web API, or None if only stream paths have it."""
        return self._endpoint.url

    @property
    def username(self) -> str | None:
        """The user name, if one is used."""
        return self._endpoint.username

    def close(self) -> None:
        """Close every connection. The client can still be used: it opens new ones."""
        with self._lock:
            requests, self._requests = self._requests, {}
        for each in requests.values():
            each.close()

    def locate(self, stream: str | StreamPath) -> StreamPath:
        """Parse a stream path; its ``endpoint`` is filled in, or a ConfigError says why not."""
        place = stream if isinstance(stream, StreamPath) else parse_stream_path(stream)
        url = self._endpoint.at(place.endpoint).url
        if url is None:
            raise ConfigError(
                f"stream {str(place)!r}: no endpoint is known; expected one. "
                f"Set V3IO_API, or give Client(endpoint=...)."
            )
        return StreamPath(place.container, place.path, url)

    def transport(
        self, place: StreamPath | None = None, *, first_contact_seconds: float | None = None
    ) -> Transport:
        """Make a transport, for one thread, to the API host of a place or to the client's own."""
        from ._io.transport import Transport

        return Transport(
            self._endpoint.at(place.endpoint if place else None),
            self.timeouts,
            clock=Clock().now,
            first_contact_seconds=first_contact_seconds,
        )

    def _admin(self, stream: str | StreamPath) -> StreamAdmin:
        """Return a stream's verbs; connections to its host are kept between calls."""
        place = self.locate(stream)
        url = str(place.endpoint)
        with self._lock:
            if url not in self._requests:
                retry = self.interactive_retry
                seconds = retry.first_contact_seconds
                self._requests[url] = RetryingRequests(
                    lambda: self.transport(place, first_contact_seconds=seconds), retry, where=url
                )
            return StreamAdmin(self._requests[url], place)

    def create_stream(
        self,
        stream: str | StreamPath,
        shards: int = 1,
        retention_hours: int = 24,
        exist_ok: bool = False,  # noqa: FBT001, FBT002  # the contract's signature
    ) -> StreamDescription:
        """Create a stream; directories above it are made as needed.

        Parameters
        ----------
        stream : str or StreamPath
            Where; ``"container/path"`` or a longer form, as in every verb.
        shards : int
            1 to 4,096; it can grow later.
        retention_hours : int
            How long records are surely kept.
        exist_ok : bool
            Whether a stream that exists is fine. It is left as it is: its real shard
            count is returned, and a difference logged.

        Returns
        -------
        StreamDescription
            What is there now.

        Raises
        ------
        RequestError
            Something is at that path.
        PlatformUnavailable
            No answer came; whether the stream exists is then not known.
        """
        return self._admin(stream).create(
            shards=shards, retention_hours=retention_hours, exist_ok=exist_ok
        )

    def describe_stream(self, stream: str | StreamPath) -> StreamDescription:
        """Return a stream's ``shards`` and ``retention_hours``.

        Raises
        ------
        StreamNotFound
            Nothing is at that path.
        NotAStream
            Something else is at that path.
        """
        return self._admin(stream).describe()

    def update_stream(self, stream: str | StreamPath, shards: int) -> StreamDescription:
        """Grow a stream to a number of shards; one that has it is left alone.

        Records of a partition key may then go to another shard than before.
        """
        return self._admin(stream).update(shards=shards)

    def delete_stream(self, stream: str | StreamPath) -> None:
        """Delete a stream with all its records, and nothing else.

        Only what DescribeStream says is a stream is deleted, only files right below its
        path, and nothing at all if a directory is among them.
        """
        self._admin(stream).delete()

    def seek(
        self, stream: str | StreamPath, shard: int, start: StartLike | int = "earliest"
    ) -> str | None:
        """Return a location in a shard, for ``get_records``.

        Parameters
        ----------
        shard : int
            Which of its shards.
        start : {"earliest", "latest"}, timestamp or int
            An int is a sequence number; a naive time is UTC.

        Returns
        -------
        str or None
            None: nothing was ever written to that shard.
        """
        return reader.seek(self._admin(stream), shard, start)

    def get_records(
        self, stream: str | StreamPath, shard: int, location: str, limit: int = 1_000
    ) -> RecordPage:
        """Read at most so many records from a location.

        Returns
        -------
        RecordPage
            ``records`` (a pyarrow RecordBatch), ``next_location``, ``records_behind``.

        Raises
        ------
        RequestError
            The location has expired: seek again.
        """
        return reader.get_records(self._admin(stream), shard, location, limit)

    def read_records(
        self,
        stream: str | StreamPath,
        start: StartLike = "earliest",
        limit: int = 1_000_000,
        unique: bool = False,  # noqa: FBT001, FBT002  # the contract's signature
    ) -> pd.DataFrame:
        """Read records back from every shard, to the end as it is now.

        Records of one shard come in stored order; shards follow one another.

        Parameters
        ----------
        stream : str or StreamPath
            An existing stream.
        start : {"earliest", "latest"}, timestamp or dict of int to int
            Where to begin. A dict gives a sequence number per shard; shards it does
            not name are not read. A naive time is UTC.
        limit : int
            At most this many records in all. A warning says when it cut.
        unique : bool
            Keep only the first record of each ``exactly_once`` tag. Records whose
            client info is not 16 bytes long have no tag, and all stay.

        Returns
        -------
        DataFrame
            One row per record: ``shard_id`` (Int32), ``sequence_number`` (Int64),
            ``arrival_time`` (UTC), ``partition_key``, ``client_info``, ``data`` (bytes).

        Raises
        ------
        StreamNotFound, NotAStream
            No stream is at that path.
        """
        return reader.read_frame(self._admin(stream), start, limit=limit, unique=unique)

    def decode_records(
        self,
        records: pd.DataFrame,
        *,
        format: Format = "json",  # noqa: A002 - the option's public name
        schema: object = None,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> pd.DataFrame:
        """Turn records back into rows.

        Parameters
        ----------
        records : DataFrame
            As ``read_records`` returns it: ``shard_id``, ``sequence_number``, ``data``.
        format : {"json", "arrow", "raw"}
            How the data was encoded. JSON records may hold several lines.
        schema : Schema or DataFrame, optional
            The types to give back: the pandas frame that was sent, or one like it (its
            dtypes), or a pyarrow or polars schema or table (columns come as pandas'
            ``ArrowDtype``). Columns it does not name come with JSON's or Arrow's own types,
            as all do without it; whole numbers are exact also beside nulls.
        on_error : {"raise", "skip"}
            What to do with a record that cannot be decoded. ``"skip"`` leaves it out, and
            warns with its shard and sequence number.

        Returns
        -------
        DataFrame
            One row per row sent, indexed by ``shard_id`` and ``sequence_number``. The
            rows of one record share a label.

        Raises
        ------
        DataError
            A record cannot be decoded, or does not fit ``schema``; the text says which
            record or column.
        """
        from ._encode.decode import decode_records

        frame: pd.DataFrame = decode_records(
            records, format=format, schema=schema, on_error=on_error
        )
        return frame

    def verify_results(
        self,
        results: pd.DataFrame,
        stream: str | StreamPath,
        *,
        progress: Callable[[int, int], object] | None = None,
    ) -> Verification:
        """Read a stream again, and compare it with the rows that results call stored.

        A negative answer raises nothing: ask ``is_proven``. Order is compared between
        rows of one partition key and, where all others were given one, of one shard.
        ``progress`` is called with the records read so far, and those to read.
        """
        from ._io.verify import verify_results

        return verify_results(results, self._admin(stream), progress)


def with_retry(client: Client, retry: Retry, timeouts: Timeouts | None = None) -> Client:
    """Make a client for the same platform that retries differently, with its own connections."""
    other = Client.__new__(Client)
    timeouts = timeouts or client.timeouts
    other._set(client._endpoint, timeouts, retry, client.limits)  # noqa: SLF001  # its own module
    return other


def pick_client(client: Client | None) -> Client:
    """Return the client that was given; None: one from the environment."""
    if client is None:
        return Client()
    if not isinstance(client, Client):
        raise ConfigError(f"client: expected Client(...); got {client!r}. Correct it.")
    return client
