"""One call for a column gives what encoding value by value gives."""

from __future__ import annotations

import base64

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.internals import encode_base64, join_base64

VALUES = st.lists(st.none() | st.binary(max_size=20), max_size=30)


@pytest.mark.parametrize("dtype", [pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
@given(values=VALUES, start=st.integers(0, 5))
def test_a_column_is_encoded_as_its_values_are(dtype, values, start):
    column = pa.array(values, dtype).slice(start)
    expected = [
        None if value is None else base64.b64encode(value).decode() for value in values[start:]
    ]
    encoded = encode_base64(column)
    encoded.validate(full=True)
    assert encoded.to_pylist() == expected


def test_text_is_encoded_as_utf8():
    assert encode_base64(pa.array(["é", None])).to_pylist() == ["w6k=", None]


def test_bytes_below_a_null_are_left_out():
    values = pa.array([b"ab", b"x" * 300, b"abc"], pa.binary())
    valid = pa.array([True, False, True]).buffers()[1]
    column = pa.Array.from_buffers(pa.binary(), 3, [valid, *values.buffers()[1:]])
    assert encode_base64(column).to_pylist() == ["YWI=", None, "YWJj"]


@pytest.mark.parametrize("size", [10, 100_000], ids=["short", "long"])
def test_what_is_before_and_after_is_joined_to_each_value(size):
    values = [bytes(range(100)) * (size // 10) + b"x" * more for more in range(4)]
    column = pa.array([b"left out", *values])[1:]
    ends = ["é", "", "abc", "d"]
    joined = join_base64("<é:", column, "|", pa.array(ends), ">")
    joined.validate(full=True)
    assert joined.to_pylist() == [
        f"<é:{base64.b64encode(value).decode()}|{end}>"
        for value, end in zip(values, ends, strict=True)
    ]
