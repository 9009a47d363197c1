"""Values that the modules of this folder share: statuses, reasons, pages of outcomes, copies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from .._wire.responses import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Status: TypeAlias = Literal["stored", "rejected", "unsent", "unknown"]
STATUSES: Final[tuple[Status, ...]] = ("stored", "rejected", "unsent", "unknown")

PAGE_ROWS: Final = 1 << 16
OPEN: Final = -1  # in the status column: no outcome yet
IN_DOUBT: Final = -2  # likewise, and perhaps stored by an earlier process of the run
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

TEXTS: Final = ("error_message", "error_detail")  # columns that pages hold as numbers

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
"""Columns of the results, in order."""

RECORD_ROW: Final = pa.field("record_row", pa.int32())
"""The last column, where records hold several rows."""


class Copy(NamedTuple):
    """Another place where a row is stored, which the last scan of ``exactly_once`` found.

    A request on a dead connection may be stored after it was looked up:

        0 s   rows 7 and 8 are sent, no answer
        5 s   look-up: neither is there; both are sent again
        6 s   row 7 is stored as 0:21 (shard:number), row 8 is rejected
        9 s   the first request is stored after all: 0:25 and 0:26
        end   last scan: a duplicate of row 7, and a late copy of row 8, which becomes stored
    """

    row: int
    shard_id: int
    sequence_number: int
    record_row: int = 0  # the row's place in that record; 0 also where only the record counts

    @property
    def is_lost(self) -> bool:
        """Whether nobody knows if it is stored: records are missing where it would be."""
        return self.shard_id == NOWHERE


@dataclass(frozen=True, slots=True)
class Failure:
    """Why rows are not stored: the error columns."""

    message: str
    detail: str = ""
    code: int | None = None


LOST: Final = Failure(
    "NoAnswer",
    "an earlier request of the run may have stored it; records are missing where it would be, "
    "so its absence is not proven",
)


NOT_LOOKED_UP: Final = Failure(
    "NoAnswer",
    "an earlier request of the run may have stored it; the run ended before that was looked up",
)


@dataclass(slots=True)
class Texts:
    """Interns texts: each distinct one once, under a number."""

    _number_of: dict[str, int] = field(default_factory=dict)
    _values: list[str] = field(default_factory=list)

    def number(self, text: str) -> int:
        """Return the number of a text; the empty one means not given."""
        if not text:
            return NOT_GIVEN
        if text not in self._number_of:
            self._number_of[text] = len(self._values)
            self._values.append(text)
        return self._number_of[text]

    def intern(self, texts: str | NDArray[Any]) -> int | list[int]:
        """Return the number of a text, or of each."""
        return self.number(texts) if isinstance(texts, str) else list(map(self.number, texts))

    def column(self, numbers: NDArray[np.int32]) -> pa.StringArray:
        used, positions = np.unique(numbers, return_inverse=True)
        texts = pa.array([self._values[n] if n != NOT_GIVEN else None for n in used], pa.string())
        return texts.take(pa.array(positions))

    def numbers(self, column: pa.Array) -> NDArray[np.int32]:
        encoded = column.dictionary_encode()
        known = [self.number(text) for text in encoded.dictionary.to_pylist()]
        places = np.asarray(encoded.indices.fill_null(len(known)))
        numbers: NDArray[np.int32] = np.array([*known, NOT_GIVEN], np.int32)[places]
        return numbers


def to_results_batch(
    page: Mapping[str, NDArray[Any]], texts: Texts, *, packed: bool
) -> pa.RecordBatch:
    columns = [
        pa.DictionaryArray.from_arrays(pa.array(page["status"]), pa.array(STATUSES)),
        _nullable(page["shard_id"], NOT_GIVEN),
        _nullable(page["sequence_number"], NOT_GIVEN),
        _nullable(page["error_code"], NO_CODE),
        texts.column(page["error_message"]),
        texts.column(page["error_detail"]),
        pa.array(page["attempts"]),
        pa.array(page["maybe_duplicate"]),
    ]
    if packed:
        columns.append(_nullable(page["record_row"], NOT_GIVEN))
    return pa.record_batch(columns, schema=SCHEMA.append(RECORD_ROW) if packed else SCHEMA)


def to_journal_batch(columns: Mapping[str, NDArray[Any]]) -> pa.RecordBatch:
    """Return columns of a page as they are; an empty text means not given."""
    arrays = [
        pa.array([text or None for text in values], pa.string())
        if name in TEXTS
        else pa.array(values)
        for name, values in columns.items()
    ]
    return pa.record_batch(arrays, list(columns))


def to_page(batch: pa.RecordBatch, texts: Texts) -> NDArray[Any]:
    """Return the page of results, or of what ``to_journal_batch`` made; the rest is blank."""
    page = np.full(batch.num_rows, BLANK)
    for name in set(batch.schema.names) & set(PAGE.names or ()):
        column = batch.column(name)
        if pa.types.is_string(column.type):
            page[name] = texts.numbers(column)
            continue
        if pa.types.is_dictionary(column.type):
            column = column.indices
        if column.null_count:
            column = column.fill_null(int(BLANK[name]))
        page[name] = column.to_numpy(zero_copy_only=False)
    return page


def _nullable(values: NDArray[Any], missing: int) -> pa.Array:
    return pa.array(values, mask=values == missing)
