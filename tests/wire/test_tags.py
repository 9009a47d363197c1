"""Tags: which rows of which run a record holds, in 16 bytes."""

import base64

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.internals import format_tags, number_tags, parse_tag, read_tags, split_tags

RUN = bytes.fromhex("0123456789abcdef")
OTHERS = [
    b"",
    b"a note",
    RUN,
    RUN + bytes(7),
    RUN + bytes(9),
    bytes(16),
    b"\x00" + RUN[1:] + bytes(8),
    RUN[:7] + b"\x00" + bytes(8),
]


def tags_of(*args):
    return [base64.b64decode(text, validate=True) for text in format_tags(*args).to_pylist()]


@pytest.mark.parametrize(
    ("first_row", "row_count", "tag"),
    [
        (0, 1, "0123456789abcdef 0000000000 000001"),
        (258, 3, "0123456789abcdef 0000000102 000003"),
        (2**40 - 1, 2**24 - 1, "0123456789abcdef ffffffffff ffffff"),
        (336_775, 1_000, "0123456789abcdef 0000052387 0003e8"),
    ],
)
def test_a_tag_is_these_bytes(first_row, row_count, tag):
    tags = tags_of(RUN, np.array([first_row]), np.array([row_count], np.int32))
    assert tags == [bytes.fromhex(tag)]


def test_without_counts_every_record_holds_one_row():
    tags = tags_of(RUN, np.array([7, 8]), None)
    assert [tag.hex() for tag in tags] == [
        "0123456789abcdef0000000007000001",
        "0123456789abcdef0000000008000001",
    ]


def test_no_records_have_no_tags():
    assert tags_of(RUN, np.array([], np.int64), None) == []


@given(st.integers(0, 2**40 - 1), st.integers(1, 2**24 - 1), st.binary(min_size=8, max_size=8))
def test_a_tag_reads_back(first_row, row_count, run_id):
    tags = tags_of(run_id, np.array([first_row]), np.array([row_count], np.int32))
    assert parse_tag(tags[0], run_id) == (first_row, row_count)


@given(st.lists(st.tuples(st.integers(0, 2**40 - 1), st.integers(1, 2**24 - 1))))
def test_tags_of_a_run_are_read_among_others(pairs):
    firsts, counts = np.array(pairs, np.int64).reshape(-1, 2).T
    infos = [None, *tags_of(RUN, firsts, counts.astype(np.int32)), *OTHERS]
    at, numbers = read_tags(pa.array(infos, pa.binary()), RUN)
    assert at.tolist() == list(range(1, len(pairs) + 1))
    assert list(zip(*map(list, split_tags(numbers)), strict=True)) == pairs
    assert (numbers == number_tags(firsts, counts.astype(np.int32))).all()


@pytest.mark.parametrize("client_info", [None, *OTHERS])
def test_what_another_run_or_another_writer_wrote_is_not_a_tag(client_info):
    assert parse_tag(client_info, RUN) is None
