"""What a run did, in numbers: plain JSON types, at most 20 kB.

Kept in ``results.attrs["v3io"]``; with it, and the same data, a run can be resumed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from v3io_frames_put._delivery.outcome_pages import Status

Order: TypeAlias = Literal["key", "shard", "unknown", "none"]

_FIRST: Final = 100  # row numbers named in full; the rest is a count


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a run did.

    Attributes
    ----------
    run_id : str
        16 hexadecimal digits; the first half of every tag (``exactly_once``).
    stream, endpoint : str
        Where the records went.
    counts : dict of str to int
        Rows by status.
    requests, retried, bytes : int
        PutRecords requests, rows sent again, bytes of all bodies.
    seconds : float
        From the first window to the last outcome.
    order : {"key", "shard", "unknown", "none"}
        What stands in data order: the records of a key, of a key or shard, or nothing;
        unknown: of a key, and of those without one, that had a shard, but not all had.
    mapping : str
        A digest of what became of which column; a resumed run must have the same.
    starts : dict of str to int
        Per shard, its last number before the run (``exactly_once``, where small).
    stopped : str or None
        Why the run ended early. None: it did not.
    already_complete : bool
        Whether a journal told that nothing was left to do, so that nothing was sent.
    out_of_order, duplicates : dict
        ``count``, and the first 100 as ``first``.
    """

    run_id: str
    stream: str
    endpoint: str
    delivery: str
    order: Order
    mapping: str
    counts: Mapping[Status, int]
    requests: int
    retried: int
    bytes: int
    seconds: float
    starts: Mapping[str, int] = field(default_factory=dict)
    stopped: str | None = None
    already_complete: bool = False
    out_of_order: dict[str, Any] = field(default_factory=lambda: count_and_first([]))
    duplicates: dict[str, Any] = field(default_factory=lambda: count_and_first([]))

    def to_json(self) -> dict[str, Any]:
        """Turn it into plain JSON types."""
        rows = 0 if self.already_complete else self.counts["stored"]
        rate = round(rows / self.seconds) if rows and self.seconds else None
        return {**asdict(self), "rows_per_second": rate}


def count_and_first(items: list[Any], *, more: int = 0) -> dict[str, Any]:
    """Count items, and so many more that nobody can name; name the first of them."""
    return {"count": len(items) + more, "first": items[:_FIRST]}
