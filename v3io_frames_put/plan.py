"""``plan_records``: what an upload would send, found out without sending anything.

The rows go the way of an upload, ``plan_rows`` -> ``encode_records`` -> ``Accumulator``, so that
a plan cannot disagree with it. Nobody can know when answers come: here each comes at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from pandas.api.types import is_float_dtype, is_integer_dtype

from . import _html
from ._encode.plan import RowPlan, plan_rows
from ._encode.sources import split_index
from ._html import plural
from ._producer.accumulator import Accumulator
from ._producer.producer import find_too_large
from ._public import public
from ._run import plan_data
from ._wire.bodies import ENVELOPE_BYTES, Entries, encode_records
from ._wire.paths import parse_stream_path
from ._wire.tags import RUN_BYTES
from .client import pick_client
from .config import DeliveryOptions, Limits, RowOptions, take_options
from .errors import UnsupportedType
from .summary import draw_reasons, group_reasons

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ._encode.records import Records
    from ._encode.sources import Column
    from .client import Client
    from .config import DeliveryMode, Encoding, Format, MaxInFlight, Order, RowsPerRecord

PREVIEW_RECORDS: Final = 5
MAX_REJECTED: Final = 1_000
_MERGE_FROM: Final = 1_000_000  # keys counted, beside twice those that were added up
_COMMONEST: Final = 20
_KEY_COUNTS: Final = pa.schema([("key", pa.string()), ("records", pa.int64())])
_FEW_PACKS: Final = 10  # fewer say nothing of the average
_SMALL_PACK: Final = 50  # rows; of fewer, what a record costs outweighs them
_SKEWED: Final = 0.5  # of all records under one key
_SHOWN_COLUMNS: Final = 3
_SHOWN_KEYS: Final = 5
_SHOWN_BYTES: Final = 200
_SHOWN_RECORDS: Final = 3
_SHOWN_REJECTED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRecord:
    """A record as it will be on the stream.

    Attributes
    ----------
    rows : int
        Rows in it.
    data : bytes
        Its payload, before Base64.
    partition_key : str or None
        None: not given.
    shard : int or None
        None: not given.
    client_info : bytes or None
        None: not given; an ``exactly_once`` run puts its tags there.
    """

    rows: int
    data: bytes
    partition_key: str | None
    shard: int | None
    client_info: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCounts:
    """How records spread over destinations.

    Attributes
    ----------
    keys : int
        Different partition keys.
    largest : dict of str to int
        Records of the most frequent keys, largest first.
    shards : dict of int to int
        Records by the shard that was asked for.
    free : int
        Records with neither key nor shard: the platform spreads them.
    """

    keys: int
    largest: Mapping[str, int]
    shards: Mapping[int, int]
    free: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordsPlan:
    """What an upload would send.

    Attributes
    ----------
    stream : str
        Where the records would go.
    rows, records : int
        Rows read, and records made of those that can be sent.
    requests : int
        Requests: exact, or, where ``requests_vary``, as many as a platform gets that
        answers at once.
    requests_vary : bool
        Whether the number of requests depends on when answers come: rows of several
        destinations wait for each other, or ``max_in_flight_bytes`` is tight.
    body_bytes : int
        Bytes of all bodies in that many requests; one request more or less adds or
        saves 13.
    data_bytes : int
        Bytes of all payloads, before Base64.
    sizes : dict of str to int
        Bytes of a payload: ``min``, ``median``, ``p95``, ``max``. Empty: no records.
    rejected_rows : int
        Rows that would be rejected before anything is sent.
    rejected : DataFrame
        The first 1,000 of them by row number: ``label`` (index), ``error_message`` and
        ``error_detail``, which names the column.
    rejected_by_reason : dict of str to int
        All of them by ``error_message``.
    keys : KeyCounts
        Destinations.
    preview : tuple of PlannedRecord
        The first records.
    advice : tuple of str
        What to know or mend before the upload.
    """

    stream: str
    rows: int
    records: int
    requests: int
    requests_vary: bool
    body_bytes: int
    data_bytes: int
    sizes: Mapping[str, int]
    rejected_rows: int
    rejected: pd.DataFrame
    rejected_by_reason: Mapping[str, int]
    keys: KeyCounts
    preview: tuple[PlannedRecord, ...]
    advice: tuple[str, ...]

    @property
    def requests_text(self) -> str:
        """The number of requests, with a word on whether it is exact."""
        return f"{'about ' if self.requests_vary else ''}{self.requests:,}"

    def facts(self) -> list[tuple[str, str]]:
        """Say the numbers in words, one line each."""
        facts = [
            ("Stream", self.stream),
            ("Rows", f"{self.rows:,}"),
            ("Records", f"{self.records:,}"),
            ("Requests", self.requests_text),
            ("Bytes on the wire", f"{self.body_bytes:,}"),
        ]
        if self.sizes:
            sizes = ", ".join(f"{name} {size:,}" for name, size in self.sizes.items())
            facts.append(("Bytes of a record", sizes))
        facts.append(("Destinations", self._destinations()))
        facts.append(("Rejected rows", f"{self.rejected_rows:,}"))
        return facts

    def _destinations(self) -> str:
        keys = self.keys
        parts = [f"partition keys {keys.keys:,}"] if keys.keys else []
        parts += [f"shards asked for {len(keys.shards):,}"] if keys.shards else []
        if keys.free or not parts:
            parts.append(f"records without either {keys.free:,}")
        return ", ".join(parts)

    def __repr__(self) -> str:
        lines = [f"{name + ':':<19}{said}" for name, said in self.facts()]
        if self.keys.largest:
            lines += ["", "Records of the most frequent keys"]
            shown = list(self.keys.largest.items())[:_SHOWN_KEYS]
            lines += [f"  {count:>12,} {key!r}" for key, count in shown]
        if self.rejected_rows:
            lines += ["", "Would be rejected"]
            lines += [f"  {n:>12,} {name}" for name, n in self.rejected_by_reason.items()]
            details = self.rejected.head(_SHOWN_REJECTED)["error_detail"].items()
            lines += [f"  row {row}: {detail}" for row, detail in details]
        lines += ["", *(line.replace("`", "") for line in self.advice)] if self.advice else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return draw_plan(self)


# -- making a plan -------------------------------------------------------------------------


@public
def plan_records(  # noqa: PLR0913  # the options of put_records
    data: Any,
    stream: str,
    *,
    columns: Sequence[Any] | None = None,
    index: bool = False,
    format: Format = "json",  # noqa: A002  # the contract's name
    rows_per_record: RowsPerRecord = 1,
    partition_key: Any = None,
    shard: Any = None,
    client_info: Any = None,
    delivery: DeliveryMode = "at_least_once",
    order: Order = "key",
    max_in_flight: MaxInFlight = 8,
    max_in_flight_bytes: int = 64 << 20,
    encoding: Encoding | None = None,
    client: Client | None = None,
) -> RecordsPlan:
    """Return what ``put_records`` would send, without sending anything.

    It reads and encodes every row as an upload does, so it takes about as long as an
    upload to a platform that answers at once. A reader or iterator is used up by it.

    Parameters
    ----------
    data, stream
        As in ``put_records``; the stream need not exist.
    columns, index, format, rows_per_record, partition_key, shard, client_info
        As in ``put_records``.
    delivery, order, max_in_flight, max_in_flight_bytes, encoding
        As in ``put_records``.
    client : Client, optional
        Its limits are used; it is not connected. None: the platform's usual limits.

    Returns
    -------
    RecordsPlan
        Counts, sizes, rejected rows, the first records, and advice.

    Raises
    ------
    ConfigError, DataError
        An option or a column is wrong, as in ``put_records``.

    Examples
    --------
    >>> df = pd.DataFrame({"sensor": ["attic", "cellar"], "celsius": [31.5, 12.0]})
    >>> plan = plan_records(df, "projects/house/readings", partition_key="sensor")
    >>> plan.records, plan.requests, plan.preview[0].data
    (2, 1, b'{"sensor":"attic","celsius":31.5}')
    """
    given = dict(locals())
    limits = Limits() if client is None else pick_client(client).limits
    return plan_source(
        data,
        stream,
        row_options=take_options(RowOptions, given),
        delivery_options=take_options(DeliveryOptions, {**given, "limits": limits}),
    )


def plan_source(
    data: Any, stream: str, *, row_options: RowOptions, delivery_options: DeliveryOptions
) -> RecordsPlan:
    """Return what an upload would send, by reading all rows once."""
    place = parse_stream_path(stream)
    row_plan = plan_data(data, row_options, delivery_options)
    survey = _Survey(row_plan, delivery_options)
    keys, records, by_reason = survey.keys.close(), len(survey.sizes), survey.by_reason
    num_rejected = by_reason.total()
    return RecordsPlan(
        stream=str(place),
        rows=survey.num_rows,
        records=records,
        requests=survey.num_requests,
        requests_vary=survey.requests_vary,
        body_bytes=survey.body_bytes,
        data_bytes=int(survey.sizes.sum(dtype=np.int64)),
        sizes=_describe_sizes(survey.sizes),
        rejected_rows=num_rejected,
        rejected=survey.rejected_rows(row_plan.index),
        rejected_by_reason=dict(by_reason.most_common()),
        keys=keys,
        preview=tuple(survey.preview),
        advice=(
            *_advise_on_index(data, index=row_options.index),
            *_advise_on_columns(data, row_plan.columns, row_options),
            *_advise_on_keys(keys, records, row_options),
            *_advise_on_order(survey, keys.free, delivery_options),
            *_advise_on_packs(survey, survey.num_rows - num_rejected, row_options),
        ),
    )


def _describe_sizes(sizes: NDArray[Any]) -> dict[str, int]:
    if not len(sizes):
        return {}
    found = np.quantile(sizes, [0, 0.5, 0.95, 1], method="higher")
    return dict(zip(("min", "median", "p95", "max"), map(int, found), strict=True))


class _Survey:
    """Reads all rows once, cuts bodies as an upload does, and collects what a plan says."""

    def __init__(self, row_plan: RowPlan, options: DeliveryOptions) -> None:
        self.keys = Keys()
        self.preview: list[PlannedRecord] = []
        self.num_rows = self.num_requests = self.body_bytes = 0
        self.by_reason: Counter[str] = Counter()
        self._first_rejected: list[tuple[int, str, str]] = []
        self._sizes: list[NDArray[Any]] = [np.zeros(0, np.int64)]  # of the payloads
        self.parallel: list[float] = []  # share of the requests that a window's keys can fill
        self._options = options
        self._accumulator = Accumulator(options.lanes)
        self._largest_body = self._largest_window = 0
        self._queues: set[int] = set()
        self._read(row_plan)
        self._count_requests(is_last=True)
        self.sizes = np.concatenate(self._sizes)

    def _read(self, row_plan: RowPlan) -> None:
        """Look at all records, and cut bodies from those that fit in one."""
        run_id = bytes(RUN_BYTES) if self._options.delivery == "exactly_once" else None
        for records in row_plan.records():
            encoded = encode_records(records, run_id)
            entries, rejections = encoded.entries, encoded.rejections
            self.num_rows += encoded.num_rows
            self._largest_window = max(self._largest_window, entries.nbytes)
            fits, too_large = find_too_large(entries, self._options.most_body_bytes)
            rejected = [
                *zip(rejections.rows.tolist(), rejections.names, rejections.details, strict=True),
                *(
                    (row, why.message, why.detail)
                    for large, why in too_large
                    for row in large.tolist()
                ),
            ]
            self.by_reason.update(name for _, name, _ in sorted(rejected))
            self._first_rejected += sorted(rejected)[: MAX_REJECTED - len(self._first_rejected)]
            sent = records
            if too_large:
                sent = _keep(records, fits)
                entries = entries.take(np.flatnonzero(fits))
            self._sizes.append(sent.sizes)
            self.keys.add(sent)
            self.preview += _preview(sent, PREVIEW_RECORDS - len(self.preview))
            if len(entries):
                self._add(entries)
                self._count_requests(is_last=False)

    def _add(self, entries: Entries) -> None:
        if self._options.order == "none":
            entries = replace(entries, destination=np.zeros_like(entries.destination))
        self._accumulator.add(entries)
        keys = np.unique(entries.destination)
        most = min(self._options.first_in_flight, len(entries))
        self.parallel.append(min(len(keys), most) / most)
        # Two queues are enough to compete. With one lane, only that of free records is another.
        self._queues.update((keys if self._options.lanes > 1 else keys != 0)[:2].tolist())

    def _count_requests(self, *, is_last: bool) -> None:
        """Cut the bodies that are full, and smaller ones if nothing more comes, or fits."""
        waiting, options = self._accumulator, self._options
        while batch := waiting.next_batch(
            0.0, options.limits, partial=is_last or waiting.nbytes > options.max_in_flight_bytes
        ):
            body_bytes = batch.nbytes + ENVELOPE_BYTES
            self.num_requests += 1
            self.body_bytes += body_bytes
            self._largest_body = max(self._largest_body, body_bytes)
            waiting.advance(batch)

    @property
    def requests_vary(self) -> bool:
        """Whether the number of requests depends on when answers come.

        It does where records of several queues wait for each other, and where answers
        that are late fill the memory, so that requests leave before they are full.
        """
        if self.num_requests <= 1:
            return False
        if len(self._queues) > 1:
            return True
        in_flight = self._largest_body * self._options.most_in_flight
        held = in_flight + self._largest_body + 2 * self._largest_window
        return held > self._options.max_in_flight_bytes

    def rejected_rows(self, index: pd.Index[Any] | None) -> pd.DataFrame:
        columns = ["row", "error_message", "error_detail"]
        frame = pd.DataFrame(self._first_rejected, columns=columns, dtype=object).set_index("row")
        frame.index = frame.index.astype("int64")
        labels = frame.index if index is None else index[frame.index]
        frame.insert(0, "label", pd.Series(list(labels), frame.index, dtype=object))
        return frame


class Keys:
    """Records by partition key and by shard; equal keys are added up when there are many."""

    def __init__(self, merge_from: int = _MERGE_FROM) -> None:
        self._counts = [_KEY_COUNTS.empty_table()]  # the first: what was added up
        self._merge_from = merge_from
        self._shards: Counter[int] = Counter()
        self._free = 0

    def add(self, records: Records) -> None:
        """Count some records."""
        keys, shards = records.routes.partition_key, records.routes.shard
        self._free += len(records.data)
        if keys is not None:
            counted = pc.value_counts(keys.drop_null())
            self._counts.append(pa.table(list(counted.flatten()), schema=_KEY_COUNTS))
            self._free -= len(keys) - keys.null_count
        if shards is not None:
            counted = pc.value_counts(shards.drop_null())
            self._shards.update({one["values"]: one["counts"] for one in counted.to_pylist()})
            self._free -= len(shards) - shards.null_count
        if sum(map(len, self._counts)) > 2 * len(self._counts[0]) + self._merge_from:
            self._counts = [self._merge()]

    def _merge(self) -> pa.Table:
        merged = pa.concat_tables(self._counts).group_by("key").aggregate([("records", "sum")])
        return merged.rename_columns({"records_sum": "records"}).select(["key", "records"])

    def close(self) -> KeyCounts:
        """Return the counts of all."""
        merged = self._merge()
        order = [("records", "descending"), ("key", "ascending")]
        largest = merged.sort_by(order).slice(0, _COMMONEST).to_pylist()
        return KeyCounts(
            keys=len(merged),
            largest={row["key"]: row["records"] for row in largest},
            shards=dict(sorted(self._shards.items())),
            free=self._free,
        )


def _keep(records: Records, fits: NDArray[np.bool_]) -> Records:
    """Return only the records that fit in a body; their rows are not used any more."""
    mask, counts = pa.array(fits), records.row_counts
    return replace(
        records,
        data=records.data.filter(mask),
        sizes=records.sizes[fits],
        routes=records.routes.each(lambda column: column.filter(mask)),
        row_counts=None if counts is None else counts[fits],
    )


def _preview(records: Records, count: int) -> list[PlannedRecord]:
    def cell(column: pa.Array | None, place: int) -> Any:
        return None if column is None else column[place].as_py()

    return [
        PlannedRecord(
            rows=1 if records.row_counts is None else int(records.row_counts[place]),
            data=records.data[place].as_py(),
            partition_key=cell(records.routes.partition_key, place),
            shard=cell(records.routes.shard, place),
            client_info=cell(records.routes.client_info, place),
        )
        for place in range(min(count, len(records.data)))
    ]


def _advise_on_index(data: Any, *, index: bool) -> Iterator[str]:
    """Look at an index that says something and is not sent."""
    if index:
        return
    is_frame = isinstance(data, pd.DataFrame)
    if is_frame:
        levels = [str(name) for name in data.index.names if name is not None]
    else:
        levels = _levels_in_arrow(getattr(data, "schema", None))
    what = ", ".join(map(repr, levels))
    if is_frame and not levels and len(data) and not is_integer_dtype(data.index.dtype):
        what = f"no name, {data.index.dtype}, first {str(data.index[0])!r}"
    if what:
        yield f"The index ({what}) is not sent. Send it, too, with `index=True`."


def _levels_in_arrow(schema: Any) -> list[str]:
    """Name the levels of the pandas index in Arrow data; none where it only counts rows."""
    if not isinstance(schema, pa.Schema):
        return []
    columns, levels, places = split_index(schema)
    fields = [schema.field(place) for place in places[len(columns) :]]
    unnamed = [field for field in fields if field.name.startswith("__index_level_")]
    is_numbered = len(fields) == len(unnamed) == 1 and pt.is_integer(unnamed[0].type)
    return [] if is_numbered else levels


def _advise_on_columns(data: Any, columns: Sequence[Column], options: RowOptions) -> Iterator[str]:
    """Look at float columns that JSON would show in a way that surprises."""
    if options.format != "json":
        return
    whole, infinities = {}, {}
    for name, values in _float_columns(data, {column.name for column in columns}):
        infinities[name] = int(np.isinf(values).sum())
        known = values[~np.isnan(values)]
        is_whole = np.isfinite(known).all() and np.array_equal(known, np.trunc(known))
        if is_whole and 0 < len(known) < len(values):
            whole[name] = float(known[0])
    if whole:
        shown = list(whole)[:_SHOWN_COLUMNS]
        reads = ", ".join(f"{name!r} reads {whole[name]!r}" for name in shown)
        chosen = "{" + ", ".join(f"{name!r}: 'Int64'" for name in shown) + "}"
        more = len(whole) - len(shown)
        yield (
            f"Whole numbers in float columns that have nulls are sent with a fraction: {reads}. "
            f"Spark reads that as null in an integer field. Send integers with "
            f"`df.astype({chosen})`" + (f", and {more:,} more." if more else ".")
        )
    if options.encoding.infinity == "null" and any(infinities.values()):
        counted = ", ".join(f"{count:,} in {name!r}" for name, count in infinities.items() if count)
        yield f"Infinities become null, as missing values are: {counted}."


def _advise_on_packs(survey: _Survey, rows: int, options: RowOptions) -> Iterator[str]:
    """Look at packs that hold few rows, and at Arrow that takes more bytes than JSON."""
    records, rows_per_record = len(survey.sizes), options.rows_per_record
    if records < _FEW_PACKS:
        return
    mean = rows / records
    least = _SMALL_PACK if rows_per_record == "auto" else min(_SMALL_PACK, rows_per_record / 2)
    if rows_per_record != 1 and mean < least:
        yield (
            f"Packs are small: {mean:,.1f} rows per record on average, rows_per_record is "
            f"{rows_per_record}. A pack holds rows of one key or shard, and few of them are close "
            f"together. Choose a key with fewer values, or sort by the key."
        )
    if options.format == "arrow":
        arrow, json = survey.sizes.sum() / rows, _measure_as_json(survey.preview)
        if arrow > json:
            yield (
                f"Arrow takes {arrow:,.0f} bytes a row here, JSON about {json:,.0f}: each record "
                f'repeats the schema. Send `format="json"`, or put more rows in a record by '
                f"`rows_per_record` or a key with fewer values."
            )


def _measure_as_json(records: list[PlannedRecord]) -> float:
    """Return the bytes of a row of Arrow records as JSON, on average; inf: it has no JSON."""
    table = pa.concat_tables([pa.ipc.open_stream(record.data).read_all() for record in records])
    try:
        plan = plan_rows(table, RowOptions(), limits=Limits())
    except UnsupportedType:
        return np.inf
    sizes = [records.sizes for records in plan.records()]
    return float(np.concatenate(sizes).mean()) if sum(map(len, sizes)) else np.inf


def _advise_on_keys(keys: KeyCounts, records: int, options: RowOptions) -> Iterator[str]:
    if keys.free and (options.partition_key is not None or options.shard is not None):
        yield (
            f"Records without partition key or shard (null): {keys.free:,} of {records:,}. The "
            f"platform spreads them, and they keep no order."
        )
    empty = keys.largest.get("", 0)
    if empty:
        yield (
            f"{empty:,} of {records:,} records have an empty partition key (''): one shard takes "
            f"them all. A null is no key."
        )
    key, most = next(iter(keys.largest.items()), ("", 0))
    if key and records > 1 and most > records * _SKEWED and keys.keys > 1:
        yield (
            f"{most / records:.0%} of the records have the partition key {key!r}: one shard "
            f"takes them all."
        )


def _advise_on_order(survey: _Survey, free: int, options: DeliveryOptions) -> Iterator[str]:
    """Look at whether rows wait for each other so that requests do, too."""
    most = options.first_in_flight
    if options.order == "none" or survey.num_requests <= most or free > len(survey.sizes) / 2:
        return
    at_once = np.mean(survey.parallel) * most
    if at_once < most / 2:
        yield (
            f"In this order of the rows, about {max(1, at_once):.0f} of {most} requests can be "
            f"under way at once: rows of one key or shard that are close together wait for each "
            f"other. Shuffle the keys (`df.sort_values` of a time column), choose a key with more "
            f'values, or give `order="none"`.'
        )


def _float_columns(data: Any, names: set[str]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield float columns that can be looked at without using the data up."""
    if isinstance(data, (pa.Table, pa.RecordBatch)):
        floats = [place for place, kind in enumerate(data.schema.types) if pt.is_floating(kind)]
        data = data.select(floats).to_pandas(ignore_metadata=True)
    if not isinstance(data, pd.DataFrame):
        return
    for place, name in enumerate(map(str, data.columns)):
        column = data.iloc[:, place]
        if name in names and is_float_dtype(column.dtype):
            yield name, column.to_numpy(dtype=np.float64, na_value=np.nan)


# -- a plan as a page ----------------------------------------------------------------------


def draw_plan(plan: RecordsPlan) -> str:
    """Draw the numbers, advice, the first records, and what would be rejected."""
    figures = [
        (f"{plan.rows:,}", "rows"),
        (f"{plan.records:,}", "records"),
        (plan.requests_text, "requests"),
        (f"{plan.rejected_rows:,}", _html.dot("rejected") + "rejected"),
        (_html.size(plan.body_bytes), "on the wire"),
    ]
    rejected = plan.rejected.set_index("label").assign(status="rejected", error_code=None)
    is_cut = plan.rejected_rows > len(rejected)
    first = f"by the first {len(rejected):,}, which are in .rejected" if is_cut else ""
    keys = [(repr(key), count) for key, count in plan.keys.largest.items()][:_SHOWN_KEYS]
    return _html.card(
        _html.headline(
            "What would be sent",
            _html.chip("rejected", plan.rejected_rows, "would be rejected"),
            plan.stream,
        ),
        _html.figures(figures),
        *(_html.notice(advice, color="running") for advice in plan.advice),
        _html.fold(
            f"{plural(plan.rejected_rows, 'row')} would be rejected",
            first,
            draw_reasons(group_reasons(rejected), {}),
            is_open=True,
        ),
        _html.fold("The first records", "", _draw_records(plan.preview), is_open=True),
        _html.fold(
            "The most frequent partition keys",
            f"of {plan.keys.keys:,}",
            _html.table(["Key", "Records"], keys),
            is_open=True,
        ),
        _html.fold("Details", "", _html.table(["", ""], plan.facts())),
    )


def draw_live_plan(plan: RecordsPlan, total: int, *, is_open: bool = True) -> str:
    """Draw what fits below a form; of a sample, what it makes of all ``total`` rows."""
    is_sample = total > plan.rows
    factor = total / plan.rows if is_sample and plan.rows else 1
    about = "about " if is_sample else ""
    words = (
        f"**{plural(total, 'row')}** make {about}{plural(round(plan.records * factor), 'record')}"
    )
    if not is_sample:  # how full the last request of a sample is says nothing of the others
        vary = "about " if plan.requests_vary else ""
        words += f" in {vary}{plural(plan.requests, 'request')}"
    words += f", {about}{_html.size(plan.body_bytes * factor)} on the wire"
    words += f" (by the first {plan.rows:,} rows)" if is_sample else ""
    parts = [_html.paragraph(words)]
    if plan.rejected_rows:
        whose = f" of the first {plan.rows:,}" if is_sample else ""
        rows = plural(plan.rejected_rows, "row")
        label, detail = plan.rejected.iloc[0][["label", "error_detail"]]
        first = f"**{rows}{whose} would be rejected**, the first is {label}: {detail}"
        parts.append(_html.notice(first, color="rejected"))
    parts += [_html.notice(advice, color="running") for advice in plan.advice]
    parts.append(_draw_records(plan.preview[:_SHOWN_RECORDS]))
    return _html.block(
        "plan", _html.fold("What would be sent", "", "".join(parts), is_open=is_open)
    )


def _draw_records(preview: Sequence[PlannedRecord]) -> str:
    """Draw the first records as they will be on the stream."""
    header = ["Partition key", "Shard", "Data of the first records"]
    rows = [
        [
            "" if record.partition_key is None else record.partition_key,
            "" if record.shard is None else str(record.shard),
            _html.code(_show_bytes(record.data)),
        ]
        for record in preview
    ]
    return _html.table(header, rows)


def _show_bytes(data: bytes) -> str:
    head = data[:_SHOWN_BYTES]
    try:
        shown = head.decode()
    except UnicodeDecodeError:  # bytes of another kind, or cut inside a character
        shown = repr(head)
    return shown if len(head) == len(data) else f"{shown}… ({len(data):,} bytes)"
