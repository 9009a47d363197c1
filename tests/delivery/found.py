"""Cases that broke a law once, shrunk, and some that chance would seldom draw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.delivery.cases import DENIED, RUN_ID, STREAM_PATH, Case, End, LostRefusals, OthersWrite
from tests.internals import DeliveryOptions
from v3io_frames_put.config import Limits, Retry
from v3io_frames_put.local import Fault, faults

FREE = (None, None, 0)
# Row 0 is looked up, sent again, rejected, and stored while row 1 waits in the next process.
REJECTED_AND_LATE = [
    faults.delayed_write(containing='"row":0', after_seconds=40),
    faults.RecordErrors(containing='"row":0', message="InvalidArgumentException", times=None),
    faults.throttled(containing='"row":1', retry_after_seconds=30, times=2),
]
REJECTED_THEN_STORED = Case(
    rows=[("a", None, 0), ("b", None, 0)],
    policy=DeliveryOptions(delivery="exactly_once", max_in_flight=1, limits=Limits(max_records=1)),
    faults=REJECTED_AND_LATE,
    ends=[End("stop", 240)],
    journal=True,
)
# The first DescribeStream notes the starts.
_AT_LOOK_UP = {"function": "DescribeStream", "nth": 2}
# The first request of row 0 is stored while row 1 waits, and is gone before the last scan.
_AT_LAST_SCAN = {"function": "DescribeStream", "nth": 3}
_COMES = [
    faults.delayed_write(containing='"row":0', after_seconds=9),
    faults.throttled(containing='"row":1', retry_after_seconds=7, times=2),
]
_REJECTED = faults.RecordErrors(containing='"row":0', nth=2, message="InvalidArgumentException")


def _goes(at: dict[str, Any]) -> list[Fault]:
    """Write to each shard, and drop what was there before."""
    drop = faults.Change(action="drop_records", **at, target=STREAM_PATH, keep_last=1)
    return [*[OthersWrite(**at, into=shard) for shard in range(3)], drop]


REJECTED_THEN_GONE = Case(
    rows=[("a", None, 0), ("b", None, 0)],
    policy=DeliveryOptions(delivery="exactly_once", max_in_flight=1, limits=Limits(max_records=1)),
    faults=[_REJECTED, *_COMES, *_goes(_AT_LAST_SCAN)],
)
# Row 0 has its outcome while row 1, of its destination, is sent; it is stored while row 2 waits.
_SENT_AFTER_ROW_0 = [
    faults.delayed_write(containing='"row":0', after_seconds=9),
    faults.throttled(containing='"row":2', retry_after_seconds=9, times=2),
]
STORED_AFTER_ROW_1 = Case(
    rows=[("a", None, 0), ("a", None, 0), ("b", None, 0)],
    policy=DeliveryOptions(delivery="exactly_once", max_in_flight=1, limits=Limits(max_records=1)),
    faults=[_REJECTED, *_SENT_AFTER_ROW_0],
)
_RETENTION = [
    *[OthersWrite(**_AT_LOOK_UP, records=3, into=shard) for shard in range(3)],
    faults.Change(action="drop_records", **_AT_LOOK_UP, target=STREAM_PATH, keep_last=1),
]
# The first request of row 0 is stored again while another row waits in the next process.
LATE_COPY = Case(
    rows=[("a", None, 0), ("b", None, 0), ("b", None, 0)],
    policy=DeliveryOptions(delivery="exactly_once", max_in_flight=1, limits=Limits(max_records=1)),
    faults=[
        faults.delayed_write(containing='"row":0', after_seconds=16),
        faults.throttled(containing='"row":1', retry_after_seconds=20, times=2),
    ],
    ends=[End("kill", 204)],
    journal=True,
)
_BRIEF = DeliveryOptions(
    delivery="exactly_once",
    max_in_flight=1,
    max_in_flight_bytes=900,
    retry=Retry(deadline_seconds=3),
    limits=Limits(max_records=2, max_body_bytes=600, max_data_bytes=100),
)
FOUND = {
    "a row that is found on a page whose rows all had an outcome": Case(
        rows=[FREE] * 6,
        policy=DeliveryOptions(
            delivery="exactly_once", max_in_flight=2, limits=Limits(max_records=2)
        ),
        ends=[End("leave", 30)],
        journal=True,
        page_rows=3,
    ),
    "bodies count as held": Case(
        rows=[("a", None, 0)] * 40,
        policy=DeliveryOptions(max_in_flight_bytes=900, limits=Limits(max_records=7)),
        faults=[faults.throttled(retry_after_seconds=1)],
    ),
    "a window of Arrow packs in which every row is too large": Case(
        rows=[FREE],
        policy=DeliveryOptions(max_in_flight_bytes=900, limits=Limits(max_data_bytes=100)),
        format="arrow",
        rows_per_record=3,
    ),
    "a shard that is none of the stream's, looked up beside a row without shard": Case(
        rows=[FREE, (None, 9, 0)],
        policy=DeliveryOptions(delivery="exactly_once"),
        faults=[faults.unavailable(stored="none")],
    ),
    "a pack of one row that a resumed run finds": Case(
        rows=[FREE],
        policy=DeliveryOptions(delivery="exactly_once"),
        faults=[faults.lost_answer()],
        rows_per_record=3,
        ends=[End("kill", 25)],
    ),
    "a row that an earlier process sent twice, and this one not at all": Case(
        rows=[FREE],
        faults=[faults.lost_answer(), faults.lost_answer()],
        ends=[End("kill", 4), End("kill", 16), End("stop", 1)],
        resumes=False,
    ),
    "a delayed write of an earlier process that came before this one": Case(
        rows=[("a", None, 0)] * 6,
        policy=DeliveryOptions(delivery="exactly_once", limits=Limits(max_records=2)),
        faults=[
            faults.delayed_write(after_seconds=9),
            faults.throttled(nth=3, retry_after_seconds=7),
        ],
        ends=[End("kill", 145)],
    ),
    "a delayed write of an earlier process that comes after this one looked": Case(
        rows=[FREE] * 2,
        policy=DeliveryOptions(
            delivery="exactly_once", max_in_flight=1, limits=Limits(max_records=1)
        ),
        faults=[
            faults.delayed_write(after_seconds=9),
            faults.throttled(nth=3, retry_after_seconds=7),
        ],
        ends=[End("kill", 25)],
    ),
    "a stream made anew that comes to the old one's last number before the look-up": Case(
        rows=[FREE] * 20,
        policy=_BRIEF,
        faults=[
            faults.Answer(body_share=0.5),
            OthersWrite(nth=2, function="DescribeStream", records=1),
            faults.Change(action="recreate", nth=2, function="DescribeStream", target=STREAM_PATH),
        ],
        ends=[End("stop", 1)],
    ),
    "rows that a scan sees elsewhere than an answer said": Case(
        rows=[FREE, FREE],
        policy=DeliveryOptions(
            delivery="exactly_once", max_in_flight=1, limits=Limits(max_records=2)
        ),
        faults=[faults.unavailable(stored="none"), faults.WrongEntries(order="reversed")],
        lists_numbers=False,
    ),
    "a row that was reordered, and then found by a look-up": Case(
        rows=[FREE, ("a", None, 0), ("a", None, 0)],
        policy=DeliveryOptions(
            delivery="exactly_once",
            max_in_flight=2,
            max_in_flight_bytes=900,
            limits=Limits(max_records=2, max_body_bytes=600),
        ),
        faults=[
            faults.Answer(body_share=0.5),
            faults.Answer(body_share=0.5, nth=3),
            faults.unavailable(every=2, stored="none"),
            faults.RecordErrors(places=(0, 2), message="Busy"),
        ],
        lists_numbers=False,
    ),
    "a row that a look-up does not find where it finds a later one": Case(
        rows=[("a", None, 0)] * 2,
        policy=DeliveryOptions(delivery="exactly_once"),
        faults=[LostRefusals(places=(0,))],
    ),
    "a row that two killed processes sent, and a stopped one did not": Case(
        rows=[FREE],
        faults=[faults.lost_answer(), faults.lost_answer()],
        ends=[End("kill", 11), End("kill", 11), End("stop", 1)],
        resumes=False,
    ),
    "a row that a look-up does not find, told once more by the journal": Case(
        rows=[("a", None, 0)] * 2,
        policy=DeliveryOptions(delivery="exactly_once"),
        faults=[LostRefusals(places=(0,))],
        journal=True,
    ),
    "a row that was reordered in a killed process, and a look-up found in its order": Case(
        rows=[("a", None, 0)] * 2,
        policy=DeliveryOptions(delivery="exactly_once", max_in_flight=1),
        faults=[faults.RecordErrors(places=(0,), message="Busy", is_stored=True)],
        journal=True,
    ),
    "a rejected row that the last scan sees, and another one that is left": Case(
        rows=[("a", None, 0), ("b", None, 0)],
        policy=DeliveryOptions(
            delivery="exactly_once",
            retry=Retry(deadline_seconds=10),
            limits=Limits(max_records=1),
        ),
        faults=[
            faults.delayed_write(containing='"row":0', after_seconds=9),
            faults.RecordErrors(
                containing='"row":0', message="InvalidArgumentException", times=None
            ),
            faults.unavailable(containing='"row":1', stored="none", times=None),
        ],
        journal=True,
    ),
    "a row given up, of which two copies come late": Case(
        rows=[("a", None, 0)] + [("b", None, 0)] * 5,
        policy=DeliveryOptions(
            delivery="exactly_once",
            retry=Retry(deadline_seconds=8),
            limits=Limits(max_records=1),
        ),
        faults=[
            faults.delayed_write(containing='"row":0', after_seconds=20),
            faults.delayed_write(containing='"row":0', after_seconds=15),
            *[faults.unavailable(containing=f'"row":{row}', stored="none") for row in range(1, 6)],
        ],
    ),
    "a pack given up, of which a copy comes late, and the same call again": Case(
        rows=[("a", None, 0)] * 2 + [("b", None, 0)] * 10,
        policy=DeliveryOptions(
            delivery="exactly_once",
            retry=Retry(deadline_seconds=8),
            limits=Limits(max_records=1),
        ),
        faults=[
            faults.delayed_write(containing='"row":0', after_seconds=20),
            faults.delayed_write(containing='"row":0', after_seconds=15),
            *[
                faults.unavailable(containing=f'"row":{row}', stored="none")
                for row in range(2, 12, 2)
            ],
        ],
        rows_per_record=2,
        journal=True,
    ),
    "a row that an earlier process saw rejected, and the last scan sees": REJECTED_THEN_STORED,
    "a row that the results of an earlier call rejected, and the last scan sees": replace(
        REJECTED_THEN_STORED, journal=False
    ),
    "a row given up, of which a copy comes and goes before the last scan": Case(
        rows=[*[FREE] * 16, *[(None, 0, 0)] * 2, *[FREE] * 4],
        policy=_BRIEF,
        faults=[
            faults.delayed_write(nth=3, every=3, times=2, after_seconds=9),
            OthersWrite(**_AT_LOOK_UP),
            faults.Change(
                action="drop_records", **_AT_LAST_SCAN, times=3, target=STREAM_PATH, keep_last=1
            ),
        ],
        journal=True,
        page_rows=1,
    ),
    "a row rejected, of which a copy comes and goes before the last scan": REJECTED_THEN_GONE,
    "a row rejected, of which a copy came and went, and the same call again": replace(
        REJECTED_THEN_GONE, journal=True, ends=[End("stop", 1_000_000)]
    ),
    "a row sent again, of which a copy comes and goes before the last scan": replace(
        REJECTED_THEN_GONE, faults=[*_COMES, *_goes(_AT_LAST_SCAN)]
    ),
    "a row that an earlier process rejected, of which a copy comes and goes": replace(
        REJECTED_THEN_GONE,
        faults=[_REJECTED, *_COMES, *_goes({"function": "DescribeStream", "nth": 4})],
        ends=[End("stop", 220)],
        journal=True,
    ),
    "a stopped run of which all was refused, and the same call again": Case(
        rows=[FREE] * 2,
        policy=DeliveryOptions(delivery="at_most_once", max_in_flight=1),
        faults=[faults.Answer(status=429)],
        ends=[End("stop", 5), End("stop", 1)],
        journal=True,
    ),
    "a key that may write and not read, refused by a 400": Case(
        rows=[("a", None, 0)] * 3,
        policy=DeliveryOptions(delivery="exactly_once", max_in_flight=1),
        faults=[
            faults.lost_answer(),
            *[
                faults.Answer(status=400, body=DENIED, function=function, times=None)
                for function in ("GET", "GetItem", "Seek", "GetRecords")
            ],
        ],
    ),
    "a shard that a front end does not know when it is looked at": Case(
        rows=[("a", None, 0)] * 3,
        policy=DeliveryOptions(delivery="exactly_once", max_in_flight=1),
        faults=[faults.lost_answer(), faults.Answer(status=404, function="Seek", nth=2)],
    ),
    "a front end that refuses the listing": Case(
        rows=[("a", None, 0)] * 3,
        policy=DeliveryOptions(
            delivery="exactly_once", max_in_flight=1, retry=Retry(deadline_seconds=20)
        ),
        faults=[faults.lost_answer(), faults.Answer(status=400, function="GET", times=None)],
    ),
    "a rejected row that is stored after a later one": STORED_AFTER_ROW_1,
    "an unknown row of a shard that is stored after a later one": replace(
        STORED_AFTER_ROW_1,
        rows=[(None, 1, 0), (None, 1, 0), ("b", None, 0)],
        faults=[*_SENT_AFTER_ROW_0, *_RETENTION],
    ),
    "an unknown pack that is stored after a later one": replace(
        STORED_AFTER_ROW_1,
        rows=[*[("a", None, 0)] * 4, *[("b", None, 0)] * 2],
        faults=[
            *_RETENTION,
            faults.delayed_write(containing='"row":0', after_seconds=9),
            faults.throttled(containing='"row":4', retry_after_seconds=9, times=2),
        ],
        rows_per_record=2,
    ),
    "an unknown row that is stored after a later one of the stream made anew": replace(
        STORED_AFTER_ROW_1,
        faults=[
            *_SENT_AFTER_ROW_0,
            faults.Change(action="recreate", **_AT_LOOK_UP, target=STREAM_PATH),
        ],
    ),
    "rows of a process before, where nothing gives the numbers of shards": Case(
        rows=[("a", None, 0)] * 2,
        policy=DeliveryOptions(delivery="exactly_once", max_in_flight=1),
        faults=[
            faults.Answer(status=404, function="GetItem", times=None),
            faults.lost_answer(),
        ],
        ends=[End("leave", 32)],
        lists_numbers=False,
    ),
    "likewise, by a journal": Case(
        rows=[("a", None, 0)] * 2,
        policy=DeliveryOptions(delivery="exactly_once", max_in_flight=1),
        faults=[
            faults.Answer(status=404, function="GetItem", times=None),
            faults.lost_answer(),
        ],
        ends=[End("kill", 42)],
        lists_numbers=False,
    ),
    "a copy of a stored row that comes while the next process sends": LATE_COPY,
    "likewise, by a journal of a run that was left": replace(LATE_COPY, ends=[End("leave", 204)]),
    "a copy of an unsent row that comes while the next process sends": replace(
        LATE_COPY, ends=[End("leave", 138)], journal=False
    ),
    "a request that was answered for some rows, and a kill": Case(
        rows=[FREE] * 6,
        policy=DeliveryOptions(
            delivery="at_most_once", max_in_flight=2, limits=Limits(max_records=3)
        ),
        faults=[
            faults.RecordErrors(places=(1,), message="Busy"),
            faults.stalled_answer(seconds=5.0, nth=2),
        ],
        ends=[End("kill", 18)],
    ),
}

CHOSEN = {
    "retention drops what is looked up": Case(
        rows=[("a", None, 0)],
        policy=DeliveryOptions(delivery="exactly_once"),
        faults=[
            faults.lost_answer(),
            *_RETENTION,
        ],
    ),
    "another run has the same rows": Case(
        rows=[FREE],
        policy=DeliveryOptions(delivery="exactly_once"),
        faults=[
            faults.lost_answer(stored="none"),
            OthersWrite(**_AT_LOOK_UP, info="fedcba9876543210" + "00" * 5 + "000001"),
        ],
    ),
    "somebody writes most of a tag of ours": Case(
        rows=[FREE],
        policy=DeliveryOptions(delivery="exactly_once"),
        faults=[
            faults.lost_answer(stored="none"),
            OthersWrite(**_AT_LOOK_UP, info=RUN_ID + "00" * 5 + "0001"),
        ],
    ),
    "what a killed process sent comes within the settle time": Case(
        rows=[FREE],
        policy=DeliveryOptions(delivery="exactly_once"),
        faults=[faults.delayed_write(after_seconds=4.5)],
        ends=[End("kill", 30)],
    ),
    "what a killed process sent comes late": Case(
        rows=[FREE] * 3,
        policy=DeliveryOptions(
            delivery="exactly_once", max_in_flight=1, limits=Limits(max_records=1)
        ),
        faults=[
            faults.delayed_write(after_seconds=9),
            faults.throttled(nth=3, retry_after_seconds=7),
        ],
        ends=[End("kill", 30)],
    ),
    "the answers of one shard come in another order": Case(
        rows=[("a", None, 0)] * 3, faults=[faults.WrongEntries(order="reversed")]
    ),
}
