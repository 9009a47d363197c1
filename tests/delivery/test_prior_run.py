"""What an earlier process of a run left: kept, in doubt or open, row by row over pages of four."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.internals import (
    BLANK,
    IN_DOUBT,
    NOT_GIVEN,
    OPEN,
    STATUSES,
    Copy,
    Failure,
    PriorInDoubt,
    PriorOutcomes,
    Texts,
    make_positions,
    number_tags,
)

PAGE_ROWS = 4
STORED, REJECTED, UNSENT, UNKNOWN = map(STATUSES.index, ("stored", "rejected", "unsent", "unknown"))
WHY = Failure("NoAnswer", "records are missing")

statuses = st.lists(st.sampled_from([OPEN, *range(len(STATUSES))]), max_size=11)
finals = st.sampled_from([["stored"], ["stored", "rejected"], ["stored", "unknown"]])
row_sets = st.sets(st.integers(0, 14), max_size=8).map(sorted)


def as_rows(rows):
    return np.array(rows, np.int64)


def place_of(row):
    """Where an earlier process stored a row: shard and sequence number."""
    return (row % 3, 100 + row)


def make_prior(statuses, final=("stored",), *, doubts=True, attempts=None):
    """Make prior outcomes, with places for stored rows; pages end with the last row."""
    entries = np.full(len(statuses), BLANK)
    for row, status in enumerate(statuses):
        entries["status"][row] = status
        entries["attempts"][row] = row % 4 if attempts is None else attempts[row]
        entries["maybe_duplicate"][row] = row % 2
        if status == STORED:
            entries["shard_id"][row], entries["sequence_number"][row] = place_of(row)
    return PriorOutcomes(
        entries["status"].copy(),
        lambda number: entries[number * PAGE_ROWS : (number + 1) * PAGE_ROWS],
        texts=Texts(),
        final=final,
        doubts=doubts,
        page_rows=PAGE_ROWS,
    )


def status_of(statuses, row):
    return statuses[row] if row < len(statuses) else OPEN


def recall(prior, rows):
    """Return the entries of the first rows, asked for page by page."""
    firsts = range(0, rows, PAGE_ROWS)
    return np.concatenate([prior.recall(first, min(PAGE_ROWS, rows - first)) for first in firsts])


def positions(prior, rows):
    """Return shard and sequence number of rows."""
    return prior.positions(as_rows(rows))[["shard_id", "sequence_number"]].tolist()


@given(statuses=statuses, rows=row_sets)
def test_stored_rows_are_known_with_their_places(statuses, rows):
    prior = make_prior(statuses)
    stored = [status_of(statuses, row) == STORED for row in rows]
    assert prior.is_stored(as_rows(rows)).tolist() == stored
    assert prior.count_stored() == statuses.count(STORED)
    places = [place_of(row) if is_stored else (NOT_GIVEN, NOT_GIVEN)
              for row, is_stored in zip(rows, stored, strict=True)]  # fmt: skip
    assert positions(prior, rows) == places


@given(statuses=statuses, final=finals, first=st.integers(0, 14), count=st.integers(1, 6))
def test_rows_of_a_final_status_are_kept(statuses, final, first, count):
    prior = make_prior(statuses, final)
    kept = [status >= 0 and STATUSES[status] in final for status in statuses]
    assert prior.count_final() == sum(kept)
    wanted = [*kept, *[False] * 20][first : first + count]
    assert prior.skip_mask(first, count).tolist() == wanted


@given(statuses=statuses, final=finals, doubts=st.booleans(), ended=st.sampled_from(
    ["not looked up", "proven", "unknown rows lost", "all lost"]))  # fmt: skip
def test_what_is_not_kept_is_open_or_in_doubt_and_keeps_its_attempts(
    statuses, final, doubts, ended
):
    prior = make_prior(statuses, final, doubts=doubts)
    if ended == "proven":
        prior.trust_absence()
    elif ended != "not looked up":
        prior.mark_lost(WHY, everything=ended == "all lost")
    entries = recall(prior, 12)
    for row, entry in enumerate(entries):
        status = status_of(statuses, row)
        is_kept = status >= 0 and STATUSES[status] in final
        if status == UNKNOWN and "lost" in ended:
            is_kept = True
        if ended == "all lost":
            is_lost = status == OPEN
            assert entry["status"] == (UNKNOWN if is_lost else status)
            assert (entry["error_message"] != NOT_GIVEN) == is_lost
            assert (entry["error_detail"] != NOT_GIVEN) == is_lost
        elif is_kept:
            assert entry["status"] == status
        else:
            is_in_doubt = status == UNKNOWN and doubts and ended == "not looked up"
            assert entry["status"] == (IN_DOUBT if is_in_doubt else OPEN)
        if row < len(statuses):
            assert entry["attempts"] == row % 4
            assert entry["maybe_duplicate"] == row % 2
        is_placed = status == STORED
        assert (entry["shard_id"] != NOT_GIVEN) == is_placed


@given(statuses=statuses, parts=st.lists(row_sets.filter(bool), min_size=1, max_size=2))
def test_rows_found_on_the_stream_are_stored(statuses, parts):
    prior = make_prior(statuses)
    places = {}
    for number, rows in enumerate(parts):
        prior.record_found(
            as_rows(rows), shard_id=number, sequence_number=as_rows(rows) * 10, record_row=5
        )
        places |= {row: (number, row * 10) for row in rows}
    everything = range(15)
    stored = [row in places or status_of(statuses, row) == STORED for row in everything]
    assert prior.is_stored(as_rows(everything)).tolist() == stored
    for row, place in enumerate(positions(prior, everything)):
        unfound = place_of(row) if stored[row] else (NOT_GIVEN, NOT_GIVEN)
        assert place == places.get(row, unfound)
    assert prior.found_among(2, 9).tolist() == [row for row in sorted(places) if 2 <= row < 11]
    for row, entry in enumerate(recall(prior, 15)):
        assert (entry["record_row"] == 5) == (row in places)
        if row < len(statuses):
            assert (entry["attempts"], entry["maybe_duplicate"]) == (row % 4, row % 2)


@given(statuses=statuses, data=st.data())
def test_a_row_may_come_late_if_a_request_without_an_answer_carried_it(statuses, data):
    attempts = data.draw(st.lists(st.integers(0, 3), min_size=len(statuses), max_size=11))
    late = [
        row
        for row, status in enumerate(statuses)
        if status == UNKNOWN
        or (status == UNSENT and attempts[row] >= 1)
        or (status == REJECTED and attempts[row] >= 2)
    ]
    assert make_prior(statuses, attempts=attempts).late_rows().tolist() == late


# -- what is looked up ----------------------------------------------------------------------------


def find_none(tag):
    raise AssertionError(tag)


def make_in_doubt(prior, *, may_miss_requests=False, rows_of=find_none):
    start = np.zeros(1, np.int64)
    return PriorInDoubt(
        prior,
        rows_of,
        low_watermark=start,
        starts={},
        may_miss_requests=may_miss_requests,
        needs_last_scan=False,
    )


def found(*records):
    """Make what a scan found: (first row, number of rows, shard, sequence number) each."""
    firsts, counts, shards, numbers = (as_rows(column) for column in zip(*records, strict=True))
    return make_positions(number_tags(firsts, counts), shards, numbers)


NOTHING = make_positions(np.zeros(0, np.uint64))


def test_what_was_found_is_stored_and_the_rest_is_sent_again():
    prior = make_prior([UNKNOWN, UNKNOWN, OPEN, STORED])
    in_doubt = make_in_doubt(prior)
    in_doubt.take(found((1, 1, 0, 7), (5, 1, 2, 8)), proves_absence=True)
    assert prior.is_stored(as_rows(range(6))).tolist() == [False, True, False, True, False, True]
    assert positions(prior, [1, 5]) == [(0, 7), (2, 8)]
    assert recall(prior, 6)["status"].tolist() == [OPEN, STORED, OPEN, STORED, OPEN, STORED]
    assert not in_doubt.is_over
    assert in_doubt.contains(as_rows(range(6))).tolist() == [True, *[False] * 5]
    assert in_doubt.duplicates() == in_doubt.late() == []


@pytest.mark.parametrize("may_miss_requests", [True, False])
def test_without_a_proof_unknown_rows_stay_so_and_open_ones_if_they_may_have_been_sent(
    may_miss_requests,
):
    prior = make_prior([UNKNOWN, OPEN, STORED])
    in_doubt = make_in_doubt(prior, may_miss_requests=may_miss_requests)
    in_doubt.take(NOTHING, proves_absence=False)
    left = UNKNOWN if may_miss_requests else OPEN
    assert recall(prior, 3)["status"].tolist() == [UNKNOWN, left, STORED]
    assert in_doubt.is_over
    assert not in_doubt.needs_last_scan
    assert in_doubt.contains(as_rows([0, 1])).tolist() == [False, False]


def test_a_row_in_several_records_has_its_first_place_and_the_others_are_copies():
    prior = make_prior([STORED, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN])
    in_doubt = make_in_doubt(prior)
    in_doubt.take(
        found((1, 1, 0, 7), (0, 1, 0, 100), (1, 1, 1, 3), (0, 1, 2, 9), (4, 1, 0, 8)),
        proves_absence=True,
    )
    assert positions(prior, [0, 1, 4]) == [(0, 100), (0, 7), (0, 8)]
    assert prior.found_among(0, 9).tolist() == [1, 4]  # row 0 was known before
    assert in_doubt.duplicates() == [Copy(0, 2, 9), Copy(1, 1, 3)]
    assert in_doubt.late() == []


def test_packs_are_the_rows_of_their_tags():
    rows_of = {(1, 2): as_rows([1, 4]), (2, 1): as_rows([2])}.__getitem__
    prior = make_prior([UNKNOWN] * 6)
    in_doubt = make_in_doubt(prior, rows_of=rows_of)
    in_doubt.take(found((1, 2, 0, 7), (2, 1, 0, 8)), proves_absence=True)
    assert positions(prior, [1, 4, 2]) == [(0, 7), (0, 7), (0, 8)]
    assert recall(prior, 6)["record_row"].tolist() == [-1, 0, 0, -1, 1, -1]


def test_a_row_in_two_packs_has_its_place_in_the_first():
    rows_of = {(1, 2): as_rows([1, 4]), (4, 2): as_rows([4, 1])}.__getitem__
    prior = make_prior([UNKNOWN] * 6)
    in_doubt = make_in_doubt(prior, rows_of=rows_of)
    in_doubt.take(found((1, 2, 0, 7), (4, 2, 0, 8)), proves_absence=True)
    assert positions(prior, [1, 4]) == [(0, 7), (0, 7)]
    assert recall(prior, 6)["record_row"].tolist() == [-1, 0, -1, -1, 1, -1]


def test_tags_of_stored_rows_and_of_rows_in_doubt_are_expected():
    in_doubt = make_in_doubt(make_prior([STORED, UNKNOWN, OPEN]))
    in_doubt.take(NOTHING, proves_absence=True)
    tags = number_tags(as_rows(range(4)), None)
    assert in_doubt.expects(tags).tolist() == [True, True, False, False]


def test_a_copy_that_comes_after_the_look_up_is_late_or_a_duplicate():
    prior = make_prior([UNKNOWN, UNKNOWN, UNKNOWN, OPEN])
    in_doubt = make_in_doubt(prior)
    in_doubt.take(found((0, 1, 0, 5)), proves_absence=True)
    in_doubt.note_positions(make_positions(as_rows([1, 3]), 0, as_rows([6, 7])))
    assert in_doubt.unseen_rows() == [2]
    in_doubt.note_copies(
        found((0, 1, 0, 5), (0, 1, 0, 8), (1, 1, 0, 6), (1, 1, 0, 9), (2, 1, 0, 10), (3, 1, 0, 7))
    )
    assert in_doubt.late() == [Copy(2, 0, 10)]
    duplicates = set(in_doubt.duplicates())
    assert duplicates == {Copy(0, 0, 8), Copy(1, 0, 9), Copy(2, 0, 10)}


def test_a_late_row_has_its_place_in_the_record_that_came_late():
    rows_of = {(1, 2): as_rows([1, 4]), (0, 3): as_rows([0, 2, 5])}.__getitem__
    in_doubt = make_in_doubt(make_prior([UNKNOWN] * 6), rows_of=rows_of)
    in_doubt.take(NOTHING, proves_absence=True)
    in_doubt.note_positions(make_positions(as_rows([0, 1, 2]), 0, as_rows([6, 7, 6])))
    in_doubt.note_copies(found((1, 2, 0, 8), (0, 3, 0, 9)))
    assert in_doubt.late() == [Copy(4, 0, 8, 1), Copy(5, 0, 9, 2)]
    assert Copy(2, 0, 9) in in_doubt.duplicates()


@pytest.mark.parametrize(("final", "kept"), [(["stored", "rejected"], [0]), (["stored"], [])])
def test_rejected_rows_that_may_come_late_are_kept_if_they_are_not_sent_again(final, kept):
    in_doubt = make_in_doubt(make_prior([REJECTED, UNSENT, REJECTED], final, attempts=[2, 1, 1]))
    in_doubt.take(NOTHING, proves_absence=True)
    assert in_doubt.kept_rejected.tolist() == kept
    assert in_doubt.contains(as_rows(range(3))).tolist() == [True, True, False]
