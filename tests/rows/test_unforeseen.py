"""What an encoder raises that nobody foresaw costs the rows at fault, not the run."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest

from tests.internals import encode_records, plan_rows
from v3io_frames_put.errors import DataError


class PanicException(BaseException):
    """What PyO3 raises when native code panics: no Exception."""


class Breaking:
    """An encoder that breaks where a window holds one of some numbers, or is a slice."""

    def __init__(self, encoder, *numbers, error=ValueError, breaks_on_slices=False):
        self.encoder = encoder
        self.numbers = set(numbers)
        self.error = error
        self.breaks_on_slices = breaks_on_slices
        self.payload_type, self.row_bytes = encoder.payload_type, encoder.row_bytes
        self.measure = encoder.measure

    def encode(self, window, log):
        column = window.columns[0]
        if self.breaks_on_slices and column.offset:
            raise self.error("a slice")
        if self.numbers & set(column.to_pylist()):
            raise self.error("a number it cannot take")
        return self.encoder.encode(window, log)


def encode(count, *numbers, options=None, data=None, **breaking):
    frame = pd.DataFrame({"n": range(count)}) if data is None else data
    plan = plan_rows(frame, window_bytes=1_000, **(options or {}))
    plan._encoder.encoder = Breaking(plan._encoder.encoder, *numbers, **breaking)
    windows = list(plan.records())
    refused = {
        int(row): (name, detail)
        for window in windows
        for row, name, detail in zip(
            window.rejections.rows, window.rejections.names, window.rejections.details, strict=True
        )
    }
    return windows, refused


@pytest.mark.parametrize("error", [ValueError, RecursionError, PanicException])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"partition_key": "n", "shard": 3, "client_info": b"x"},
        {"rows_per_record": 7},
        {"format": "arrow"},
        {"format": "arrow", "rows_per_record": 7, "partition_key": [str(n) for n in range(300)]},
    ],
    ids=str,
)
def test_the_rows_at_fault_are_rejected_by_name_and_no_other(options, error):
    windows, refused = encode(300, 0, 37, 38, 299, options=options, error=error)
    assert list(refused) == [0, 37, 38, 299]
    name, detail = refused[37]
    assert name == "UnencodableValue"
    assert detail == (
        f"row 37 cannot be encoded ({error.__name__}: a number it cannot take). "
        f"Convert its cells, or leave the row out."
    )
    rows = sorted(row for window in windows for row in window.rows.tolist())
    assert rows == sorted(set(range(300)) - {0, 37, 38, 299})
    assert sum(window.num_rows for window in windows) == 300
    if options.get("format") != "arrow":
        lines = [line for w in windows for data in w.data.to_pylist() for line in data.split(b"\n")]
        assert [json.loads(line)["n"] for line in lines] == rows


class BreakingJoins:
    """Joins the rows of packs, and breaks on some of their numbers, or the first few times."""

    def __init__(self, encoder, *numbers, error=ValueError, times=0):
        self.encoder = encoder
        self.numbers = set(numbers)
        self.error = error
        self.times = times
        self.frame_bytes, self.separator_bytes = encoder.frame_bytes, encoder.separator_bytes

    def join(self, payload, ends, rooms):
        self.times -= 1
        numbers = [row["n"] if isinstance(row, dict) else json.loads(row)["n"]
                   for row in payload.to_pylist()]  # fmt: skip
        if self.times >= 0 or self.numbers & set(numbers):
            raise self.error("a number it cannot take")
        return self.encoder.join(payload, ends, rooms)


def pack(count, *numbers, data_format="json", **breaking):
    frame = pd.DataFrame({"n": range(count), "key": [f"k{n % 3}" for n in range(count)]})
    options = {"partition_key": "key", "rows_per_record": 7, "format": data_format}
    plan = plan_rows(frame, window_bytes=2_000, held_bytes=6_000, **options)
    encoder = BreakingJoins(plan._packer.encoder, *numbers, **breaking)
    return list(replace(plan, _packer=replace(plan._packer, encoder=encoder)).records())


@pytest.mark.parametrize("error", [ValueError, PanicException])
@pytest.mark.parametrize("data_format", ["json", "arrow"])
def test_rows_at_fault_in_packing_are_rejected_by_name_and_no_other(data_format, error):
    pieces = pack(900, 0, 37, 38, 899, data_format=data_format, error=error)
    rejected = [
        (int(row), name, detail)
        for piece in pieces
        for row, name, detail in zip(
            piece.rejections.rows, piece.rejections.names, piece.rejections.details, strict=True
        )
    ]
    assert [row for row, _, _ in rejected] == [0, 37, 38, 899]
    _, name, detail = rejected[1]
    assert name == "UnencodableValue"
    assert detail == (
        f"row 37 cannot be encoded ({error.__name__}: a number it cannot take). "
        f"Convert its cells, or leave the row out."
    )
    assert sum(piece.num_rows for piece in pieces) == 900
    sent = {0: [], 1: [], 2: []}
    for piece in pieces:
        assert piece.row_counts.sum() == len(piece.rows)
        assert len(encode_records(piece, bytes(8)).entries) == len(piece.row_counts)
        for row in piece.rows.tolist():
            sent[row % 3].append(row)
    kept = sorted(set(range(900)) - {0, 37, 38, 899})
    assert sent == {key: [row for row in kept if row % 3 == key] for key in sent}


@pytest.mark.parametrize("data_format", ["json", "arrow"])
def test_packs_that_break_once_are_made_of_a_copy(data_format):
    pieces = pack(900, data_format=data_format, times=1)
    assert not any(piece.rejections.names for piece in pieces)
    assert sorted(row for piece in pieces for row in piece.rows.tolist()) == list(range(900))


def test_32_rows_may_be_at_fault_in_packing_and_no_more():
    assert sum(len(piece.rejections.names) for piece in pack(300, *range(100, 132))) == 32
    with pytest.raises(DataError, match="like 32 rows before it"):
        pack(300, *range(100, 133))


@pytest.mark.parametrize("error", [MemoryError, OSError, DataError, KeyboardInterrupt])
def test_what_is_no_fault_of_rows_is_raised_by_packing_too(error):
    with pytest.raises(error):
        pack(300, 37, error=error)


def test_a_window_that_breaks_as_a_slice_is_copied():
    table = pa.table({"n": range(300)})
    windows, refused = encode(300, data=table, breaks_on_slices=True)
    assert refused == {}
    texts = [data for window in windows for data in window.data.to_pylist()]
    assert texts == [b'{"n":%d}' % n for n in range(300)]


def test_32_rows_may_be_at_fault_and_no_more():
    _, refused = encode(300, *range(100, 132))
    assert list(refused) == list(range(100, 132))
    with pytest.raises(DataError, match=r"row 132 cannot .* like 32 rows before it") as caught:
        encode(300, *range(100, 133))
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_bound_counts_anew_each_time_the_data_is_read():
    plan = plan_rows(pd.DataFrame({"n": range(40)}))
    plan._encoder.encoder = Breaking(plan._encoder.encoder, *range(20))
    for _ in range(2):
        assert sum(len(window.rejections.names) for window in plan.records()) == 20


@pytest.mark.parametrize("error", [MemoryError, OSError, pa.ArrowMemoryError, DataError])
def test_what_is_no_fault_of_rows_is_raised(error):
    with pytest.raises(error):
        encode(300, 37, error=error)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_stop_is_no_fault_of_rows(error):
    with pytest.raises(error):
        encode(300, 37, error=error)


def test_a_source_that_fails_is_raised():
    def batches():
        yield pa.record_batch({"n": [1, 2]})
        raise ValueError("torn")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("n", pa.int64())]), batches())
    windows = plan_rows(reader).records()
    assert next(windows).num_rows == 2
    with pytest.raises(ValueError, match="torn"):
        next(windows)
