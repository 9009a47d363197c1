"""Rows get their outcome in any order, and are emitted in input order."""

import itertools
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.test_prior_run import make_prior
from tests.internals import PAGE_ROWS, STATUSES, Failure, Outcomes

NOTES = Failure("RetriesExhausted", "given up", -5)


def rows(*numbers):
    return np.array(numbers, np.int64)


def table(batches):
    return pa.Table.from_batches(list(batches)).to_pylist()


def test_the_columns_and_their_types_are_those_of_the_contract():
    outcomes = Outcomes()
    outcomes.open(1)
    outcomes.record(rows(0), "stored")
    (batch,) = outcomes.finish()
    assert [(field.name, str(field.type)) for field in batch.schema] == [
        ("status", "dictionary<values=string, indices=int8, ordered=0>"),
        ("shard_id", "int32"),
        ("sequence_number", "int64"),
        ("error_code", "int64"),
        ("error_message", "string"),
        ("error_detail", "string"),
        ("attempts", "int16"),
        ("maybe_duplicate", "bool"),
    ]
    assert batch.column("status").dictionary.to_pylist() == [
        "stored", "rejected", "unsent", "unknown",
    ]  # fmt: skip


def test_a_stored_row_has_its_place_and_no_error():
    outcomes = Outcomes()
    outcomes.open(1)
    outcomes.record(rows(0), "stored", shard_id=2, sequence_number=2**40, attempts=3)
    assert table(outcomes.finish()) == [
        {
            "status": "stored", "shard_id": 2, "sequence_number": 1_099_511_627_776,
            "error_code": None, "error_message": None, "error_detail": None,
            "attempts": 3, "maybe_duplicate": False,
        }
    ]  # fmt: skip


def test_more_attempts_than_their_column_holds_are_not_counted():
    earlier = make_prior([3], attempts=[32_000])  # unknown
    for prior, attempts in ((earlier, 1_000), (None, 40_000)):
        outcomes = Outcomes(prior_outcomes=prior)
        outcomes.open(1)
        outcomes.record(rows(0), "stored", shard_id=2, sequence_number=5, attempts=attempts)
        [row] = table(outcomes.finish())
        assert (row["status"], row["sequence_number"], row["attempts"]) == ("stored", 5, 32_767)


def test_a_failed_row_has_its_reason_and_no_place():
    outcomes = Outcomes()
    outcomes.open(1)
    outcomes.record_failure(rows(0), "unknown", NOTES, attempts=2, maybe_duplicate=True)
    assert table(outcomes.finish()) == [
        {
            "status": "unknown", "shard_id": None, "sequence_number": None,
            "error_code": -5, "error_message": "RetriesExhausted", "error_detail": "given up",
            "attempts": 2, "maybe_duplicate": True,
        }
    ]  # fmt: skip


def test_a_failure_without_a_number_or_detail_leaves_them_missing():
    outcomes = Outcomes()
    outcomes.open(1)
    outcomes.record_failure(rows(0), "unsent", Failure("Stopped"))
    (row,) = table(outcomes.finish())
    assert (row["error_code"], row["error_message"], row["error_detail"]) == (None, "Stopped", None)


def test_code_zero_and_shard_zero_are_not_missing():
    outcomes = Outcomes()
    outcomes.open(2)
    outcomes.record_failure(rows(0), "rejected", Failure("Odd", code=0))
    outcomes.record(rows(1), "stored", shard_id=0, sequence_number=0)
    first, second = table(outcomes.finish())
    assert first["error_code"] == 0
    assert (second["shard_id"], second["sequence_number"]) == (0, 0)


def test_rejections_have_each_their_own_reason():
    outcomes = Outcomes()
    outcomes.open(3)
    outcomes.record_rejections(rows(2, 0), ["DataTooLarge", "UnencodableValue"], ["long", "odd"])
    outcomes.record(rows(1), "stored")
    rejections = [
        (row["status"], row["error_message"], row["error_detail"])
        for row in table(outcomes.finish())
    ]
    assert rejections == [
        ("rejected", "UnencodableValue", "odd"),
        ("stored", None, None),
        ("rejected", "DataTooLarge", "long"),
    ]


def test_packed_rows_know_their_place_in_their_record():
    outcomes = Outcomes(packed=True)
    outcomes.open(6)
    outcomes.number_rows(np.arange(6), np.array([3, 3], np.int32))
    outcomes.record(np.arange(6), "stored")
    assert [row["record_row"] for row in table(outcomes.finish())] == [0, 1, 2, 0, 1, 2]


def test_a_row_that_never_was_in_a_record_has_no_place_in_one():
    outcomes = Outcomes(packed=True)
    outcomes.open(1)
    outcomes.record_failure(rows(0), "rejected", Failure("DataTooLarge"))
    assert table(outcomes.finish())[0]["record_row"] is None


def test_no_rows_make_no_batch():
    assert list(Outcomes().finish()) == []


def test_a_page_leaves_once_it_and_all_before_it_are_complete():
    outcomes = Outcomes()
    outcomes.open(2 * PAGE_ROWS + 5)
    outcomes.record(np.arange(PAGE_ROWS, 2 * PAGE_ROWS), "stored")
    assert list(outcomes.drain()) == []
    outcomes.record(np.arange(1, PAGE_ROWS), "stored")
    assert list(outcomes.drain()) == []
    outcomes.record(rows(0), "rejected")
    assert [batch.num_rows for batch in outcomes.drain()] == [65_536, 65_536]
    assert list(outcomes.drain()) == []
    outcomes.record(np.arange(2 * PAGE_ROWS, 2 * PAGE_ROWS + 5), "unsent")
    assert list(outcomes.drain()) == []
    assert [batch.num_rows for batch in outcomes.finish()] == [5]


def test_a_page_that_may_still_grow_does_not_leave():
    outcomes = Outcomes()
    outcomes.open(PAGE_ROWS - 1)
    outcomes.record(np.arange(PAGE_ROWS - 1), "stored")
    assert list(outcomes.drain()) == []
    outcomes.open(1)
    outcomes.record(rows(PAGE_ROWS - 1), "stored")
    assert [batch.num_rows for batch in outcomes.drain()] == [65_536]


ANY_CUTS = st.lists(st.integers(0, 2 * PAGE_ROWS + 100), max_size=6)


@given(
    total=st.integers(0, 2 * PAGE_ROWS + 100), cuts=ANY_CUTS, seed=st.randoms(), drain=st.booleans()
)
def test_any_order_of_recording_emits_every_row_once_in_input_order(total, cuts, seed, drain):
    outcomes = Outcomes()
    edges = sorted({0, total, *(cut for cut in cuts if cut < total)})
    parts = list(itertools.pairwise(edges))
    for start, stop in parts:
        outcomes.open(stop - start)
    seed.shuffle(parts)
    expected = np.empty(total, np.int64)
    batches, counts = [], dict.fromkeys(STATUSES, 0)
    for at, (start, stop) in enumerate(parts):
        status = STATUSES[at % len(STATUSES)]
        theirs = np.arange(start, stop)[::-1]
        outcomes.record(theirs, status, shard_id=at, sequence_number=theirs + 1)
        expected[start:stop] = at
        counts[status] += stop - start
        assert outcomes.counts == counts
        if drain:
            batches += outcomes.drain()
    batches += outcomes.finish()
    assert (outcomes.num_rows, sum(outcomes.counts.values())) == (total, total)
    emitted = pa.Table.from_batches(batches) if batches else None
    assert sum(batch.num_rows for batch in batches) == total
    if emitted is not None:
        assert np.array_equal(emitted["shard_id"].to_numpy(), expected)
        assert np.array_equal(emitted["sequence_number"].to_numpy(), np.arange(1, total + 1))
        names = np.array(STATUSES)[expected % len(STATUSES)]
        assert emitted["status"].to_pylist() == names.tolist()


@pytest.mark.parametrize("count", [1, 70_000])
def test_equal_reasons_are_kept_once_for_any_number_of_rows(count):
    outcomes = Outcomes()
    outcomes.open(count)
    outcomes.record_failure(np.arange(count), "unsent", NOTES)
    for page in outcomes._pages.values():
        assert page.texts._values == ["RetriesExhausted", "given up"]
    for batch in outcomes.finish():
        assert set(batch.column("error_detail").to_pylist()) == {"given up"}


def test_details_leave_memory_with_the_rows_of_their_page():
    outcomes = Outcomes(page_rows=1_000)
    details = [f"row {row} {'x' * 1_000}" for row in range(1_000)]
    tracemalloc.start()
    for page in range(20):
        outcomes.open(1_000)
        own = [f"{page} {detail}" for detail in details]
        outcomes.record_rejections(np.arange(1_000) + page * 1_000, ["DataTooLarge"] * 1_000, own)
        assert sum(batch.num_rows for batch in outcomes.drain()) == 1_000
        del own
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_000_000  # one page of details takes more


class Log:
    """Keeps what a run log is handed: row -> its columns."""

    def __init__(self):
        self.taken = {}

    def record(self, rows, columns):
        for at, row in enumerate(rows.tolist()):
            self.taken[row] = {name: column[at] for name, column in columns.items()}

    def complete_page(self, _number, _batch):
        pass


@pytest.mark.parametrize("packed", [False, True])
def test_rows_in_doubt_since_an_earlier_process_end_stored_or_unknown(packed):
    unknown, open_ = STATUSES.index("unknown"), -1
    prior = make_prior([unknown, unknown, open_, STATUSES.index("stored"), *[unknown] * 5])
    prior.record_found(rows(8), shard_id=1, sequence_number=20)
    log = Log()
    outcomes = Outcomes(packed=packed, prior_outcomes=prior, run_log=log, page_rows=4)
    outcomes.open(9)
    assert outcomes.open_rows().tolist() == [0, 1, 2, 4, 5, 6, 7]
    places = {"shard_id": np.array([1, 2]), "sequence_number": np.array([7, 9])}
    outcomes.record(rows(0, 2), "stored", attempts=1, **places)
    outcomes.record_failure(rows(1), "rejected", NOTES)
    outcomes.record_failure(rows(7, 4), "unsent", NOTES)
    outcomes.record(rows(5, 6), "stored", maybe_duplicate=np.array([False, True]))
    ended = table(outcomes.finish())
    assert [row["status"] for row in ended] == [
        "stored", "unknown", "stored", "stored", "unknown", "stored", "stored", "unknown", "stored",
    ]  # fmt: skip
    assert [row["maybe_duplicate"] for row in ended] == [
        True, True, False, True, False, True, True, True, False,
    ]  # fmt: skip
    assert [(row["shard_id"], row["sequence_number"]) for row in ended[:4:2]] == [(1, 7), (2, 9)]
    assert [row["attempts"] for row in ended] == [1, 1, 3, 3, 0, 1, 2, 3, 0]
    assert outcomes.counts == {"stored": 6, "rejected": 0, "unsent": 0, "unknown": 3}
    assert sorted(log.taken) == [0, 1, 2, 4, 5, 6, 7, 8]  # 3 was logged by the earlier process
    assert log.taken[8]["sequence_number"] == 20
    assert ("record_row" in log.taken[0]) == packed


def test_what_is_unsent_is_not_logged():
    log = Log()
    outcomes = Outcomes(run_log=log)
    outcomes.open(2)
    outcomes.record_failure(rows(0), "unsent", NOTES)
    outcomes.record(rows(1), "stored", attempts=1)
    assert list(log.taken) == [1]
    assert log.taken[1]["attempts"] == 1


@pytest.mark.parametrize("order", [[0, 1, 3], [0, 2, 1, 3], [5, 4, 6, 7], [2, 2 + 9, 4]])
def test_columns_go_to_their_rows_in_any_order_over_pages(order):
    outcomes = Outcomes(page_rows=4)
    outcomes.open(12)
    outcomes.record(rows(*order), "stored", sequence_number=np.array(order) * 10)
    outcomes.record_failure(outcomes.open_rows(), "unsent", NOTES)
    ended = table(outcomes.finish())
    numbers = {row: entry["sequence_number"] for row, entry in enumerate(ended) if row in order}
    assert numbers == {row: row * 10 for row in order}
    assert outcomes.counts["stored"] == len(order)
