"""``RecordsPlan``: what an upload would send, as a value that shows itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from v3io_frames_put.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

_SHOWN_KEYS: Final = 5
_SHOWN_REJECTED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRecord:
    """A record as it will stand on the stream.

    Attributes
    ----------
    rows : int
        Rows in it.
    data : bytes
        Its payload, before Base64.
    partition_key : str or None
        None: not given.
    shard : int or None
        None: not given.
    client_info : bytes or None
        None: not given; an ``exactly_once`` run puts its tags there.
    """

    rows: int
    data: bytes
    partition_key: str | None
    shard: int | None
    client_info: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCounts:
    """How records spread over destinations.

    Attributes
    ----------
    keys : int
        Different partition keys.
    largest : dict of str to int
        Records of the most frequent keys, largest first.
    shards : dict of int to int
        Records by the shard that was asked for.
    free : int
        Records with neither key nor shard: the platform spreads them.
    """

    keys: int
    largest: Mapping[str, int]
    shards: Mapping[int, int]
    free: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordsPlan:
    """What an upload would send.

    Attributes
    ----------
    stream : str
        Where the records would go.
    rows, records : int
        Rows read, and records made of those that can be sent.
    requests : int
        Requests: exact, or, where ``requests_vary``, as many as a platform gets that
        answers at once, one request after the other.
    requests_vary : bool
        Whether the number of requests depends on when answers come: rows of several
        destinations wait for each other, or ``max_in_flight_bytes`` is tight.
    body_bytes : int
        Bytes of all bodies in that many requests; one request more or less adds or
        saves 13.
    data_bytes : int
        Bytes of all payloads, before Base64.
    sizes : dict of str to int
        Bytes of a payload: ``min``, ``median``, ``p95``, ``max``. Empty: no records.
    rejected_rows : int
        Rows that would be rejected before anything is sent.
    rejected : DataFrame
        The first 1,000 of them by row number: ``label`` (index), ``error_message`` and
        ``error_detail``, which names the column.
    rejected_by_reason : dict of str to int
        All of them by ``error_message``.
    keys : KeyCounts
        Destinations.
    parallel_requests : float
        How many requests are under way at once, on average, while a full one waits. Where
        they are fewer than ``max_in_flight``, its rows wait for those of other requests.
    preview : tuple of PlannedRecord
        The first records.
    advice : tuple of str
        What to know or mend before the upload.
    """

    stream: str
    rows: int
    records: int
    requests: int
    requests_vary: bool
    body_bytes: int
    data_bytes: int
    sizes: Mapping[str, int]
    rejected_rows: int
    rejected: pd.DataFrame
    rejected_by_reason: Mapping[str, int]
    keys: KeyCounts
    parallel_requests: float
    preview: tuple[PlannedRecord, ...]
    advice: tuple[str, ...]

    def seconds_at(self, rows_per_second: float) -> float:
        """Return how long an upload takes at a rate; a receipt tells the rate of a run."""
        if not rows_per_second > 0:
            raise ConfigError(f"rows_per_second={rows_per_second!r}; expected more than 0.")
        return (self.rows - self.rejected_rows) / rows_per_second

    @property
    def requests_text(self) -> str:
        """The number of requests, with a word on whether it is exact."""
        return f"{'about ' if self.requests_vary else ''}{self.requests:,}"

    def facts(self) -> list[tuple[str, str]]:
        """Say the numbers in words, one line each."""
        facts = [
            ("Stream", self.stream),
            ("Rows", f"{self.rows:,}"),
            ("Records", f"{self.records:,}"),
            ("Requests", self.requests_text),
            ("Bytes on the wire", f"{self.body_bytes:,}"),
        ]
        if self.sizes:
            sizes = ", ".join(f"{name} {size:,}" for name, size in self.sizes.items())
            facts.append(("Bytes of a record", sizes))
        facts.append(("Destinations", self._destinations()))
        facts.append(("Rejected rows", f"{self.rejected_rows:,}"))
        return facts

    def _destinations(self) -> str:
        keys = self.keys
        parts = [f"partition keys {keys.keys:,}"] if keys.keys else []
        parts += [f"shards asked for {len(keys.shards):,}"] if keys.shards else []
        if keys.free or not parts:
            parts.append(f"records without either {keys.free:,}")
        return ", ".join(parts)

    def __repr__(self) -> str:
        lines = [f"{name + ':':<19}{said}" for name, said in self.facts()]
        if self.keys.largest:
            lines += ["", "Records of the most frequent keys"]
            shown = list(self.keys.largest.items())[:_SHOWN_KEYS]
            lines += [f"  {count:>12,} {key!r}" for key, count in shown]
        if self.rejected_rows:
            lines += ["", "Would be rejected"]
            lines += [f"  {n:>12,} {name}" for name, n in self.rejected_by_reason.items()]
            details = self.rejected.head(_SHOWN_REJECTED)["error_detail"].items()
            lines += [f"  row {row}: {detail}" for row, detail in details]
        lines += ["", *(line.replace("`", "") for line in self.advice)] if self.advice else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from v3io_frames_put.plan.page import draw_plan

        return draw_plan(self)
