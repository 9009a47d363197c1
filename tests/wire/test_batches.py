"""Records become the exact bytes of PutRecords bodies, within both bounds of a request."""

import base64
import json

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.examples import make_entries
from tests.internals import (
    ENVELOPE_BYTES,
    NO_SHARD,
    EntryRange,
    Records,
    Rejections,
    Routes,
    build_body,
    encode_records,
    join_entries,
    split_tags,
)
from v3io_frames_put.config import Limits

NOTHING_REFUSED = Rejections(np.array([], np.int64), [], [])


def make_records(data, *, key=None, shard=None, info=None, row_counts=None, destination=None):
    num_rows = len(data) if row_counts is None else sum(row_counts)
    return Records(
        first_row=0,
        num_rows=num_rows,
        data=pa.array(data, pa.binary()),
        sizes=np.array([len(value) for value in data], np.int64),
        routes=Routes(
            None if key is None else pa.array(key, pa.string()),
            None if shard is None else pa.array(shard, pa.int32()),
            None if info is None else pa.array(info, pa.binary()),
        ),
        rows=np.arange(num_rows),
        row_counts=None if row_counts is None else np.array(row_counts, np.int32),
        destination=None if destination is None else np.array(destination, np.uint64),
        rejections=NOTHING_REFUSED,
    )


def entries_of(data, **columns):
    return encode_records(make_records(data, **columns)).entries


@pytest.mark.parametrize(
    ("columns", "body"),
    [
        pytest.param(
            {"data": [b"one"]},
            b'{"Records":[{"Data":"b25l"}]}',
            id="data alone",
        ),
        pytest.param(
            {"data": [b"", b"\x00\xff"]},
            b'{"Records":[{"Data":""},{"Data":"AP8="}]}',
            id="an empty record, and bytes that are no text",
        ),
        pytest.param(
            {"data": [b"a", b"b"], "key": ["k", None]},
            b'{"Records":[{"Data":"YQ==","PartitionKey":"k"},{"Data":"Yg=="}]}',
            id="a null key is left out",
        ),
        pytest.param(
            {"data": [b"a", b"b"], "key": ["", "k"]},
            b'{"Records":[{"Data":"YQ==","PartitionKey":""},{"Data":"Yg==","PartitionKey":"k"}]}',
            id="an empty key is a key",
        ),
        pytest.param(
            {"data": [b"a", b"b", b"c"], "shard": [0, None, 4_095]},
            b'{"Records":[{"Data":"YQ==","ShardId":0},{"Data":"Yg=="},'
            b'{"Data":"Yw==","ShardId":4095}]}',
            id="a shard is a number",
        ),
        pytest.param(
            {"data": [b"a", b"b"], "info": [b"\x00\x01", None]},
            b'{"Records":[{"Data":"YQ==","ClientInfo":"AAE="},{"Data":"Yg=="}]}',
            id="client info is Base64",
        ),
        pytest.param(
            {"data": [b"a"], "info": [b"i"], "key": ["k"], "shard": [3]},
            b'{"Records":[{"Data":"YQ==","ClientInfo":"aQ==","PartitionKey":"k","ShardId":3}]}',
            id="all fields",
        ),
        pytest.param(
            {"data": [b"a"], "info": [None], "key": [None], "shard": [None]},
            b'{"Records":[{"Data":"YQ=="}]}',
            id="all fields there and all null",
        ),
    ],
)
def test_a_body_is_these_bytes(columns, body):
    assert build_body(entries_of(**columns)) == body


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ('say "hi"', rb'"say \"hi\""'),
        ("back\\slash", rb'"back\\slash"'),
        ("two\nlines\ttab", rb'"two\nlines\ttab"'),
        ("\x00\x1f", rb'"\u0000\u001f"'),
        ("ä", b'"\xc3\xa4"'),
        ("𝄞", b'"\xf0\x9d\x84\x9e"'),
        ('𝄞"', b'"\xf0\x9d\x84\x9e\\""'),
        ("a/b?c=%20", b'"a/b?c=%20"'),
    ],
)
def test_a_key_is_escaped_as_json(key, text):
    body = build_body(entries_of([b"a", b"b"], key=[key, "plain"]))
    first = b'{"Data":"YQ==","PartitionKey":' + text + b"}"
    second = b'{"Data":"Yg==","PartitionKey":"plain"}'
    assert body == b'{"Records":[' + first + b"," + second + b"]}"


ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=8)
ANY_RECORD = st.tuples(
    st.binary(max_size=8),
    st.none() | ANY_TEXT,
    st.none() | st.integers(0, 4_095),
    st.none() | st.binary(max_size=16),
)


@given(st.lists(ANY_RECORD, min_size=1, max_size=8))
def test_any_body_reads_back_as_its_records(rows):
    data, key, shard, info = map(list, zip(*rows, strict=True))
    body = build_body(entries_of(data, key=key, shard=shard, info=info))
    read = json.loads(bytes(body))["Records"]
    assert [record.get("PartitionKey") for record in read] == key
    assert [record.get("ShardId") for record in read] == shard
    assert [base64.b64decode(record["Data"], validate=True) for record in read] == data
    reported = [record.get("ClientInfo") for record in read]
    assert [None if text is None else base64.b64decode(text) for text in reported] == info


@given(st.lists(ANY_RECORD, min_size=1, max_size=8))
def test_the_size_of_a_body_is_known_before_it_is_built(rows):
    data, key, shard, info = map(list, zip(*rows, strict=True))
    entries = entries_of(data, key=key, shard=shard, info=info)
    envelope = len('{"Records":[]}')
    assert len(build_body(entries)) == envelope + int(entries.sizes.sum()) - 1
    assert entries.nbytes == int(entries.sizes.sum())


def test_each_entry_is_counted_with_its_comma():
    entries = entries_of([b"a", b"four"], key=["k", None])
    assert entries.sizes.tolist() == [
        len(',{"Data":"YQ==","PartitionKey":"k"}'),
        len(',{"Data":"Zm91cg=="}'),
    ]


def count_fitting(entries, limits, *, used=0, held=0):
    """Count what fits a body that already has ``held`` records of ``used`` bytes."""
    room = limits.max_body_bytes - ENVELOPE_BYTES - used
    return EntryRange(entries, 0, len(entries)).count_fitting(room, limits.max_records - held)


# An envelope is 14 bytes and the first comma is left out: ten of 20 bytes make a body of 213.
TEN = make_entries([0] * 10, size=20)


@pytest.mark.parametrize(
    ("max_body_bytes", "fitting"),
    [(212, 9), (213, 10), (214, 10), (32, 0), (33, 1), (34, 1), (52, 1), (53, 2), (54, 2)],
)
def test_entries_are_cut_at_the_bytes_of_a_body(max_body_bytes, fitting):
    limits = Limits(max_body_bytes=max_body_bytes)
    assert count_fitting(TEN, limits) == fitting


@pytest.mark.parametrize(("max_records", "fitting"), [(9, 9), (10, 10), (11, 10)])
def test_entries_are_cut_at_the_number_of_records(max_records, fitting):
    assert count_fitting(TEN, Limits(max_records=max_records)) == fitting


@pytest.mark.parametrize(
    ("used", "held", "fitting"), [(40, 2, 1), (41, 2, 0), (20, 9, 1), (0, 10, 0), (20, 1, 2)]
)
def test_what_a_body_has_already_counts(used, held, fitting):
    limits = Limits(max_body_bytes=13 + 60, max_records=10)
    assert count_fitting(TEN, limits, used=used, held=held) == fitting


def test_a_range_counts_from_its_own_first_entry():
    part = EntryRange(TEN, 4, 9)
    assert part.count_fitting(60, 10) == 3
    assert part.count_fitting(2**40, 10) == 5
    assert (part.nbytes, part.first_row) == (100, 4)


@pytest.mark.parametrize(("extra", "fitting"), [(-1, 2), (0, 3), (1, 3)])
def test_a_full_body_is_within_the_limit_to_the_byte(extra, fitting):
    entries = entries_of([b"aaa", b"bb", b'{"x":1}'], key=["ä", '"', None], info=[b"i", None, b""])
    limits = Limits(max_body_bytes=len(build_body(entries)) + extra)
    count = count_fitting(entries, limits)
    assert count == fitting
    assert len(build_body(entries.take(np.arange(count)))) <= limits.max_body_bytes


def describe(entries):
    """Tell all of some entries in plain values."""
    counts = None if entries.row_counts is None else entries.row_counts.tolist()
    return (
        entries.text.to_pylist(), entries.rows.tolist(), counts,
        entries.destination.tolist(), entries.shard.tolist(),
    )  # fmt: skip


PACKS = {
    "data": [b"a", b"b", b"c"],
    "shard": [1, None, 2],
    "destination": [7, 0, 8],
    "row_counts": [2, 1, 3],
}


def test_entries_know_rows_shards_and_destinations():
    assert describe(entries_of(**PACKS)) == (
        [b',{"Data":"YQ==","ShardId":1}', b',{"Data":"Yg=="}', b',{"Data":"Yw==","ShardId":2}'],
        [0, 1, 2, 3, 4, 5],
        [2, 1, 3],
        [7, 0, 8],
        [1, NO_SHARD, 2],
    )


def test_entries_without_shards_and_destinations_ask_for_none():
    _, rows, counts, destination, shard = describe(entries_of([b"a", b"b"]))
    assert (rows, counts, destination, shard) == ([0, 1], None, [0, 0], [NO_SHARD, NO_SHARD])


def test_take_copies_records_with_their_rows_in_the_order_asked_for():
    assert describe(entries_of(**PACKS).take(np.array([2, 0]))) == (
        [b',{"Data":"Yw==","ShardId":2}', b',{"Data":"YQ==","ShardId":1}'],
        [3, 4, 5, 0, 1],
        [3, 2],
        [8, 7],
        [2, 1],
    )


def test_no_records_make_no_entries():
    assert describe(entries_of([])) == ([], [], None, [], [])
    assert entries_of([]).nbytes == 0


def whole(entries):
    return EntryRange(entries, 0, len(entries))


@given(st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_ranges_joined_are_the_whole(first, second, are_packs):
    low, high = sorted((first, second))
    counts = [1, 3, 2, 1, 4] if are_packs else None
    all_of_it = entries_of([b"a", b"b", b"c", b"d", b"e"], key=list("vwxyz"), row_counts=counts)
    cuts = [(0, low), (low, high), (high, 5)]
    parts = [EntryRange(all_of_it, start, stop) for start, stop in cuts if stop > start]
    joined = join_entries(parts)
    assert build_body(joined) == build_body(all_of_it)
    assert joined.sizes.tolist() == all_of_it.sizes.tolist()
    assert describe(joined)[1:] == describe(all_of_it)[1:]


def test_joined_entries_are_held_once_inside_their_body():
    joined = join_entries([whole(entries_of([b"a", b"b"])), whole(entries_of([b"c"]))])
    assert joined.text.buffers()[2].address == pa.py_buffer(build_body(joined)).address


@pytest.mark.parametrize("kept", [[0], [0, 2], [1, 2], [2]])
def test_some_of_joined_entries_build_their_own_body(kept):
    keys = ["v", "w", "x"]
    joined = join_entries([whole(entries_of([b"a", b"b", b"c"], key=keys))])
    expected = entries_of([[b"a", b"b", b"c"][at] for at in kept], key=[keys[at] for at in kept])
    assert build_body(joined.take(np.array(kept))) == build_body(expected)


def test_rows_of_chooses_by_mask_and_by_position():
    entries = entries_of(**PACKS)
    assert entries.rows_of(np.array([True, False, True])).tolist() == [0, 1, 3, 4, 5]
    assert entries.rows_of(np.array([1])).tolist() == [2]
    single = entries_of([b"a", b"b", b"c"])
    assert single.rows_of(np.array([False, True, True])).tolist() == [1, 2]


def test_spread_gives_every_row_the_value_of_its_record():
    values = np.array([10, 20, 30])
    assert entries_of(**PACKS).spread(values, np.array([0, 2])).tolist() == [10, 10, 30, 30, 30]
    assert entries_of([b"a", b"b", b"c"]).spread(values, np.array([1])).tolist() == [20]


def test_tags_name_the_first_row_and_the_count():
    packs, single = entries_of(**PACKS).tags, entries_of([b"a", b"b"]).tags
    assert list(map(list, split_tags(packs))) == [[0, 2, 3], [2, 1, 3]]
    assert list(map(list, split_tags(single))) == [[0, 1], [1, 1]]


def test_a_run_tags_its_records_in_place_of_their_client_info():
    window = encode_records(make_records([b"a", b"b"], row_counts=[1, 2]), b"\x01" * 8)
    texts = [
        msgspec.json.decode(text[1:])["ClientInfo"] for text in window.entries.text.to_pylist()
    ]
    assert texts == ["AQEBAQEBAQEAAAAAAAAAAQ==", "AQEBAQEBAQEAAAAAAQAAAg=="]
    assert window.num_rows == 3


def test_without_a_run_records_keep_their_own_client_info():
    window = encode_records(make_records([b"a"], info=[b"mine"]))
    assert window.entries.text.to_pylist() == [b',{"Data":"YQ==","ClientInfo":"bWluZQ=="}']


def test_records_that_are_taken_out_hold_their_own_bytes_alone():
    entries = entries_of([b"a" * 30_000, b"bb", b"c" * 30_000])
    alone = entries.take(np.array([1]))
    assert describe(alone) == ([b',{"Data":"YmI="}'], [1], None, [0], [NO_SHARD])
    assert alone.text.get_total_buffer_size() < 1_000
    assert all(column.base is None for column in (alone.rows, alone.destination, alone.shard))
