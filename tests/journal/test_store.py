"""What a journal writes of numbers: fewer bytes, the same numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.internals import Store, from_blob, narrow, to_blob

WHOLE = st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300)


@given(st.lists(WHOLE, max_size=8))
@example([-1, 2**53 + 1])  # no float holds it
def test_narrow_numbers_are_the_same_numbers(values):
    narrowed = narrow(np.array(values, np.int64))
    blob = to_blob(pa.record_batch([pa.array(narrowed)], ["row"]))
    assert np.asarray(from_blob(blob).column("row"), np.int64).tolist() == values


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 127], "int8"),
        ([-1, 128], "int16"),
        ([-1, 2**31 - 1], "int32"),
        ([-1, 2**40], "int64"),
        ([-(2**63), 2**63 - 1], "int64"),
    ],
)
def test_the_narrowest_signed_type_is_taken(values, dtype):
    assert narrow(np.array(values, np.int64)).dtype == dtype


def test_numbers_of_numpy_are_kept_and_asked_for_as_numbers(tmp_path):
    store = Store(tmp_path / "run.v3io")
    with store.transaction():
        store.insert("blocks", [(np.int64(3), np.int32(2), np.uint32(7))])
        store.insert("copies", np.array([[3, 5, 7]]))
    assert list(store.read("select * from blocks where first_row = ?", np.int64(3))) == [(3, 2, 7)]
    assert list(store.read("select shard_id from copies where row = ?", np.int32(3))) == [(5,)]
    store.close()
