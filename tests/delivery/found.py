"""Cases that broke a law once, shrunk: each is played for ever after."""

from __future__ import annotations

from tests.delivery.cases import Case
from v3io_frames_put._delivery.policy import Policy
from v3io_frames_put.config import Limits
from v3io_frames_put.local import Throttled, Unavailable

FREE = (None, None, 0)
FOUND = {
    "bodies count as held": Case(
        rows=[("a", None, 0)] * 40,
        policy=Policy(max_in_flight_bytes=900, limits=Limits(max_records=7)),
        faults=[Throttled(retry_after_seconds=1)],
    ),
    "a window of Arrow packs in which every row is too large": Case(
        rows=[FREE],
        policy=Policy(max_in_flight_bytes=900, limits=Limits(max_data_bytes=100)),
        format="arrow",
        rows_per_record=3,
    ),
    "a shard that is none of the stream's, looked up beside a row without shard": Case(
        rows=[FREE, (None, 9, 0)],
        policy=Policy(delivery="exactly_once"),
        faults=[Unavailable(stored="none")],
    ),
}
