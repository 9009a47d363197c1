"""Columns -> JSON text, one object a row: the native writer, the rules of types, the encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, partial
from io import SEEK_END, BytesIO
from itertools import count, groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from arro3.io import write_ndjson

from ..errors import UnsupportedType
from . import layouts
from .base64 import encode_base64
from .objects import encode_cells
from .records import CELL_BYTES, Encoder

if TYPE_CHECKING:
    from ..config import Encoding
    from .rejections import RejectionLog
    from .sources import Column, Window

_NEWLINE: Final = 10
Flaw = tuple[np.ndarray, str]  # which values, and what is wrong with them
Check = Callable[[pa.Array], Iterator[Flaw]]
_CELLS_AT_ONCE: Final = 256  # rows, at most, between two looks at how much text there is
_DAY_SECONDS: Final = 86_400
# Seconds since 1970 of 0001-01-01T00:00:00 and 10000-01-01T00:00:00, in Python's calendar.
_FIRST_SECOND: Final = -62_135_596_800
_END_SECOND: Final = 253_402_300_800
_DECIMALS: Final = {  # by bits: the type, and the most digits and scale
    bits: (getattr(pa, f"decimal{bits}"), digits)
    for bits, digits in ((32, 9), (64, 18), (128, 38), (256, 76))
    if hasattr(pa, f"decimal{bits}")
}
_INFINITY: Final = "an infinity; clean it, or choose Encoding(infinity='null' or 'string')"
_PLAIN_DIGITS: Final = 6  # after the point: with more, older Arrow may write 1.E-7 for 1E-7
_SAMPLE_ROWS: Final = 256  # looked at before all are
_FEW: Final = 4  # rows to a value from where formatting each value once pays


class RowWriter:
    """Writes rows, window after window, into the same memory, which then rarely grows."""

    def __init__(self) -> None:
        self._file = BytesIO()

    def write(self, columns: Iterable[pa.Array], names: Iterable[str]) -> pa.BinaryArray:
        """Write one object per row, without its newline."""
        batch = pa.RecordBatch.from_arrays(list(map(layouts.own_copy, columns)), names=list(names))
        try:
            self._file.truncate(self._file.seek(0, SEEK_END))  # changes nothing, but looks
        except BufferError:  # a profiler's hold on our frames is one on the last rows' memory, too
            self._file = BytesIO()
        self._file.seek(0)
        write_ndjson(batch, self._file, explicit_nulls=True)
        text = np.frombuffer(self._file.getbuffer(), np.uint8)[: self._file.tell()]
        return split_lines(text, batch.num_rows)


def split_lines(text: np.ndarray, count: int) -> pa.BinaryArray:
    """Return the lines of a text that ends each with a newline, without their newlines."""
    offsets = np.zeros(count + 1, np.int32)
    offsets[1:] = np.flatnonzero(text == _NEWLINE) + 1  # inside values they are escaped
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text)]
    return pc.binary_slice(pa.Array.from_buffers(pa.binary(), count, buffers), 0, -1)


def write_cells(array: pa.Array) -> pa.StringArray:
    """Write each value alone: a column without name and braces, ``{"":`` and ``}``."""
    return pc.binary_slice(RowWriter().write([array], [""]), 4, -1).cast(pa.string())


def format_name(name: str) -> bytes:
    """Return a member's name as JSON, with its colon."""
    return msgspec.json.encode(name) + b":"


def as_int64(array: pa.Array) -> np.ndarray:
    """Return dates, times, timestamps or durations as their integers; 0 for null."""
    physical = pa.int32() if array.type.bit_width == 32 else pa.int64()  # noqa: PLR2004
    numbers = pc.fill_null(array.view(physical), 0)
    return layouts.to_numpy(numbers).astype(np.int64, copy=False)


def find_infinities(array: pa.Array) -> Iterator[Flaw]:
    """Yield the mask of infinite floats, if any."""
    wide = array.cast(pa.float32()) if pt.is_float16(array.type) else array
    infinite = pc.is_inf(wide)
    if infinite.true_count:
        mask = layouts.to_numpy(pc.fill_null(infinite, False))  # noqa: FBT003 - Arrow's signature
        yield mask, _INFINITY


def find_invalid_years(array: pa.Array) -> Iterator[Flaw]:
    """Yield the mask of dates and timestamps outside the years 1 - 9999, if any."""
    per_day = 1 if pt.is_date32(array.type) else _DAY_SECONDS * 1_000
    scale = layouts.PER_SECOND[array.type.unit] if pt.is_timestamp(array.type) else None
    if scale == layouts.PER_SECOND["ns"]:
        return  # 64 bits of nanoseconds reach from 1677 to 2262
    first, end = (
        (second * scale if scale else second // _DAY_SECONDS * per_day)
        for second in (_FIRST_SECOND, _END_SECOND)
    )
    yield from _find_outside(array, first, end, "a year outside 1 - 9999; correct it")


def find_invalid_times(array: pa.Array) -> Iterator[Flaw]:
    """Yield the mask of times that no day has, if any."""
    end = _DAY_SECONDS * layouts.PER_SECOND[array.type.unit]
    yield from _find_outside(array, 0, end, "a time outside one day; correct it")


def _find_outside(array: pa.Array, first: int, end: int, reason: str) -> Iterator[Flaw]:
    numbers = as_int64(array)
    if len(numbers) == 0 or (numbers.min() >= first and numbers.max() < end):
        return
    mask = (numbers < first) | (numbers >= end)
    if array.null_count:
        mask &= ~layouts.to_numpy(array.is_null())
    yield mask, reason


def find_repeated_keys(array: pa.MapArray) -> Iterator[Flaw]:
    """Yield the mask of maps that hold a key twice."""
    pairs = layouts.map_as_list(array)
    owners = layouts.list_parents(pairs)
    keys = layouts.list_values(pairs).field("key").dictionary_encode().indices
    codes = owners * np.int64(len(keys) + 1) + layouts.to_numpy(keys)
    order = np.argsort(codes, kind="stable")
    repeated = order[1:][np.diff(codes[order]) == 0]
    mask = np.zeros(len(pairs), dtype=bool)
    mask[owners[repeated]] = True
    yield mask, "a map with a key twice; merge its values"


@cache
def _half_float_values() -> np.ndarray:
    """Return, for each 16-bit pattern, the double with the same shortest digits."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    return halves.astype(str).astype(np.float64)


def widen_half_floats(array: pa.Array) -> pa.DoubleArray:
    """Widen 16-bit floats so that the digits written are the shortest of 16 bits."""
    patterns = layouts.to_numpy(pc.fill_null(array.view(pa.uint16()), 0))
    return pa.array(_half_float_values()[patterns], mask=layouts.to_numpy(array.is_null()))


def format_repeated_timestamps(array: pa.TimestampArray) -> pa.Array:
    """Give timestamps the zone UTC, which the writer formats as ``Z``.

    Where few values repeat, each is formatted once: that takes a quarter of the time.
    """
    if array.type.tz is not None:
        array = array.cast(pa.timestamp(array.type.unit, "UTC"))
    sample = array[:_SAMPLE_ROWS]
    if len(sample) < _SAMPLE_ROWS or pc.count_distinct(sample).as_py() * _FEW >= len(sample):
        return array
    encoded = array.dictionary_encode()
    if len(encoded.dictionary) * _FEW > len(array):
        return array
    texts = pc.binary_slice(write_cells(encoded.dictionary).cast(pa.binary()), 1, -1)
    return texts.cast(pa.string()).take(encoded.indices)


def format_decimals(array: pa.Array) -> pa.StringArray:
    """Format decimals exactly; beyond a width's scales Arrow writes an error in their place."""
    dtype = array.type
    make, most_digits = _DECIMALS[dtype.bit_width]
    if abs(dtype.scale) <= most_digits:
        texts = array.cast(pa.string())
        return (
            texts if 0 <= dtype.scale <= _PLAIN_DIGITS else pc.replace_substring(texts, ".E", "E")
        )
    digits = array.view(make(dtype.precision, 0)).cast(pa.string()).to_pylist()
    texts = [None if d is None else str(Decimal(f"{d}E{-dtype.scale}")) for d in digits]
    return pa.array(texts, pa.string())


def format_durations(array: pa.DurationArray) -> pa.StringArray:
    """Format durations as ISO 8601 seconds, with no more digits than the value needs."""
    scale = layouts.PER_SECOND[array.type.unit]
    ticks = as_int64(array)
    # -2**63 has no positive 64-bit twin; unsigned arithmetic has room for it.
    size = np.where(ticks < 0, np.uint64(0) - ticks.view(np.uint64), ticks.view(np.uint64))
    whole, rest = np.divmod(size, np.uint64(scale))
    pieces = [
        pa.array(np.where(ticks < 0, "-PT", "PT")),
        pa.array(whole).cast(pa.string()),
        _format_fraction(rest, digits=len(str(scale)) - 1),
        "S",
        "",
    ]
    texts = pc.binary_join_element_wise(*pieces)
    return pc.if_else(array.is_null(), None, texts) if array.null_count else texts


def _format_fraction(rest: np.ndarray, digits: int) -> pa.StringArray:
    """Format ticks below a second: ``.5``, or nothing for none."""
    if not digits:
        return pa.array(np.full(len(rest), ""))
    padded = pc.utf8_lpad(pa.array(rest).cast(pa.string()), digits, "0")
    return pc.utf8_rtrim(pc.binary_join_element_wise(".", padded, ""), "0.")


# In order: the first match counts.
_Conversions: TypeAlias = Mapping[Callable[[pa.DataType], bool], Callable[[pa.Array], pa.Array]]
_CONVERSIONS: Final[_Conversions] = {
    pt.is_float16: widen_half_floats,
    layouts.is_bytes: encode_base64,
    pt.is_decimal: format_decimals,
    pt.is_date: lambda array: array.cast(pa.date32(), safe=False),  # beyond it: rejected before
    pt.is_duration: format_durations,
    pt.is_timestamp: format_repeated_timestamps,
}
_CHECKS: Final[dict[Callable[[pa.DataType], bool], Check]] = {
    pt.is_floating: find_infinities,
    pt.is_date: find_invalid_years,
    pt.is_time: find_invalid_times,
    pt.is_timestamp: find_invalid_years,
    pt.is_map: find_repeated_keys,
}
# What the native writer writes as it is.
_WRITTEN: Final = (
    pt.is_null,
    pt.is_boolean,
    pt.is_integer,
    pt.is_floating,
    layouts.is_text,
    pt.is_time,
)


def check_writable(name: str, part: pa.DataType, whole: pa.DataType | None = None) -> None:
    """Raise UnsupportedType for a column whose type, or part of the whole one, has no JSON."""
    whole, advice = whole or part, None
    if pt.is_struct(part):
        names = [field.name for field in part]
        if len(set(names)) < len(names):
            advice = "which names a field twice. Rename one"
        elif any("\0" in name for name in names):
            advice = "which has a NUL in a field's name. Rename the field"
    elif pt.is_map(part) and not layouts.is_text(part.key_type):
        advice = "which has a map whose keys are not text. Cast them"
    elif not (
        pt.is_map(part) or layouts.is_list(part) or layouts.contains(part, *_WRITTEN, *_CONVERSIONS)
    ):
        advice = f"and {part} has no JSON form. Cast it, or leave the column out"
    if advice is not None:
        raise UnsupportedType(column=name, dtype=whole, advice=advice)
    for number in range(part.num_fields):
        check_writable(name, part.field(number).type, whole)


def convert(array: pa.Array, conversions: _Conversions = _CONVERSIONS) -> pa.Array:
    """Bring an array to what the native writer writes as the contract says."""
    if not layouts.contains(array.type, *conversions):
        return array
    below = layouts.children(array)
    if below:
        return layouts.rebuild(array, (convert(child, conversions) for child in below))
    return next(make for is_type, make in conversions.items() if is_type(array.type))(array)


def find_flaws(array: pa.Array) -> Iterator[Flaw]:
    """Yield which values have, or hold at any depth, what JSON lacks."""
    if not layouts.contains(array.type, *_CHECKS):
        return
    for is_type, check in _CHECKS.items():
        if is_type(array.type):
            yield from check(array)
    for child in layouts.children(array):
        for mask, reason in find_flaws(child):
            yield layouts.find_holders(array, mask), reason


def write_infinities(array: pa.Array) -> pa.StringArray:
    """Write each value alone, the infinities in it as strings.

    Floats become text, which begins with a mark where it is not an infinity, one that no value
    holds: ``["MARK1.5","Infinity"]``. Then the quotes around marked ones are taken away.
    """
    texts = write_cells(convert(array))
    marks = (f"float{number}:" for number in count())
    mark = next(mark for mark in marks if not pc.any(pc.match_substring(texts, mark)).as_py())
    marked = convert(array, {pt.is_floating: partial(_mark_floats, mark), **_CONVERSIONS})
    return pc.replace_substring_regex(write_cells(marked), f'"{mark}([^"]*)"', r"\1")


def _mark_floats(mark: str, array: pa.Array) -> pa.StringArray:
    wide = convert(array)
    marked = pc.binary_join_element_wise(mark, write_cells(wide), "")
    infinities = pc.if_else(pc.greater(wide, 0), "Infinity", "-Infinity")
    return pc.if_else(pc.fill_null(pc.is_inf(wide), False), infinities, marked)  # noqa: FBT003 - Arrow's signature


@dataclass(frozen=True, slots=True)
class _Member:
    """One column of a window on its way into the objects."""

    name: str
    values: pa.Array
    is_json: bool  # JSON already; else written by the native writer


class JsonEncoder(Encoder):
    """Encodes windows of the columns it was planned for, up to ``max_bytes`` of objects each."""

    def __init__(self, columns: Sequence[Column], encoding: Encoding, max_bytes: int) -> None:
        self._columns = columns
        self.row_bytes = 0
        for column in columns:
            if column.type is not None:  # Python objects show their types only cell by cell
                check_writable(column.name, column.type)
            self.row_bytes += len(column.name) + CELL_BYTES
        self._encoding = encoding
        self._max_bytes = max_bytes
        self._writer = RowWriter()

    def encode(self, window: Window, log: RejectionLog) -> pa.BinaryArray:
        """Return the text of the window's rows, or of as many as fit ``max_bytes``.

        The text of a row that ``log`` rejects has no meaning.
        """
        objects: list[Column] = []
        for column in self._columns:
            values = window.columns[column.number]
            if not isinstance(values, pa.Array):
                objects.append(column)
            elif column.type is None:  # pieces of objects may have types of their own
                check_writable(column.name, values.type)
        texts = self._encode_objects(objects, window, log) if objects else {}
        if texts:
            window = window.slice(0, len(next(iter(texts.values()))))
        members = [
            _Member(column.name, texts[column.number], is_json=True)
            if column.number in texts
            else self._prepare(column.name, window.columns[column.number], log)
            for column in self._columns
        ]
        is_native = not any(map(attrgetter("is_json"), members))
        return self._write(members) if is_native else self._splice(members)

    def _write(self, members: Sequence[_Member]) -> pa.BinaryArray:
        columns = map(attrgetter("values"), members)
        return self._writer.write(columns, map(attrgetter("name"), members))

    def _splice(self, members: Sequence[_Member]) -> pa.BinaryArray:
        """Join texts and natively written runs of columns to whole objects."""
        pieces: list[pa.BinaryArray | bytes] = []
        for is_json, run in groupby(members, attrgetter("is_json")):
            if not is_json:
                pieces += [b",", pc.binary_slice(self._write(list(run)), 1, -1)]  # without braces
                continue
            for member in run:
                pieces += [b"," + format_name(member.name), member.values.cast(pa.binary())]
        pieces[0] = b"{" + bytes(pieces[0]).removeprefix(b",")
        return pc.binary_join_element_wise(*pieces, b"}", b"")

    def _prepare(self, name: str, values: pa.Array, log: RejectionLog) -> _Member:
        """Convert one column of a window for the writer, or to text; reject its invalid cells."""
        has_strings = False
        for mask, reason in find_flaws(values):
            if reason == _INFINITY and self._encoding.infinity != "refuse":
                has_strings = self._encoding.infinity == "string"
                continue
            for row in np.flatnonzero(mask):
                log.add(row, "UnencodableValue", _describe(name, values.type, reason))
        if has_strings:
            return _Member(name, write_infinities(values), is_json=True)
        converted = convert(values)
        if "\0" in name:  # Arrow hands names to the writer as C strings, which end there
            return _Member(name, write_cells(converted), is_json=True)
        return _Member(name, converted, is_json=False)

    def _encode_objects(
        self, columns: Sequence[Column], window: Window, log: RejectionLog
    ) -> dict[int, pa.BinaryArray]:
        """Encode columns of Python objects side by side, by number.

        They end early where their texts grow too large together.
        """
        texts: dict[Column, list[bytes]] = {column: [] for column in columns}
        size, start, stop = 0, 0, 1
        while start < window.num_rows and size <= self._max_bytes:
            for column, pieces in texts.items():
                cells = window.columns[column.number][start:stop].tolist()
                pieces.append(self._encode_cells(column.name, cells, start, log))
                size += len(pieces[-1])
            start, stop = min(stop, window.num_rows), stop + min(stop, _CELLS_AT_ONCE)
        return {
            column.number: split_lines(np.frombuffer(b"".join(pieces), np.uint8), start)
            for column, pieces in texts.items()
        }

    def _encode_cells(
        self, name: str, cells: Sequence[Any], first_row: int, log: RejectionLog
    ) -> bytes:
        def reject(place: int, reason: str) -> None:
            log.add(first_row + place, "UnencodableValue", _describe(name, "object", reason))

        return encode_cells(cells, self._encoding, reject)


def _describe(name: str, dtype: object, reason: str) -> str:
    return f"column {name!r} ({dtype}) holds {reason}."
