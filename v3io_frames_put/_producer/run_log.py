"""What a run reports, as it happens, to the journal that records it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from v3io_frames_put._encode.blocks import Blocks
    from v3io_frames_put._producer.batch import Batch
    from v3io_frames_put._producer.values import Copy, Texts


class RunLog:
    """Takes what happens to requests and rows; this one keeps nothing.

    A request is taken before it leaves, and again when its end is known. Records that it
    leaves in doubt stay recorded until their rows have an outcome.

    Attributes
    ----------
    blocks : Blocks or None
        Checks the data where it is read again.
    """

    blocks: Blocks | None = None

    def begin(self, low_watermark: NDArray[np.int64]) -> None:
        """Take the last number of each shard, before the first record (``exactly_once``)."""

    def send(self, batch: Batch) -> None:
        """Take the records of the next request; its number is ``batch.request``."""

    def acked(self, request: int) -> None:
        """Take that a request got an answer for each of its records."""

    def rejected(self, request: int) -> None:
        """Take that nothing of a request is stored."""

    def in_doubt(self, batch: Batch) -> None:
        """Take that some records of ``batch.request`` may be stored, or may not."""

    def record(
        self, rows: NDArray[np.int64], columns: Mapping[str, NDArray[Any]], texts: Texts
    ) -> None:
        """Take the outcome of rows: columns of a page, the others are blank."""

    def complete_page(self, number: int, batch: pa.RecordBatch) -> None:
        """Take a page of which every row has its outcome."""

    def commit(self) -> None:
        """Make durable what was taken; raises a PutRecordsError where that fails."""

    def conclude(
        self,
        *,
        num_rows: int,
        is_finished: bool,
        late: Sequence[Copy],
        record_rows: NDArray[np.int32],
        duplicates: Sequence[Copy],
    ) -> None:
        """Take how the run ended.

        How many rows it had, whether anything is left to do, and what scans saw: rows that
        are stored after all, with their places in their records (NOT_GIVEN: on a page that was
        taken), and further copies.
        """
