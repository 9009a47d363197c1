"""What the results of a case may say, given what stood on the stream (contract 2, 3).

Each law raises an AssertionError with the row at fault.
"""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd

from tests.delivery.bench import Place, Ran
from tests.delivery.cases import Case, LostRefusals
from tests.internals import Copy


def check(case: Case, ran: Ran) -> None:
    """Hold a case against every law."""
    check_table(case, ran)
    check_truth(case, ran)
    check_attempts(case, ran)
    check_copies(case, ran)
    check_order(case, ran)
    check_listed(case, ran)
    check_unknown(case, ran)
    check_memory(case, ran)
    check_finished(case, ran)
    check_receipt(ran)
    check_kept(case, ran)
    check_again(ran)


def check_table(case: Case, ran: Ran) -> None:
    """Rows in are rows out, each with what its status has to say."""
    results = ran.results
    assert len(results) == len(case.rows)
    assert results.status.notna().all()
    is_stored = results.status == "stored"
    assert (results.error_message.isna() == is_stored).all()
    assert (results.shard_id.notna() == is_stored).all()
    assert (results.sequence_number.notna() == is_stored).all()
    was_sent = is_stored if case.keeps_journal else is_stored | (results.status == "unknown")
    assert (results.attempts[was_sent] > 0).all()


def check_attempts(case: Case, ran: Ran) -> None:
    """No row was in more requests than were sent, nor twice where it was sent once.

    A journal has each request before it leaves: one may never have left where a process was killed.
    """
    unsent = [end.how for end in case.ends].count("kill")
    for row, result in enumerate(ran.results.itertuples()):
        sent = len(ran.sent_by.get(row, ())) + unsent
        assert result.attempts <= sent, (row, sent, result)
        assert not result.maybe_duplicate or sent > 1, (row, sent, result)


def check_truth(case: Case, ran: Ran) -> None:
    """Stored rows stand where it says; rejected and unsent ones do not stand."""
    for row, result in enumerate(ran.results.itertuples()):
        if row in ran.deceived:
            continue
        stands = ran.stands.get(row, [])
        if result.status == "stored":
            at = getattr(result, "record_row", 0)
            told = (result.shard_id, result.sequence_number, at)
            assert told in [(p.shard, p.number, i) for p, i in stands], (row, stands, result)
            key, shard, _ = case.rows[row]
            assert shard is None or result.shard_id == shard, (row, result)
            assert shard is not None or {ran.log[p].key for p, _ in stands} == {key}, row
        elif result.status in ("rejected", "unsent"):
            unseen = [place for place, _ in stands if not _came_unseen(case, ran, place)]
            if result.status == "rejected" and ran.processes > 1 and case.has_late_writes:
                # What an earlier process rejected is kept, also where records are missing.
                unseen = [place for place in unseen if place in ran.standing]
            assert not unseen, (row, stands, result)


def _came_unseen(case: Case, ran: Ran, place: Place) -> bool:
    """Whether a record came, or went with its stream, where no look-up could know.

    What is looked up may be sent again, so that a later word is not about the first
    request alone: only ``exactly_once`` has that excuse.
    """
    if case.policy.delivery != "exactly_once":
        return False
    if place.life != ran.life or _has_outgrown(ran, place):
        return True
    return _is_misled(case) or _is_late_write(case, ran, place)


def _has_outgrown(ran: Ran, place: Place) -> bool:
    """Whether a shard of a stream made anew has come to the old one's last number."""
    old, new = (
        [p.number for p in ran.log if p.shard == place.shard and (p.life == place.life) == is_new]
        for is_new in (False, True)
    )
    return place.life > 1 and max(new) >= max(old, default=0)


def _is_misled(case: Case) -> bool:
    """Whether a look-up cannot see that the stream is another one.

    Behind a number it sees that the shard holds less than before; a location, which is all
    there is where nothing tells numbers, leads to the end of any stream.
    """
    return "recreate" in case.changes and not case.lists_numbers


def _is_late_write(case: Case, ran: Ran, place: Place) -> bool:
    """Whether a record may have come when all was sent and the last look was taken."""
    over = max(ran.put_last, ran.asked_last)
    return case.has_late_writes and (ran.log[place].since >= over or not ran.is_whole)


def check_copies(case: Case, ran: Ran) -> None:
    """No row stands more often than its delivery promises, and every copy is told."""
    delivery = case.policy.delivery
    for row, stands in ran.stands.items():
        result = ran.results.iloc[row]
        if delivery == "at_most_once":
            assert len(stands) == 1, (row, stands)
        elif delivery == "at_least_once":
            assert len(stands) == 1 or result.maybe_duplicate, (row, stands, result)
        elif len([p for p, _ in stands if p.life == ran.life]) > 1 and not _is_misled(case):
            assert case.has_late_writes or "recreate" in case.changes, (row, stands)
            if "recreate" in case.changes:
                continue  # numbers of another life may prove what is not so
            if not any(_is_late_write(case, ran, place) for place, _ in stands):
                copies = {Copy(row, p.shard, p.number) for p, _ in stands if p in ran.standing}
                copies -= {Copy(row, result.shard_id, result.sequence_number)}
                assert result.maybe_duplicate or not copies, (row, stands, result)
                assert copies <= ran.duplicates, (row, stands, result, ran.duplicates)
    if not case.has_late_writes and "recreate" not in case.changes:
        # Of the others a scan finds what an answer said.
        assert {copy.row for copy in ran.duplicates} <= ran.deceived


def check_order(case: Case, ran: Ran) -> None:
    """First copies of a destination's rows stand in data order, but for those listed.

    Where a run is resumed, rows of another process may be stored before or after: the order
    holds among the rows that one process sent, and it alone.
    """
    if case.policy.order == "none":
        return
    excused = ran.out_of_order | ran.deceived
    excused |= set(ran.results.index[ran.results.status == "unknown"])
    if case.policy.delivery == "at_least_once" and LostRefusals in case.has:
        excused |= set(ran.results.index[ran.results.maybe_duplicate])  # nobody was told
    last: dict[Any, tuple[int, Place]] = {}
    for row, (key, shard, _) in enumerate(case.rows):
        destination = ("shard", shard) if shard is not None else ("key", key)
        if destination == ("key", None) or row in excused or row not in ran.stands:
            continue
        if len({*ran.sent_by[row]}) > 1:
            continue
        place, _ = min(ran.stands[row])
        line = (destination, place.life, place.shard, ran.sent_by[row][0])
        before = last.get(line)
        assert before is None or before[1] <= place, (row, place, before)
        last[line] = (row, place)


def check_listed(case: Case, ran: Ran) -> None:
    """A row that a whole run of ``exactly_once`` lists does stand behind a later one."""
    if case.policy.delivery != "exactly_once" or ran.processes > 1 or ran.deceived:
        return
    if "recreate" in case.changes:
        return
    destinations = [("shard", s) if s is not None else ("key", key) for key, s, _ in case.rows]
    for row in ran.out_of_order:
        assert destinations[row] != ("key", None), row
        first, _ = min(ran.stands[row])
        later = [
            min(ran.stands[behind])[0]
            for behind in range(row + 1, len(case.rows))
            if destinations[behind] == destinations[row] and behind in ran.stands
        ]
        assert any(place < first for place in later), (row, first, later)


def check_unknown(case: Case, ran: Ran) -> None:
    """With ``exactly_once`` nothing ends unknown once the platform answers again."""
    retry = case.policy.retry
    forgets = {"drop_records", "recreate"} & case.changes or case.has_stray_answers
    is_patient = retry.deadline_seconds >= 300 and retry.attempts is None
    if case.policy.delivery == "exactly_once" and ran.is_whole and is_patient and not forgets:
        unknown = ran.results.index[ran.results.status == "unknown"]
        assert not len(unknown), ran.results.loc[unknown]


def check_memory(case: Case, ran: Ran) -> None:
    """What is held at once stays in its budget.

    A window is taken when it is expected to fit: as large as the largest before it. The
    first one, and one alone, is taken whatever its size.
    """
    allowed = 0
    for windows in ran.windows:
        largest = list(itertools.accumulate(windows, max))
        excess = max((new - old for old, new in itertools.pairwise(largest)), default=0)
        budget = max(case.policy.max_in_flight_bytes, max(largest, default=0))
        allowed = max(allowed, budget + excess)
    assert ran.peak_bytes <= allowed, (ran.peak_bytes, ran.windows)


def check_finished(case: Case, ran: Ran) -> None:
    """A journal calls a run finished when it came to its end and left nothing to send."""
    left = {"unsent"} if case.policy.delivery == "at_most_once" else {"unsent", "unknown"}
    if ran.is_finished is not None:
        assert ran.is_finished == (ran.is_whole and not left & set(ran.results.status))


def check_receipt(ran: Ran) -> None:
    """The receipt counts what the results and the ending say."""
    for one in ran.told:
        receipt, ending = one.results.attrs["v3io"], one.ending
        counts = one.results.status.value_counts()
        assert receipt["counts"] == counts.to_dict(), (receipt, counts)
        assert receipt["stopped"] == (ending.stop.cause if ending.stop else None)
        assert ending.broken is None
        assert receipt["duplicates"]["count"] == len(ending.duplicates), receipt
        if ending.out_of_order is None:
            assert receipt["out_of_order"] is None
        else:
            assert receipt["out_of_order"]["count"] == len(ending.out_of_order), receipt
    if ran.processes == 1:
        assert ran.told[0].ending.out_of_order is not None


def check_kept(case: Case, ran: Ran) -> None:
    """What was stored stays as it was told, and no request is forgotten, however often resumed.

    A run begins anew where its journal holds nothing that may be stored.
    """
    for before, after in itertools.pairwise(one.results for one in ran.told):
        stored = before.index[before.status == "stored"]
        kept, now = before.loc[stored], after.loc[stored]
        assert (now.maybe_duplicate | ~kept.maybe_duplicate).all(), (kept, now)
        columns = [name for name in before.columns if name != "maybe_duplicate"]
        pd.testing.assert_frame_equal(now[columns], kept[columns])
        may_be_stored = before.status.isin(["stored", "unknown"]).any()
        if may_be_stored or case.policy.delivery == "exactly_once" or not case.keeps_journal:
            assert (after.attempts >= before.attempts).all(), (before.attempts, after.attempts)


def check_again(ran: Ran) -> None:
    """A run that is complete tells the same once more, in every column."""
    if ran.again is None:
        return
    pd.testing.assert_frame_equal(ran.again.results, ran.results)
    assert ran.again.ending.out_of_order is None
    assert ran.again.ending.duplicates == ran.told[-1].ending.duplicates
    receipt = ran.again.results.attrs["v3io"]
    assert (receipt["already_complete"], receipt["requests"]) == (True, 0)
