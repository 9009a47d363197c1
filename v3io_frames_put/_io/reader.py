"""Reading a stream back: to its end as it was, shard by shard, in stored order."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from numbers import Integral
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from .._producer.classification import is_missing
from .._producer.queries import Query, Result, find_last_number, list_shards
from .._wire import api, responses
from .._wire.responses import RECORD_SCHEMA, RecordPage, parse_record_page
from ..config import TAG_BYTES, check_whole
from ..errors import ConfigError, ProtocolError, RequestError

if TYPE_CHECKING:
    from .stream_admin import StreamAdmin

StartLike: TypeAlias = "str | datetime | np.datetime64 | pd.Timestamp | Mapping[int, int]"
"""``"earliest"``, ``"latest"``, a time (naive: UTC), or a sequence number per shard."""


@dataclass(frozen=True, slots=True)
class StartPosition:
    kind: Literal["earliest", "latest", "time", "sequence"]
    number: int = 0  # nanoseconds since the epoch, or a sequence number


EARLIEST: Final = StartPosition("earliest")
LATEST: Final = StartPosition("latest")
_EXPECTED: Final = (
    "expected 'earliest', 'latest', a timestamp, or {shard: sequence_number}. Correct it."
)


def parse_starts(start: StartLike, shards: int) -> dict[int, StartPosition]:
    """Say where to begin in each shard; a mapping leaves out shards it does not name."""
    if not isinstance(start, Mapping):
        return dict.fromkeys(range(shards), parse_start(start))
    return {
        check_whole("start: a shard", shard, least=0, most=shards - 1): StartPosition(
            "sequence", check_whole(f"start: the number for shard {shard}", number, least=1)
        )
        for shard, number in start.items()
    }


def parse_start(start: object) -> StartPosition:
    """Read a start that is the same for every shard, or is of one shard."""
    if isinstance(start, str) and start in ("earliest", "latest"):
        return EARLIEST if start == "earliest" else LATEST
    if isinstance(start, (str, datetime, np.datetime64)):
        return StartPosition("time", _nanoseconds(start))
    if isinstance(start, (int, np.integer)) and not isinstance(start, bool):
        raise ConfigError(f"start={start!r}: a number alone does not say of what; {_EXPECTED}")
    raise ConfigError(f"start={start!r}: {_EXPECTED}")


def _nanoseconds(start: str | datetime | np.datetime64) -> int:
    """Count from the epoch; a time without a zone is UTC."""
    try:
        # "now" and "today" would else be those of the local zone.
        moment = pd.Timestamp(start, tz="UTC") if isinstance(start, str) else pd.Timestamp(start)
        utc = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
        number = int(utc.as_unit("ns").value)
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigError(f"start={start!r}: not a time; {_EXPECTED}") from error
    if number < 0:
        raise ConfigError(f"start={start!r}: before 1970, or no time at all; {_EXPECTED}")
    return number


_log = logging.getLogger("v3io_frames_put")
# The documents bound an answer by its 10 MB alone, and the platform cuts it there.
PAGE_RECORDS: Final = 10_000
TABLE_SCHEMA: Final = pa.schema([pa.field("shard_id", pa.int32(), nullable=False), *RECORD_SCHEMA])
_PANDAS_TYPES: Final = {
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.string(): pd.StringDtype("pyarrow"),
}
_SUCCESS: Final = 200
_MAX_LOST_PLACES: Final = 10  # each time retention was faster than we are


def find_location(stream: StreamAdmin, shard: int, start: StartPosition) -> str | None:
    """Seek. None: the shard does not exist yet, for nothing was ever written to it."""
    request = api.seek_request(stream.path, shard, start.kind, start.number)
    answer = stream.requests.send(request, doing=f"seek {stream.path}")
    if answer.status == _SUCCESS:
        return stream.parse(answer, responses.parse_location)
    if is_missing(answer):
        return None
    name = api.parse_error(answer).name
    if start.kind == "sequence" and name in (api.INVALID_ARGUMENT, api.ILLEGAL_LOCATION):
        return _find_around(stream, shard, start.number)
    raise stream.error(answer, "seek")


def _find_around(stream: StreamAdmin, shard: int, number: int) -> str | None:
    """Find the place of a number that is not there: dropped by retention, or not given yet."""
    earliest, page = _first_page(stream, shard)
    if page is None:
        return earliest
    is_dropped = page.records.column("sequence_number")[0].as_py() >= number
    return earliest if is_dropped else find_location(stream, shard, LATEST)


def _first_page(stream: StreamAdmin, shard: int) -> tuple[str | None, RecordPage | None]:
    """Read the first record that is left; return its location, too. None: there is none."""
    earliest = find_location(stream, shard, EARLIEST)
    page = None if earliest is None else get_page(stream, shard, earliest, 1)
    return earliest, page if page is not None and page.records.num_rows else None


def get_page(stream: StreamAdmin, shard: int, location: str, limit: int) -> RecordPage | None:
    """Read from a location. None: the location has expired."""
    request = api.get_records_request(stream.path, shard, location=location, limit=limit)
    answer = stream.requests.send(request, doing=f"read {stream.path}")
    if answer.status == _SUCCESS:
        return stream.parse(answer, parse_record_page)
    if api.parse_error(answer).name == api.ILLEGAL_LOCATION:
        return None
    raise stream.error(answer, "read")


def run_query(stream: StreamAdmin, query: Query[Result], doing: str) -> Result:
    """Run a query to its end, one request after the other."""
    value = None
    while True:
        try:
            step = query.send(value)
        except StopIteration as over:
            result: Result = over.value
            return result
        answer = stream.requests.send(step.request, doing=f"{doing} {stream.path}")
        value = stream.parse(answer, step.parse)


def find_ends(stream: StreamAdmin, shards: Iterable[int]) -> dict[int, int]:
    """Return each shard's last sequence number; shards never written to are left out.

    From the listing where it has them, one request for a thousand shards; else
    from the shard's attribute; else by reading its first record. The first two take another
    right than reading, and may be refused.
    """
    listed = run_query(stream, list_shards(stream.path), "list stream")
    ends: dict[int, int] = {}
    for shard in shards:
        if listed is not None and shard not in listed:
            continue
        number = listed.get(shard) if listed else None
        if number is None:
            number = run_query(stream, find_last_number(stream.path, shard), "look at")
        if number is None:  # numbers of a shard have no gaps
            _, page = _first_page(stream, shard)
            if page is not None:
                number = page.records.column("sequence_number")[0].as_py() + page.records_behind
        if number:
            ends[shard] = number
    return ends


def read_shard(
    stream: StreamAdmin,
    shard: int,
    start: StartPosition,
    *,
    end: int,
    limit: int,
    may_be_missing: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Read a shard's records up to a number, at most so many.

    Raises RequestError where the shard is gone that had such an ``end``.
    """
    last, lost_places = start.number - 1 if start.kind == "sequence" else 0, 0
    if last >= end:
        return
    location = find_location(stream, shard, start)
    while location is not None and last < end and limit > 0:
        page = get_page(stream, shard, location, min(limit, PAGE_RECORDS))
        if page is None:
            lost_places += 1
            location = _recover_location(stream, shard, last, lost_places)
            continue
        numbers = page.records.column("sequence_number")
        batch = page.records.filter(pc.and_(pc.greater(numbers, last), pc.less_equal(numbers, end)))
        yield batch
        limit -= batch.num_rows
        if page.records.num_rows == 0 and page.next_location == location:
            return  # the shard ends here: retention took what was counted
        if page.records.num_rows:
            last = numbers[-1].as_py()
        location = page.next_location
    if location is None and not may_be_missing:
        raise stream.diagnose()


def _recover_location(stream: StreamAdmin, shard: int, last: int, lost_places: int) -> str | None:
    """Go on where retention has dropped the records that were next."""
    if lost_places > _MAX_LOST_PLACES:
        raise ProtocolError(
            f"read {stream.path}: locations in shard {shard} expire as soon as they are given. "
            f"Start later, or lengthen the stream's retention."
        )
    _log.warning("stream %s: retention overtook the reading of shard %d", stream.path, shard)
    return find_location(
        stream, shard, StartPosition("sequence", last + 1) if last > 0 else EARLIEST
    )


def read_frame(stream: StreamAdmin, start: StartLike, *, limit: int, unique: bool) -> pd.DataFrame:
    """Read shards one after another, to their ends as they are now, into a frame.

    ``unique`` keeps the first record of each tag.
    """
    limit = check_whole("limit", limit, least=1)
    starts = parse_starts(start, stream.describe().shards)
    ends = find_ends(stream, sorted(starts))
    batches: list[pa.RecordBatch] = []
    rows = 0
    for shard in sorted(ends):
        # One more than is wanted: that is how we know that the limit cut.
        for batch in read_shard(
            stream, shard, starts[shard], end=ends[shard], limit=limit + 1 - rows
        ):
            ids = pa.repeat(pa.scalar(shard, pa.int32()), batch.num_rows)
            batches.append(pa.RecordBatch.from_arrays([ids, *batch.columns], schema=TABLE_SCHEMA))
            rows += batch.num_rows
    table = pa.Table.from_batches(batches, schema=TABLE_SCHEMA).slice(0, limit)
    if rows > limit:
        text = f"stream {stream.path}: limit={limit:,} left records out. Give a larger limit."
        warnings.warn(text, UserWarning, stacklevel=3)
    if unique:  # records without a tag all stay
        info = table.column("client_info")
        is_tag = pc.fill_null(pc.equal(pc.binary_length(info), TAG_BYTES), False)  # noqa: FBT003  # a value, not a flag
        is_copy = info.to_pandas().duplicated(keep="first") & is_tag.to_pandas()
        table = table.filter(pa.array(~is_copy))
    frame: pd.DataFrame = table.to_pandas(types_mapper=_PANDAS_TYPES.get)
    return frame


def seek(stream: StreamAdmin, shard: int, start: object) -> str | None:
    """Seek in one shard, which may not exist yet but has to be one of the stream's."""
    shard = check_whole("shard", shard, least=0, most=stream.describe().shards - 1)
    if isinstance(start, Integral):
        number = check_whole("start: a sequence number", start, least=1)
        return find_location(stream, shard, StartPosition("sequence", number))
    return find_location(stream, shard, parse_start(start))


def get_records(stream: StreamAdmin, shard: int, location: str, limit: int) -> RecordPage:
    """Read one page, for a caller who keeps the location."""
    limit = check_whole("limit", limit, least=1)
    page = get_page(stream, shard, location, limit)
    if page is None:
        raise RequestError(
            f"read {stream.path}: the location in shard {shard} has expired; expected one that "
            f"seek or get_records gave lately. Seek again."
        )
    return page
