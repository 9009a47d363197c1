"""Generated runs for the model test: data, mapping, policy, faults, other writers, ends.

A case is a value whose ``repr`` makes it again: what was found once is kept in
``found.py``.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from hypothesis import strategies as st

from tests.internals import PAGE_ROWS, DeliveryOptions
from v3io_frames_put import local
from v3io_frames_put.config import Limits, Retry

STREAM_PATH = "projects/model/stream"
RUN_ID = "0123456789abcdef"
SETTLE_SECONDS = 5.0
OTHERS = b"of another writer"
DENIED = '{"ErrorCode": -13, "ErrorMessage": "Permission denied"}'
QUESTIONS = ("DescribeStream", "GET", "GetItem", "Seek", "GetRecords")


class OthersWrite(local.Fault, frozen=True, kw_only=True):
    """Another writer puts records while ours are under way; the request goes on."""

    records: int = 1
    into: int | None = None  # shard
    info: str | None = None  # hexadecimal digits

    def apply(self, platform: Any, request: Any) -> None:
        """Write."""
        fields: dict[str, Any] = {"Data": b64encode(OTHERS).decode()}
        if self.into is not None:
            fields["ShardId"] = self.into
        if self.info is not None:
            fields["ClientInfo"] = b64encode(bytes.fromhex(self.info)).decode()
        body = msgspec.json.encode({"Records": [fields] * self.records})
        headers = {"X-v3io-function": "PutRecords"}
        platform.handle(local.Request("POST", f"/{STREAM_PATH}", "", headers, body))


class LostRefusals(local.faults.RecordErrors, frozen=True, kw_only=True):
    """Some records are not stored for a passing reason, and nobody hears of it."""

    def apply(self, platform: Any, request: Any) -> local.Exchange:
        """Store the others and hang up."""
        local.faults.RecordErrors.apply(self, platform, request)
        return local.Exchange(response=None, ending="reset")


@dataclass(frozen=True, slots=True)
class End:
    """How one process of a run ends early.

    Attributes
    ----------
    how : {"stop", "leave", "kill"}
        Ctrl-C, two of them, or SIGKILL.
    after : int
        Events before it: a request that leaves, an answer that is taken in, ...
    """

    how: Literal["stop", "leave", "kill"]
    after: int


@dataclass(frozen=True)
class Case:
    """One generated run.

    Attributes
    ----------
    rows : list of (key, shard, characters of text)
        The data.
    faults : list of Fault
        What happens to which request.
    ends : list of End
        Each ends one process; the next one resumes. The last process is not ended.
    resumes : bool
        Whether anybody goes on after the last of ``ends``; after a kill, always.
    journal : bool
        Whether the run keeps a journal; with a kill among its ends, always.
    seed : int
        Of delays and pauses.
    lists_numbers : bool
        Whether the listing tells ``LastSequenceId``.
    page_rows : int
        Rows whose outcomes are kept together.
    """

    rows: list[tuple[str | None, int | None, int]]
    policy: DeliveryOptions = field(default_factory=DeliveryOptions)
    faults: list[local.Fault] = field(default_factory=list)
    format: Literal["json", "arrow"] = "json"
    rows_per_record: int = 1
    ends: list[End] = field(default_factory=list)
    resumes: bool = True
    journal: bool = False
    seed: int = 0
    lists_numbers: bool = True
    page_rows: int = PAGE_ROWS

    @property
    def keeps_journal(self) -> bool:
        """Whether processes go on by a journal, not by results."""
        return self.journal or "kill" in [end.how for end in self.ends]

    @property
    def goes_on(self) -> bool:
        """Whether the last process is not ended."""
        return self.resumes or not self.ends or self.ends[-1].how == "kill"

    @property
    def has(self) -> frozenset[type[local.Fault]]:
        """Kinds of its faults."""
        return frozenset(map(type, self.faults))

    @property
    def changes(self) -> frozenset[str]:
        """What others do to the stream."""
        return frozenset(f.action for f in self.faults if isinstance(f, local.faults.Change))

    @property
    def has_stray_answers(self) -> bool:
        """Whether somebody else answers a question, a front end for example."""
        strays = [fault for fault in self.faults if isinstance(fault, local.faults.Answer)]
        return any(fault.function in QUESTIONS and fault.status in (400, 404) for fault in strays)

    @property
    def has_late_writes(self) -> bool:
        """Whether a request is stored later than the settle time after its connection ended."""
        ended = [f for f in self.faults if isinstance(f, local.faults.Disconnect)]
        return any((fault.stored_after_seconds or 0) > SETTLE_SECONDS for fault in ended)


stored = st.sampled_from(["none", "all", "even_shards", "odd_shards"])
anywhere = st.sampled_from(["PutRecords", "PutRecords", "GetRecords", "Seek", "DescribeStream"])
which = {
    "nth": st.sampled_from([1, 1, 2, 3, 5]),
    "every": st.sampled_from([1, 1, 2, 3]),
    "times": st.sampled_from([1, 1, 2, 4]),
}
infos = st.sampled_from(
    [
        None,
        "fedcba9876543210" + "00" * 4 + "01" + "000001",  # a tag of another run
        "fedcba9876543210" + "00" * 5 + "000003",
        "ff" * 16,
        RUN_ID + "00" * 5 + "0001",  # a tag of ours, but for a byte
    ]
)


def _make(kind: Callable[..., local.Fault], **values: Any) -> st.SearchStrategy[local.Fault]:
    """Generate faults of a kind: each value is a strategy, or what it always is."""
    given = {**which, **values}
    return st.builds(
        kind,
        **{
            name: value if isinstance(value, st.SearchStrategy) else st.just(value)
            for name, value in given.items()
        },
    )


def _lost(delayed_seconds: list[float]) -> list[st.SearchStrategy[local.Fault]]:
    """Faults that leave nobody knowing."""
    return [
        _make(local.faults.unavailable, stored=stored),
        _make(local.faults.Answer, status=st.sampled_from([502, 504])),
        _make(local.faults.Answer, status=st.just(200), body=st.just(""), stored=stored),
        _make(
            local.faults.Answer, body_share=st.just(0.5), ending=st.sampled_from(["keep", "reset"])
        ),
        _make(local.faults.WrongEntries, entries=st.sampled_from([-1, 1])),
        _make(local.faults.WrongEntries, entries=0, failed=1),
        _make(local.faults.RecordErrors, places=(0, 2), message="Busy", is_stored=st.booleans()),
        _make(LostRefusals, places=st.sampled_from([(0,), (1, 2)])),
        _make(local.faults.Disconnect),
        _make(local.faults.lost_answer, stored=stored),
        _make(local.faults.delayed_write, after_seconds=st.sampled_from(delayed_seconds)),
        _make(local.faults.stalled_answer, seconds=st.sampled_from([None, 5.0])),
        _make(local.faults.restart, stored=stored, down_seconds=st.sampled_from([0.0, 9.0])),
    ]


_told = [  # faults that say what is the matter, or hide it from nobody
    _make(local.faults.throttled, retry_after_seconds=st.sampled_from([None, 1, 7])),
    _make(local.faults.Answer, status=st.just(413), min_records=st.integers(2, 4)),
    _make(
        local.faults.RecordErrors,
        places=st.sampled_from([(0,), (1, 2), ()]),
        message=st.sampled_from(["InvalidArgumentException", "Busy", "Odd"]),
    ),
    _make(local.faults.Disconnect, when=st.sampled_from(["before_body", "in_body"])),
    _make(local.faults.refused, status=401, nth=st.integers(2, 9), every=1, times=1),
    _make(local.faults.WrongEntries, order=st.sampled_from(["reversed", "rotated", "swapped"])),
]
_questions = st.sampled_from(QUESTIONS)
_reading = [  # faults of what looks and asks
    _make(local.faults.Answer, status=st.sampled_from([400, 404]), function=_questions),
    _make(local.faults.Answer, status=400, body=DENIED, function=_questions),
    _make(local.faults.unavailable, function=st.sampled_from(["GetRecords", "DescribeStream"]),
          stored="none"),
    _make(local.faults.throttled, function="Seek"),
    _make(local.faults.lost_answer, function=anywhere),
]  # fmt: skip
_changes = [  # what others do to the stream
    _make(
        OthersWrite,
        function=anywhere,
        records=st.sampled_from([1, 3, 20]),
        into=st.sampled_from([None, 0, 1, 2]),
        info=infos,
    ),
    _make(local.faults.Change, action="resize", shards=5, function=anywhere, target=STREAM_PATH),
    _make(
        local.faults.Change,
        action="drop_records",
        function=anywhere,
        keep_last=st.sampled_from([0, 1, 5]),
        target=STREAM_PATH,
    ),
    _make(
        local.faults.Change,
        action="recreate",
        function=anywhere,
        target=STREAM_PATH,
        nth=st.integers(1, 9),
        times=1,
    ),
]


def faults(*, late: bool) -> st.SearchStrategy[list[local.Fault]]:
    """Generate scripts of faults."""
    lost = _lost([0.5, 3.0, 4.5, 9.0, 40.0] if late else [0.5, 3.0, 4.5])
    every = [*lost, *_told, *_reading, *_changes, _changes[0]]
    script = st.lists(st.one_of(st.one_of(lost), st.one_of(every)), max_size=5)
    return st.one_of(script, script, _plots(lost))


def _plots(lost: list[st.SearchStrategy[local.Fault]]) -> st.SearchStrategy[list[local.Fault]]:
    """Generate what chance would seldom bring together.

    An answer is lost, and when it is looked up (the first DescribeStream notes the
    starts, the second looks up), others have written and records are gone.
    """
    look_up: dict[str, Any] = {
        "function": st.sampled_from(["DescribeStream", "Seek", "GetRecords"]),
        "nth": st.sampled_from([2, 2, 3, 4]),
        "every": 1,
        "times": st.sampled_from([1, 3]),
    }
    gone = [
        _make(
            local.faults.Change,
            action="drop_records",
            **look_up,
            keep_last=st.sampled_from([1, 2, 5]),
            target=STREAM_PATH,
        ),
        _make(
            local.faults.Change, action="recreate", **{**look_up, "times": 1}, target=STREAM_PATH
        ),
    ]
    shard = st.sampled_from([None, 0, 1, 2])
    writes = _make(OthersWrite, **look_up, records=st.sampled_from([1, 3]), into=shard, info=infos)
    return st.tuples(st.one_of(lost), writes, st.one_of(gone)).map(list)


_keys = st.sampled_from([None, "a", "b", "c", 'ä"\\'])
_shards = st.sampled_from([None, None, None, 0, 1, 2, 9])
_none = st.none()
_mappings = {
    "key": (_keys, _none),
    "shard": (_none, _shards),
    "both": (_keys, _shards),
    "neither": (_none, _none),
}
_texts = st.sampled_from([0, 0, 5, 90])
_ends = st.builds(
    End, st.sampled_from(["stop", "leave", "kill", "kill"]), st.sampled_from([1, 2, 5, 9, 20, 50])
)


def _rows(count: int) -> st.SearchStrategy[list[tuple[str | None, int | None, int]]]:
    return st.sampled_from(sorted(_mappings)).flatmap(
        lambda name: st.lists(st.tuples(*_mappings[name], _texts), min_size=count, max_size=count)
    )


@st.composite
def cases(draw: st.DrawFn, delivery: Any) -> Case:
    """Generate whole runs."""
    policy = DeliveryOptions(
        delivery=delivery,
        order=draw(st.sampled_from(["key", "key", "none"])),
        max_in_flight=draw(st.sampled_from([1, 2, 8, "auto"])),
        max_in_flight_bytes=draw(st.sampled_from([900, 3_000, 64 << 20])),
        retry=Retry(
            deadline_seconds=draw(st.sampled_from([3, 300])),
            attempts=draw(st.sampled_from([None, None, 2])),
            settle_seconds=SETTLE_SECONDS,
        ),
        limits=Limits(
            max_records=draw(st.sampled_from([2, 3, 7])),
            max_body_bytes=draw(st.sampled_from([600, 10_000_000, 10_000_000])),
            max_data_bytes=draw(st.sampled_from([100, 1_000_000, 1_000_000])),
        ),
    )
    return Case(
        rows=draw(st.integers(0, 40).flatmap(_rows)),
        policy=policy,
        faults=draw(faults(late=draw(st.booleans()))),
        format=draw(st.sampled_from(["json", "json", "arrow"])),
        rows_per_record=draw(st.sampled_from([1, 1, 3])),
        ends=draw(st.one_of(st.just([]), st.lists(_ends, max_size=3))),
        resumes=draw(st.sampled_from([True, True, False])),
        journal=draw(st.sampled_from([True, False, False])),
        seed=draw(st.integers(0, 1 << 32)),
        lists_numbers=draw(st.booleans()),
        page_rows=draw(st.sampled_from([1, 4, 16, PAGE_ROWS])),
    )
