"""Frames drawn by a seed: every cell is what the contract says, or its row is rejected.

300 frames of each kind; 10,000 with ``--hypothesis-profile=thorough``. A failure names
the seed: ``check(seed)`` in a debugger draws the same frame again.
"""

from __future__ import annotations

import json
import random
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import settings

from tests.internals import plan_rows
from tests.rows import frames
from tests.rows.frames import CELLS, REJECTED
from v3io_frames_put.errors import UnsupportedType

SURROGATE = CELLS[3]
WINDOWS = (1, 300, 2**20)


def for_each_seed(check):
    """Check as many frames as the profile asks for."""
    examples = settings.get_profile(settings.get_current_profile_name()).max_examples
    for seed in range({10: 30, 40: 300}.get(examples, 10_000)):
        with naming(seed):
            check(random.Random(seed))


@contextmanager
def naming(seed):
    try:
        yield
    except Exception as error:
        raise AssertionError(f"the frame of seed {seed}: {error}") from error


def parse(text):
    return json.loads(text, parse_float=lambda digits: ("float", repr(float(digits))))


def outcome(plan):
    """Return the data of each row that has a record of its own, and the rows rejected."""
    sent, rejected = {}, set()
    for window in plan.records():
        assert window.row_counts is None
        sent |= dict(zip(window.rows.tolist(), window.data.to_pylist(), strict=True))
        rejected |= set(window.rejections.rows.tolist())
    return sent, rejected


def draw_table(rng):
    """Draw a table of columns in chunks, and the expected cells of each row."""
    size = rng.randint(0, 9)
    cuts = sorted(rng.randint(0, size) for _ in range(rng.randint(0, 2)))
    columns, expected = {}, []
    for number in range(rng.randint(1, 3)):
        array, cells = frames.arrow_column(rng, size)
        ends = zip([0, *cuts], [*cuts, size], strict=True)
        columns[f"c{number}"] = pa.chunked_array([array[a:b] for a, b in ends], array.type)
        expected.append(cells)
    return pa.table(columns), [list(row) for row in zip(*expected, strict=True)]


def test_arrow_columns_are_the_json_of_the_contract():
    def check(rng):
        table, expected = draw_table(rng)
        untyped = pa.table({name: pa.nulls(0) for name in table.column_names})
        data = rng.choice([table, table.to_reader(), [table[:0], table], [untyped, table]])
        sent, rejected = outcome(plan_rows(data, window_bytes=rng.choice(WINDOWS)))
        assert rejected == {row for row, cells in enumerate(expected) if frames.is_rejected(cells)}
        for row, text in sent.items():
            assert parse(text) == dict(zip(table.column_names, expected[row], strict=True)), text
        assert len(sent) + len(rejected) == len(expected)

    for_each_seed(check)


def test_arrow_columns_are_the_same_values_in_arrow():
    """What Arrow streams hold is encoded as JSON once more, from arrays of Arrow's own making."""

    def check(rng):
        table, expected = draw_table(rng)
        rows = rng.choice([1, 2, "auto"])
        windows = list(
            plan_rows(
                table, format="arrow", rows_per_record=rows, window_bytes=rng.choice(WINDOWS)
            ).records()
        )
        streams = [data for window in windows for data in window.data.to_pylist()]
        assert not any(window.rejections.names for window in windows)
        if streams:
            again = pa.concat_tables(pa.ipc.open_stream(data).read_all() for data in streams)
            sent, _ = outcome(plan_rows(again))
            for row, text in sent.items():
                assert parse(text) == dict(zip(table.column_names, expected[row], strict=True))
            assert again.num_rows == len(expected)

    for_each_seed(check)


def is_same(sent, cell):
    """Return whether JSON has a cell's value, be it a number of another type."""
    if isinstance(cell, dict) and isinstance(sent, dict):
        cell, sent = list(cell.items()), [(name, sent.get(name)) for name in cell]
    if isinstance(cell, list) and isinstance(sent, list) and len(cell) == len(sent):
        return all(map(is_same, sent, cell))
    if isinstance(cell, tuple) and isinstance(sent, tuple) and cell[0] != "float":
        return cell[0] == sent[0] and is_same(sent[1], cell[1])
    if sent == cell or None in (sent, cell) or bool in (type(sent), type(cell)):
        return sent == cell
    numbers = [value[1] if isinstance(value, tuple) else str(value) for value in (sent, cell)]
    try:
        return Decimal(numbers[0]) == Decimal(numbers[1])
    except InvalidOperation:
        return False


def test_cells_of_later_tables_are_sent_unchanged_or_not_at_all():
    def check(rng):
        first = frames.arrow_column(rng, 1)[0][:0]
        if rng.random() < 0.5:
            array, expected = frames.arrow_column(rng, rng.randint(1, 9))
            parts = [pa.table({"v": array}), *(pa.table({"v": row}) for row in split(array))]
            is_narrow = "halffloat" in str(array.type) or "float" in str(array.type)
        else:
            rows = draw_objects(rng)
            column, expected = frames.object_column(rows), [row[1] for row in rows]
            parts = [column.to_frame("v"), *(row.to_frame("v") for row in split(column))]
            is_narrow = any(isinstance(row[0], (np.float16, np.float32, dict)) for row in rows)
        sent, rejected = outcome(plan_rows([pa.table({"v": first}), *parts]))
        size = len(expected)
        assert {row + size for row in rejected if row < size} == {r for r in rejected if r >= size}
        for row, text in sent.items():
            assert text == sent[row % size]
            # A wide float has more digits than a narrow one of the same value.
            assert is_narrow or is_same(parse(text)["v"], expected[row % size]), text

    for_each_seed(check)


def split(column):
    return [column[row : row + 1] for row in range(len(column))]


def draw_objects(rng):
    kinds = rng.sample(CELLS, rng.randint(1, 4))
    return [rng.choice(kinds) for _ in range(rng.randint(1, 9))]


def test_object_columns_are_the_json_of_the_contract():
    def check(rng):
        rows = draw_objects(rng)
        frame = pd.DataFrame({"a": frames.object_column(rows)})
        sent, rejected = outcome(plan_rows(frame, window_bytes=rng.choice(WINDOWS)))
        assert rejected == {at for at, row in enumerate(rows) if row[1] is REJECTED}
        assert {at: parse(text)["a"] for at, text in sent.items()} == {
            at: row[1] for at, row in enumerate(rows) if row[1] is not REJECTED
        }

    for_each_seed(check)


def test_object_columns_are_the_same_values_in_arrow_or_refused_before_the_first_row():
    def check(rng):
        rows = draw_objects(rng)
        frame = pd.DataFrame({"a": frames.object_column(rows)})
        try:
            plan = plan_rows(frame, format="arrow", window_bytes=rng.choice(WINDOWS))
        except UnsupportedType:
            return
        sent, rejected = outcome(plan)
        assert rejected == {at for at, row in enumerate(rows) if row is SURROGATE}
        for at, data in sent.items():
            if rows[at][1] is REJECTED:  # Arrow may have what JSON lacks, and Python, too
                continue
            ((kept,),) = pa.ipc.open_stream(data).read_all().to_pydict().values()
            assert same_value(kept, rows[at]), f"{rows[at][0]!r} became {kept!r}"

    for_each_seed(check)


def same_value(kept, row):
    """Compare what Arrow kept with a cell by the JSON of both."""
    cell, expected = row[:2]
    if expected is None or kept is None:
        return kept is expected
    if isinstance(expected, dict):
        return kept == {"k": float(np.float32(0.1))}
    if isinstance(expected, tuple):
        return float(kept) == float(cell)
    if isinstance(kept, bytes):
        return kept == bytes(cell)
    (text,) = outcome(plan_rows(pd.DataFrame({"a": frames.object_column([(kept,)])})))[0].values()
    return parse(text)["a"] == expected


@pytest.mark.parametrize(
    ("option", "column"), [("partition_key", 2), ("shard", 3), ("client_info", 4), ("raw", 4)]
)
def test_object_columns_route_rows_as_the_contract_says(option, column):
    def check(rng):
        rows = draw_objects(rng)
        frame = pd.DataFrame({"n": range(len(rows)), "a": frames.object_column(rows)})
        options = {"columns": ["n"], option: "a"}
        if option == "raw":
            options = {"columns": ["a"], "format": "raw"}
        found, rejected = {}, set()
        for window in plan_rows(frame, window_bytes=rng.choice(WINDOWS), **options).records():
            values = window.data if option == "raw" else getattr(window.routes, option)
            found |= dict(zip(window.rows.tolist(), values.to_pylist(), strict=True))
            rejected |= set(window.rejections.rows.tolist())
        expected = {at: row[column] for at, row in enumerate(rows)}
        if option == "client_info":  # may be missing, which raw data may not
            expected |= {at: None for at, row in enumerate(rows) if row[1] is None}
        assert rejected == {at for at, value in expected.items() if value is REJECTED}
        assert found == {at: value for at, value in expected.items() if value is not REJECTED}

    for_each_seed(check)
