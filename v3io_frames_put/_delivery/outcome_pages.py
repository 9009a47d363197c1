"""The columns that tell what became of rows: how they are kept, and how they look in Arrow.

Values only. A page is a structured array with one entry a row; texts stand in it as
numbers, so that a row costs the same whatever it has to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Status: TypeAlias = Literal["stored", "rejected", "unsent", "unknown"]
STATUSES: Final[tuple[Status, ...]] = ("stored", "rejected", "unsent", "unknown")

PAGE_ROWS: Final = 1 << 16
OPEN: Final = -1  # in the status column: no outcome yet
NOT_GIVEN: Final = -1  # in shard, sequence number, name and detail: not given
NO_CODE: Final = np.iinfo(np.int64).min  # the platform's codes are negative

PAGE: Final = np.dtype(
    [
        ("status", np.int8),
        ("maybe_duplicate", np.bool_),
        ("attempts", np.int16),
        ("shard_id", np.int32),
        ("sequence_number", np.int64),
        ("error_code", np.int64),
        ("error_message", np.int32),
        ("error_detail", np.int32),
        ("record_row", np.int32),
    ]
)
BLANK: Final = np.array(
    (OPEN, False, 0, NOT_GIVEN, NOT_GIVEN, NO_CODE, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN), PAGE
)

SCHEMA: Final = pa.schema(
    [
        ("status", pa.dictionary(pa.int8(), pa.string())),
        ("shard_id", pa.int32()),
        ("sequence_number", pa.int64()),
        ("error_code", pa.int64()),
        ("error_message", pa.string()),
        ("error_detail", pa.string()),
        ("attempts", pa.int16()),
        ("maybe_duplicate", pa.bool_()),
    ]
)
"""Columns of the results, in order (contract section 2)."""

RECORD_ROW: Final = pa.field("record_row", pa.int32())
"""The last column, where records hold several rows."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why rows are not stored, as the error columns tell it."""

    message: str
    detail: str = ""
    code: int | None = None


class Texts:
    """Each distinct text once, found by number."""

    def __init__(self) -> None:
        self._number_of: dict[str, int] = {}
        self._values: list[str] = []

    def number(self, text: str) -> int:
        """Find the number of a text; the empty one means not given."""
        if not text:
            return NOT_GIVEN
        if text not in self._number_of:
            self._number_of[text] = len(self._values)
            self._values.append(text)
        return self._number_of[text]

    def column(self, numbers: NDArray[np.int32]) -> pa.StringArray:
        """Turn numbers into an Arrow column of texts."""
        used, positions = np.unique(numbers, return_inverse=True)
        texts = pa.array([self._values[n] if n != NOT_GIVEN else None for n in used], pa.string())
        return texts.take(pa.array(positions))


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier runs under the same run id left of each row.

    Attributes
    ----------
    pages : ndarray
        A page's columns, one entry a row of the data; texts are numbers in ``texts``.
    texts : Texts
        The texts of those numbers.
    is_final : ndarray of bool
        Rows that keep their outcome: they are not sent again.
    in_doubt : ndarray of bool
        Rows that are sent again although they may be stored: they can only end stored,
        perhaps twice, or unknown.
    """

    pages: NDArray[Any]
    texts: Texts
    is_final: NDArray[np.bool_]
    in_doubt: NDArray[np.bool_]

    def finish(self, rows: NDArray[np.int64], status: Status, **columns: Any) -> None:
        """Give rows, before they are opened, an outcome to keep."""
        self.is_final[rows] = True
        self.pages["status"][rows] = STATUSES.index(status)
        for name, value in columns.items():
            self.pages[name][rows] = value

    def note_places(self, rows: NDArray[np.int64], columns: Mapping[str, Any]) -> None:
        """Note where rows stand that this run has stored."""
        for name in ("shard_id", "sequence_number"):
            self.pages[name][rows] = columns[name]
