"""``RecordsPlan``: what an upload would send, as a value that shows itself.

As text, as a page of static HTML, and as what fits below the form of the uploader.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .. import _html
from .._html import plural
from ..errors import ConfigError
from ..summary import draw_reasons, group_reasons

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

_SHOWN_KEYS: Final = 5
_SHOWN_BYTES: Final = 200
_SHOWN_RECORDS: Final = 3
_SHOWN_REJECTED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRecord:
    """A record as it will be on the stream.

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
        """Return how long an upload takes at a rate; a run's receipt has its rate."""
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
        return draw_plan(self)


def draw_plan(plan: RecordsPlan) -> str:
    """Draw the numbers, advice, the first records, and what would be rejected."""
    figures = [
        (f"{plan.rows:,}", "rows"),
        (f"{plan.records:,}", "records"),
        (plan.requests_text, "requests"),
        (f"{plan.rejected_rows:,}", _html.dot("rejected") + "rejected"),
        (_html.size(plan.body_bytes), "on the wire"),
    ]
    chips = (
        _html.chip("rejected", f"{plan.rejected_rows:,} would be rejected")
        if plan.rejected_rows
        else ""
    )
    return _html.card(
        _html.headline("What would be sent", chips, plan.stream),
        _html.figures(figures),
        *(_html.notice(advice, color="running") for advice in plan.advice),
        _draw_rejected(plan),
        _html.fold("The first records", "", _draw_records(plan.preview), is_open=True)
        if plan.preview
        else "",
        _draw_keys(plan),
        _html.fold("Details", "", _html.table(["", ""], plan.facts())),
    )


def draw_live_plan(plan: RecordsPlan, total: int, *, is_open: bool = True) -> str:
    """Draw what fits below a form; of a sample, what it makes of all ``total`` rows."""
    is_sample = total > plan.rows
    factor = total / plan.rows if is_sample and plan.rows else 1
    about = "about " if is_sample else ""
    words = (
        f"**{plural(total, 'row')}** make {about}{plural(round(plan.records * factor), 'record')}"
    )
    if not is_sample:  # how full the last request of a sample is says nothing of the others
        vary = "about " if plan.requests_vary else ""
        words += f" in {vary}{plural(plan.requests, 'request')}"
    words += f", {about}{_html.size(plan.body_bytes * factor)} on the wire"
    words += f" (by the first {plan.rows:,} rows)" if is_sample else ""
    parts = [_html.paragraph(words)]
    if plan.rejected_rows:
        whose = f" of the first {plan.rows:,}" if is_sample else ""
        rows = plural(plan.rejected_rows, "row")
        label, detail = plan.rejected.iloc[0][["label", "error_detail"]]
        first = f"**{rows}{whose} would be rejected**, the first is {label}: {detail}"
        parts.append(_html.notice(first, color="rejected"))
    parts += [_html.notice(advice, color="running") for advice in plan.advice]
    parts.append(_draw_records(plan.preview[:_SHOWN_RECORDS]))
    return _html.block(
        "plan", _html.fold("What would be sent", "", "".join(parts), is_open=is_open)
    )


def _draw_records(preview: Sequence[PlannedRecord]) -> str:
    """Draw the first records as they will be on the stream."""
    header = ["Partition key", "Shard", "Data of the first records"]
    rows = [
        [
            "" if record.partition_key is None else record.partition_key,
            "" if record.shard is None else str(record.shard),
            _html.code(_show_bytes(record.data)),
        ]
        for record in preview
    ]
    return _html.table(header, rows) if rows else ""


def _show_bytes(data: bytes) -> str:
    head = data[:_SHOWN_BYTES]
    try:
        shown = head.decode()
    except UnicodeDecodeError:  # bytes of another kind, or cut inside a character
        shown = repr(head)
    return shown if len(head) == len(data) else f"{shown}… ({len(data):,} bytes)"


def _draw_rejected(plan: RecordsPlan) -> str:
    if not plan.rejected_rows:
        return ""
    kept = len(plan.rejected)
    aside = f"by the first {kept:,}, which are in .rejected" if plan.rejected_rows > kept else ""
    rows = plan.rejected.set_index("label").assign(status="rejected", error_code=None)
    heading = f"{plural(plan.rejected_rows, 'row')} would be rejected"
    return _html.fold(heading, aside, draw_reasons(group_reasons(rows), {}), is_open=True)


def _draw_keys(plan: RecordsPlan) -> str:
    if not plan.keys.largest:
        return ""
    rows = [(repr(key), count) for key, count in plan.keys.largest.items()][:_SHOWN_KEYS]
    aside = f"of {plan.keys.keys:,}"
    drawn = _html.table(["Key", "Records"], rows)
    return _html.fold("The most frequent partition keys", aside, drawn, is_open=True)
