"""``verify_results``: what results say, held against what is stored on the stream."""

import numpy as np
import pandas as pd
import pytest

from v3io_frames_put import local, put_records
from v3io_frames_put.errors import ConfigError, NotAStream, RequestError, StreamNotFound

STREAM = "projects/house/readings"
FRAME = pd.DataFrame({"row": range(12), "key": list("abcabcabcabc")})


@pytest.fixture
def platform(local_platform):
    local_platform.create_stream(STREAM, shards=3)
    return local_platform


def put(platform, frame=FRAME, **options):
    options = {"partition_key": "key"} | options
    return put_records(frame, STREAM, client=platform.client(), **options)


def verify(platform, results, stream=STREAM):
    return platform.client().verify_results(results, stream)


@pytest.mark.parametrize("options", [{}, {"rows_per_record": 3}, {"partition_key": None}])
def test_stored_rows_stand_where_the_results_say(platform, options):
    proof = verify(platform, put(platform, **options))
    assert proof.is_proven
    assert (proof.stored, proof.missing, proof.mistaken, proof.out_of_order) == (
        12,
        0,
        0,
        0,
    )
    assert repr(proof) == "12 of 12 stored rows are where the results say."


def test_other_writers_and_older_data_do_not_matter(platform):
    platform.add_records(STREAM, [b"older"] * 2_000, shard=1)
    results = put(platform)
    platform.add_records(STREAM, [b"newer"] * 50, shard=1)
    before = len(platform.requests)
    assert verify(platform, results).is_proven
    assert len(platform.requests) - before < 12


def test_rows_that_retention_dropped_are_missing(platform):
    results = put(platform, shard=0, partition_key=None)
    platform.platform.drop_records(STREAM, keep_last=9)
    proof = verify(platform, results)
    assert not proof.is_proven
    assert (proof.stored, proof.missing, proof.first_missing) == (12, 3, (0, 1, 2))
    assert repr(proof) == (
        "9 of 12 stored rows are where the results say.\n3 are missing: row 0, row 1, row 2."
    )


def test_only_the_first_hundred_missing_are_named(platform):
    results = put(platform, pd.DataFrame({"row": range(250)}), partition_key=None)
    platform.platform.drop_records(STREAM)
    proof = verify(platform, results)
    assert proof.missing == 250
    assert proof.first_missing == tuple(range(100))
    assert repr(proof).endswith("250 are missing: row 0, row 1, row 2, row 3, row 4, ....")


def test_results_of_another_stream_are_not_proven(platform):
    platform.create_stream("projects/house/other", shards=3)
    proof = verify(platform, put(platform), "projects/house/other")
    assert (proof.stored, proof.missing) == (12, 12)


def test_rows_that_were_not_stored_are_not_looked_for(platform):
    results = put(platform)
    results.loc[3:, "status"] = "unknown"
    assert verify(platform, results).stored == 3


@pytest.mark.parametrize("part", [slice(0, 0), slice(2, 5)])
def test_a_part_of_the_results_is_verified_alone(platform, part):
    proof = verify(platform, put(platform)[part])
    assert proof.is_proven
    assert proof.stored == part.stop - part.start


def test_rows_in_another_order_than_the_data_are_named(platform):
    results = put(platform, FRAME.assign(key="one"))
    numbers = results.sequence_number.to_numpy().copy()
    numbers[[2, 7]] = numbers[[7, 2]]
    proof = verify(platform, results.assign(sequence_number=pd.array(numbers, "Int64")))
    assert not proof.is_proven
    # 2 is stored after 3 to 7, and 3 to 6 after 7
    assert (proof.out_of_order, proof.first_out_of_order) == (5, (2, 3, 4, 5, 6))
    assert "5 are after a later row of their partition key" in repr(proof)


def test_different_keys_have_no_order_between_them(platform):
    results = put(platform, shard=None)
    swapped = results.copy()
    ours = np.flatnonzero((results.shard_id == results.shard_id[0]) & FRAME.key.eq("a"))
    others = FRAME.key.ne("a")
    assert len(ours) == 4
    assert verify(platform, swapped[others]).is_proven


def test_what_the_run_itself_lists_as_out_of_order_is_proven(platform):
    platform.faults = [local.faults.RecordErrors(places=(0,), message="Busy", code=-11)]
    results = put(platform, FRAME.assign(key="one"))
    assert results.attrs["v3io"]["out_of_order"]["first"] == [0]
    proof = verify(platform, results)
    assert (proof.out_of_order, proof.listed_out_of_order, proof.is_proven) == (1, 1, True)
    assert "partition key or shard (1 the run has listed): row 0." in repr(proof)
    results.attrs["v3io"]["out_of_order"] = None  # as a resumed run has it
    assert "partition key or shard: row 0." in repr(verify(platform, results))


@pytest.mark.parametrize("rows_per_record", [1, 4])
def test_tags_distinguish_a_row_from_another_in_its_place(platform, rows_per_record):
    results = put(platform, delivery="exactly_once", rows_per_record=rows_per_record)
    assert verify(platform, results).is_proven
    platform.platform.delete_stream(STREAM)
    platform.create_stream(STREAM, shards=3)
    put(platform, delivery="exactly_once", rows_per_record=rows_per_record)  # a run of its own
    proof = verify(platform, results)
    assert (proof.missing, proof.mistaken) == (12, 12)
    assert "12 of those have another record in their place." in repr(proof)


@pytest.mark.parametrize("results", [None, 7, {"status": []}])
def test_what_is_not_a_frame_is_refused(platform, results):
    with pytest.raises(ConfigError, match="the frame that put_records returned"):
        verify(platform, results)
    with pytest.raises(ConfigError, match="progress"):
        platform.client().verify_results(put(platform), STREAM, progress=True)


@pytest.mark.parametrize("column", ["status", "shard_id", "sequence_number"])
def test_what_is_not_a_results_frame_is_refused(platform, column):
    results = put(platform)
    before = len(platform.requests)
    with pytest.raises(ConfigError, match=column):
        verify(platform, results.drop(columns=column))
    assert len(platform.requests) == before


def test_a_stored_row_without_a_place_is_refused(platform):
    results = put(platform)
    results.loc[4, "sequence_number"] = pd.NA
    with pytest.raises(ConfigError, match="sequence_number"):
        verify(platform, results)


def test_a_stream_that_is_not_there_is_an_error(platform):
    with pytest.raises(StreamNotFound):
        verify(platform, put(platform), "projects/nothing/here")
    with pytest.raises((NotAStream, RequestError)):
        verify(platform, put(platform), "projects/house")


def swap(results, one, other):
    numbers = results.sequence_number.to_numpy().copy()
    numbers[[one, other]] = numbers[[other, one]]
    return results.assign(sequence_number=pd.array(numbers, "Int64"))


@pytest.mark.parametrize(
    "shard",
    [1, np.ones(12, np.int64), pd.array([1] * 11 + [None], "Int64")],
    ids=["one for all", "each its own", "but for rows with a key"],
)
def test_rows_given_a_shard_are_compared_within_it(platform, shard):
    results = put(platform, shard=shard, partition_key=[None] * 11 + ["a"])
    assert verify(platform, results).is_proven
    proof = verify(platform, swap(results, 2, 4))
    assert (proof.is_proven, proof.out_of_order, proof.first_out_of_order) == (
        False,
        2,
        (2, 3),
    )
    assert proof.uncompared == 0


def test_shards_of_their_own_have_no_order_between_them(platform):
    results = put(platform, shard=np.arange(12) % 3, partition_key=None)
    assert verify(platform, results).is_proven


def test_rows_of_which_nobody_knows_whether_they_had_a_shard_are_not_compared(platform):
    shard = pd.array([0, None] * 6, "Int64")
    results = put(platform, shard=shard, partition_key=["a"] + [None] * 11)
    proof = verify(platform, results)
    assert (proof.is_proven, proof.uncompared) == (True, 12)
    assert "The order of 12 was not compared" in repr(proof)


def test_what_was_resumed_is_not_compared_by_shard(platform):
    results = put(platform, shard=1, partition_key=None)
    results.loc[6:, "status"] = "unsent"
    again = put(platform, shard=1, partition_key=None, resume=results)
    proof = verify(platform, again)
    assert (proof.is_proven, proof.uncompared, proof.stored) == (True, 12, 12)


def test_without_an_order_none_is_compared(platform):
    results = put(platform, FRAME.assign(key="one"), order="none")
    proof = verify(platform, swap(results, 2, 4))
    assert (proof.is_proven, proof.out_of_order, proof.uncompared) == (True, 0, 0)


def test_two_rows_in_one_place_are_not_proven(platform):
    results = put(platform, shard=0, partition_key=None)
    results.loc[1, "sequence_number"] = results.sequence_number[3]
    proof = verify(platform, results)
    assert (proof.is_proven, proof.mistaken, proof.first_missing) == (False, 2, (1, 3))
    packed = put(platform, rows_per_record=3)
    assert verify(platform, packed).is_proven


def test_a_shard_that_is_not_there_any_more_holds_nothing(platform):
    results = put(platform, shard=2, partition_key=None)
    platform.platform.delete_stream(STREAM)
    platform.create_stream(STREAM, shards=2)
    proof = verify(platform, results)
    assert (proof.is_proven, proof.stored, proof.missing) == (False, 12, 12)
