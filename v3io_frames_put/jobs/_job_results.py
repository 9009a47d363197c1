"""Results of a job, in numbers; the rows themselves are in files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from v3io_frames_put.jobs._files import kind_of
from v3io_frames_put.summary import describe_unstored, draw_summary, summarize_receipt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from v3io_frames_put.summary import Summary


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class JobResults:
    """What became of the rows of a job.

    Attributes
    ----------
    counts : dict of str to int
        Rows by status, all four of them.
    reasons : list of dict
        Why rows are not stored, the most frequent first: ``status``, ``error_message``,
        ``error_code``, ``rows``, and of the first of them ``detail``, ``file``, ``file_row``.
    files : int
        Number of input files.
    complete : bool
        Whether every file was read to its end. If not, ``counts`` may lack rows that were
        never read.
    receipt : dict
        The run's, as ``results.attrs["v3io"]`` of ``put_records``.
    shards : dict of int to dict
        Of each shard that got rows: how many ``rows``, ``first`` and ``last`` sequence number.
    results : Path or None
        The outcome of each row; ``pandas.read_parquet`` returns what ``put_records`` would.
        None: not asked for, or it could not be written.
    failed : Path or None
        The rows that are left to send, and why; likewise.
    failed_rows : int or None
        Rows in ``failed``.
    """

    counts: Mapping[str, int]
    reasons: Sequence[Mapping[str, Any]]
    files: int
    complete: bool
    receipt: Mapping[str, Any]
    shards: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    results: Path | None = None
    failed: Path | None = None
    failed_rows: int | None = None

    @property
    def rows(self) -> int:
        """Rows that have an outcome."""
        return sum(self.counts.values())

    def unstored_message(self) -> str:
        """Say in one paragraph how many rows are not stored, and why."""
        where = ""
        if self.failed is not None:
            is_all = self.failed_rows == self.rows - self.counts["stored"]
            them = "They" if is_all else f"{self.failed_rows or 0:,} of them"
            where = f"{them} are in {self.failed}."
        reasons = [(_describe(one), one["rows"], one["detail"]) for one in self.reasons]
        return describe_unstored(self.counts, reasons, where=where)

    def __repr__(self) -> str:
        lines = [repr(self._summarize()), "", f"Files read: {self.files:,}"]
        for name, path in (("Results", self.results), ("Failed rows", self.failed)):
            lines += [f"{name}: {path}"] if path is not None else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return draw_summary(self._summarize())

    def _summarize(self) -> Summary:
        return summarize_receipt(self.receipt, self.reasons, self.counts, self.shards)

    def to_json(self) -> dict[str, Any]:
        """Turn it into plain JSON types: the summary of a job."""
        return {
            **{name: value for name, value in self.receipt.items() if name != "counts"},
            "rows": self.rows,
            "counts": dict(self.counts),
            "reasons": [dict(reason) for reason in self.reasons[:20]],
            "files": self.files,
            "complete": self.complete,
            "results": None if self.results is None else str(self.results),
            "failed": None if self.failed is None else str(self.failed),
            "failed_rows": self.failed_rows,
        }


def _describe(reason: Mapping[str, Any]) -> str:
    """Return the name of a reason, and where its first row is unless the detail has that."""
    if reason["file_row"] is None or reason["file"] in (reason["detail"] or ""):
        return str(reason["error_message"])
    first = "" if reason["rows"] == 1 else "the first: "
    unit = "line" if kind_of(reason["file"]) in ("csv", "tsv", "json") else "row"
    place = f"{first}{unit} {reason['file_row']:,} of {reason['file']}"
    return f"{reason['error_message']} ({place})"
