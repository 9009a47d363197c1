"""A platform of your own: the web API on this machine, for tests, demos and benchmarks.

``LocalPlatform`` serves it on a port; ``Platform`` answers requests without any socket. It
answers as the real one is documented and was seen to, streams, objects and listings alike,
and shares no code with the client, so that both cannot be wrong together.

Start it in a test by the fixture ``local_platform``
(``pytest_plugins = ["v3io_frames_put.local.pytest_plugin"]``) or in a ``with`` block, look at
``records``, ``requests`` and ``peak_in_flight``, and make it fail by a script of faults::

    from v3io_frames_put.local import LocalPlatform, LostAnswer, Throttled

    script = [
        Throttled(times=2, retry_after_seconds=1),  # the first two PutRecords: 429
        LostAnswer(nth=3, every=5, times=None),     # every fifth from the third on: no answer
    ]
    with LocalPlatform(faults=script) as platform:
        ...

Every fault says which requests it means (``function``, ``stream``, ``shard``,
``containing``, ``min_records``, ``min_body_bytes``) and which of those it takes (``nth``,
``every``, ``times``). The first in the list that is due takes the request.

=================  ===========================================================================
fault              what happens
=================  ===========================================================================
Throttled          429 with ``Retry-After`` in seconds or as a date; nothing is stored
Unavailable        503 of the platform; nothing, all, or some shards are stored
HtmlError          a page of the front end: 502, 504, ...
Refused            an error of the platform for the whole request: 401 in mid-run, 403, 404
Redirected         308 with ``Location``
TooLarge           413, after the body or while it is being sent
EmptyAnswer        200 without a body
TruncatedAnswer    all is stored; the JSON ends in the middle, or the connection does
WrongCounts        all is stored; too few or too many entries, or ``FailedRecordCount`` is off
PermutedAnswer     all is stored; the entries come in another order
RecordErrors       chosen records fail inside a 200: once, for ever, or with unknown codes
Reset              connection reset before, in or after the body; nothing is stored
LostAnswer         stored, and the connection ends without an answer
LateGhost          connection reset, and the records are stored seconds later
StalledAnswer      stored, and the answer comes late or never
SlowAnswer         stored, and the body of the answer drips
Restart            the platform is killed and comes back
ShardsAdded        the stream grows; the request goes on
RecordsDropped     retention drops records; the request goes on
StreamRemoved      the stream is deleted; the request goes on
StreamRemade       the stream is deleted and made anew; the request goes on
=================  ===========================================================================

``load_faults`` reads the same script from a TOML file. ``Front`` decides what a request gets
without enacting it, for simulations with a clock of their own: ``Front(Platform(clock=now),
script).exchange(request)`` returns an ``Exchange``.
"""

from v3io_frames_put.local._answer_faults import (
    EmptyAnswer,
    PermutedAnswer,
    RecordErrors,
    TruncatedAnswer,
    WrongCounts,
)
from v3io_frames_put.local._api import Platform
from v3io_frames_put.local._changes import (
    RecordsDropped,
    ShardsAdded,
    StreamRemade,
    StreamRemoved,
)
from v3io_frames_put.local._connection_faults import (
    LateGhost,
    LostAnswer,
    Reset,
    Restart,
    SlowAnswer,
    StalledAnswer,
)
from v3io_frames_put.local._direct import StoredRecord
from v3io_frames_put.local._exchange import Exchange, Ghost
from v3io_frames_put.local._fault_file import FaultScriptError, load_faults
from v3io_frames_put.local._faults import Fault
from v3io_frames_put.local._front import Front
from v3io_frames_put.local._local import LocalPlatform, serve_forever
from v3io_frames_put.local._log import Arrival
from v3io_frames_put.local._messages import Request, Response
from v3io_frames_put.local._refusal_faults import (
    HtmlError,
    Redirected,
    Refused,
    Throttled,
    TooLarge,
    Unavailable,
)
from v3io_frames_put.local._rules import STRICTEST, AccessKey, Rules
from v3io_frames_put.local._store import StoreError

__all__ = [
    "STRICTEST",
    "AccessKey",
    "Arrival",
    "EmptyAnswer",
    "Exchange",
    "Fault",
    "FaultScriptError",
    "Front",
    "Ghost",
    "HtmlError",
    "LateGhost",
    "LocalPlatform",
    "LostAnswer",
    "PermutedAnswer",
    "Platform",
    "RecordErrors",
    "RecordsDropped",
    "Redirected",
    "Refused",
    "Request",
    "Reset",
    "Response",
    "Restart",
    "Rules",
    "ShardsAdded",
    "SlowAnswer",
    "StalledAnswer",
    "StoreError",
    "StoredRecord",
    "StreamRemade",
    "StreamRemoved",
    "Throttled",
    "TooLarge",
    "TruncatedAnswer",
    "Unavailable",
    "WrongCounts",
    "load_faults",
    "serve_forever",
]
