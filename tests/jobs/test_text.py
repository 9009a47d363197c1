"""CSV and JSON Lines: what is wrong with one line costs that line only."""

from __future__ import annotations

import csv
import gzip
import io
from collections import deque
from datetime import date
from decimal import Decimal
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.jobs.conftest import write_text
from v3io_frames_put import DataError
from v3io_frames_put.jobs import _blocks
from v3io_frames_put.jobs._files import find_files
from v3io_frames_put.jobs._table import REASON, FileTable
from v3io_frames_put.jobs._types import read_types


def read(*paths, types=None, where=None):
    """Read files; return rows, reasons and the schema."""
    table = FileTable(find_files(paths), read_types(types), where)
    source = table.source()
    names = [*table.schema.names, REASON]
    readers = [source.open(place) for place in range(len(names))]
    rows, start = [], 0
    while count := source.available(start, 1_000_000, 1 << 30):
        columns = [reader.read(start, start + count, 1 << 30).to_pylist() for reader in readers]
        rows += [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        start += count
    reasons = [row.pop(REASON) for row in rows]
    return rows, reasons, {field.name: str(field.type) for field in table.schema}


def many(first, last):
    """Lines that take more than one block, so that the last are not looked at for types."""
    return [*(first for _ in range(_blocks.BLOCK_BYTES // 4)), *last]


class TestCsv:
    def test_a_cell_that_does_not_fit(self, tmp_path):
        file = write_text(tmp_path / "a.csv", "n,x", *many("12,1.5", ["oops,2.5", "3,", "4,9"]))
        rows, reasons, schema = read(file)
        assert schema == {"n": "int64", "x": "double"}
        assert rows[-3:] == [{"n": None, "x": 2.5}, {"n": 3, "x": None}, {"n": 4, "x": 9.0}]
        assert f"line {len(rows) - 1:,} of {file}, column 'n': 'oops' is no int64" in reasons[-3]
        assert [reason for reason in reasons if reason] == reasons[-3:-2]

    def test_a_line_of_too_few_or_too_many_cells(self, tmp_path):
        file = write_text(tmp_path / "a.csv", "n,x", "1,2", "3", "4,5,6", "7,8")
        rows, reasons, _ = read(file)
        assert [row["n"] for row in rows] == [1, None, None, 7]
        assert [reason is None for reason in reasons] == [True, False, False, True]
        assert f"line 3 of {file}: 1 cells, expected 2: ['3']" in reasons[1]

    def test_a_line_is_named_as_an_editor_counts(self, tmp_path):
        lines = [
            "",
            '1,"a',
            'b"',
            "",
            "3",
            *("6,a\r" for _ in range(_blocks.BLOCK_BYTES // 4)),
            "7",
        ]
        file = write_text(tmp_path / "a.csv", "n,x", *lines)
        reasons = [reason for reason in read(file)[1] if reason]
        assert reasons[0].startswith(f"line 6 of {file}: 1 cells")
        assert reasons[1].startswith(f"line {len(lines) + 1:,} of {file}: 1 cells")

    def test_a_long_cell_beside_a_line_that_does_not_fit(self, tmp_path):
        file = write_text(tmp_path / "a.csv", "n,x", "1", f"2,{'y' * 200_000}")
        rows, reasons, _ = read(file)
        assert [reason is None for reason in reasons] == [False, True]
        assert len(rows[1]["x"]) == 200_000

    def test_line_breaks_in_quotes(self, tmp_path):
        file = write_text(tmp_path / "a.csv", "n,x", '1,"a\nb"', '2,"say ""hi"""')
        assert [row["x"] for row in read(file)[0]] == ["a\nb", 'say "hi"']

    def test_a_stray_quote_costs_no_other_line(self, tmp_path):
        file = write_text(tmp_path / "a.csv", "n,x", '1,5" disk', *many("12,abc", ["99,z"]))
        rows, reasons, _ = read(file)
        assert rows[0]["x"] == '5" disk'
        assert rows[-1] == {"n": 99, "x": "z"}
        assert set(reasons) == {None}

    def test_text_that_is_no_utf_8(self, tmp_path):
        (tmp_path / "a.csv").write_bytes(b"n,x\n1,good\n2,b\xe4d\n3,good\n")
        rows, reasons, schema = read(tmp_path / "a.csv", types={"x": "string"})
        assert schema["x"] == "string"
        assert [row["x"] for row in rows] == ["good", None, "good"]
        assert "is no string" in reasons[1]

    def test_a_column_that_is_empty_at_first_is_text(self, tmp_path):
        file = write_text(tmp_path / "a.csv", "n,x", *many("12345,", ["1,late"]))
        rows, reasons, schema = read(file)
        assert schema["x"] == "string"
        assert (rows[0]["x"], rows[-1]["x"], set(reasons)) == (None, "late", {None})

    def test_a_header_alone_is_no_row(self, tmp_path):
        assert read(write_text(tmp_path / "a.csv", "n,x"))[0] == []

    def test_two_columns_of_one_name(self, tmp_path):
        with pytest.raises(DataError, match="two columns are named 'n'"):
            read(write_text(tmp_path / "a.csv", "n,n", "1,2"))

    def test_a_refused_row_stays_where_the_condition_cannot_tell(self, tmp_path):
        file = write_text(tmp_path / "a.csv", "n,x", *many("12,1.5", ["oops,2.5", "99,oops"]))
        rows, reasons, _ = read(file, where="n = 99")
        assert rows == [{"n": None, "x": 2.5}, {"n": 99, "x": None}]
        assert None not in reasons


class TestJsonLines:
    def test_a_line_that_does_not_fit(self, tmp_path):
        bad = ['{"n": "oops", "x": "a"}', "{broken", "[1]", '{"n": 3, "y": 1}', '{"x": "last"}']
        file = write_text(tmp_path / "a.jsonl", *many('{"n": 1, "x": "b"}', bad))
        rows, reasons, schema = read(file)
        assert schema == {"n": "int64", "x": "string"}
        assert rows[-1] == {"n": None, "x": "last"}
        assert [reason is None for reason in reasons[-6:]] == [True, *[False] * 4, True]
        first = len(rows) - 4
        assert f"line {first:,} of {file}, column 'n': 'oops' is no int64" in reasons[-5]
        assert f"line {first + 1:,} of {file}: no JSON (" in reasons[-4]
        assert f"line {first + 2:,} of {file}: no JSON object" in reasons[-3]
        assert f"line {first + 3:,} of {file}: the field 'y'" in reasons[-2]

    def test_types_make_text_of_anything(self, tmp_path):
        file = write_text(tmp_path / "a.jsonl", '{"n": 1}', '{"n": "two"}', '{"n": [3]}')
        rows, reasons, _ = read(file, types={"n": "string"})
        assert [row["n"] for row in rows] == ["1", "two", "[3]"]
        assert set(reasons) == {None}

    def test_a_line_that_does_not_fit_changes_no_digit_of_the_others(self, tmp_path):
        digits = ["12345678901234567.89", "0.10", "-0.3", str(10**25)]
        lines = [f'{{"x": {number}}}' for number in digits]
        types = {"x": "decimal128(30, 2)"}
        alone, _, _ = read(write_text(tmp_path / "a.jsonl", *lines), types=types)
        rows, reasons, _ = read(write_text(tmp_path / "b.jsonl", *lines, '{"x": []}'), types=types)
        assert [row["x"] for row in alone] == [Decimal(number) for number in digits]
        assert rows == [*alone, {"x": None}]
        assert "column 'x': [] is no decimal128(30, 2)" in reasons[-1]

    def test_text_of_numbers_is_as_the_line_has_it(self, tmp_path):
        spelt = ["12345678901234567.89", "0.10", "1e2", '{"a": [1,  2.50]}', "true", "null", '"é"']
        lines = [f'{{"x": {cell} }}' for cell in spelt]
        rows, _, _ = read(write_text(tmp_path / "a.jsonl", *lines), types={"x": "string"})
        assert [row["x"] for row in rows] == [*spelt[:5], None, "é"]

    @pytest.mark.parametrize("dtype", ["date32", "date64"])
    @pytest.mark.parametrize("odd", [[], ["5"], ['"tomorrow"']])
    def test_days_are_read_from_text(self, tmp_path, dtype, odd):
        lines = [f'{{"day": {cell}}}' for cell in ['"2026-11-22"', "null", *odd]]
        file = write_text(tmp_path / "a.jsonl", *lines)
        rows, reasons, _ = read(file, types={"day": dtype})
        assert [row["day"] for row in rows] == [date(2026, 11, 22), None] + [None] * len(odd)
        assert [bool(reason) for reason in reasons] == [False, False] + [True] * len(odd)

    @pytest.mark.parametrize("depth", [960, 1_000, 1_010])
    @pytest.mark.parametrize("inside", ["", str(10**20)])
    def test_brackets_too_deep_in_the_first_lines_stop_nothing(self, tmp_path, depth, inside):
        deep = "[" * depth + inside + "]" * depth
        file = write_text(tmp_path / "a.jsonl", '{"x": 1.5}', f'{{"x": {deep}}}', '{"x": 5}')
        rows, reasons, _ = read(file)
        assert [row["x"] for row in rows] == [1.5, None, 5.0]
        assert [bool(reason) for reason in reasons] == [False, True, False]

    def test_brackets_too_deep_cost_their_row(self, tmp_path):
        deep = "[" * 1_010 + "]" * 1_010
        file = write_text(tmp_path / "a.jsonl", '{"x": "a"}', f'{{"x": {deep}}}', '{"x": 5}')
        rows, reasons, _ = read(file, types={"x": "string"})
        assert [row["x"] for row in rows] == ["a", None, "5"]
        assert [bool(reason) for reason in reasons] == [False, True, False]
        assert "line 2" in reasons[1]

    @pytest.mark.parametrize("blank", ["", "  ", "\r"])
    def test_two_objects_in_a_line_are_no_row(self, tmp_path, blank):
        lines = ['{"n": 1}', blank, '{"n": 2}{"n": 3}', '{"n": 4}']  # as many as objects
        rows, reasons, _ = read(write_text(tmp_path / "a.jsonl", *lines))
        assert [row["n"] for row in rows] == [1, None, 4]
        assert f"line 3 of {tmp_path}/a.jsonl: no JSON" in reasons[1]

    def test_an_array_is_refused_with_advice(self, tmp_path):
        with pytest.raises(DataError, match=r"a JSON array.*jq"):
            read(write_text(tmp_path / "a.json", "[", '{"n": 1}', "]"))


@given(st.lists(st.lists(st.text(max_size=5), min_size=2, max_size=2), max_size=20), st.data())
def test_blocks_end_where_records_do(rows, data):
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows(rows)
    text = written.getvalue().encode()
    size = data.draw(st.integers(1, 30))

    class Drip(io.BytesIO):
        def read(self, _count=-1):
            return super().read(size)

    blocks = list(_blocks.read_blocks(Drip(text), delimiter=","))
    read_back = [
        line
        for block in blocks
        for line in csv.reader(io.StringIO(block.text.decode(), newline=""))
    ]
    assert b"".join(block.text for block in blocks) == text.removeprefix(b"\xef\xbb\xbf")
    line = 1
    for block in blocks:
        assert block.first_line == line
        line += block.text.count(b"\n")
    whole = csv.reader(io.StringIO(text.decode().removeprefix("\ufeff"), newline=""))
    assert read_back == list(whole)


def write_pieces(folder, text, size):
    """Write CSV, to be read in blocks of about ``size`` bytes."""
    file = folder / "raw.csv"
    file.write_bytes(text)
    return file, mock.patch.object(_blocks, "BLOCK_BYTES", size)


@given(st.text(alphabet='",\n\r ab', max_size=60), st.integers(1, 40))
def test_any_text_is_read_as_another_reader_of_csv_reads_it(tmp_path_factory, text, size):
    """Quotes anywhere, in any number; the last may never be closed."""
    file, small = write_pieces(tmp_path_factory.mktemp("raw"), f"a,b\n{text}".encode(), size)
    with small:
        rows, reasons, _ = read(file, types={"a": "string", "b": "string"})
    expected = list(csv.reader(io.StringIO(text, newline="")))
    *_, last = csv.reader(io.StringIO(f"{text}\nlast", newline=""))
    found = [
        None if reason else [row["a"], row["b"]] for row, reason in zip(rows, reasons, strict=True)
    ]
    wanted = [
        [cell or None for cell in line] if len(line) == 2 else None for line in expected if line
    ]
    if last == ["last"]:
        assert found == wanted
    else:
        assert any(reason and "never closed" in reason for reason in reasons)


@pytest.mark.parametrize("size", [10, 50, 1 << 20])
@pytest.mark.parametrize("quote", ['5" pipe', "6'2\"", '"5"" pipe"', 'a "b" c'])
def test_no_row_of_others_is_cut_by_a_quote_inside_a_cell(tmp_path, quote, size):
    lines = [f'{n},{quote if n % 7 == 0 else "x"},"one\ntwo {n}"\n' for n in range(100)]
    file, small = write_pieces(tmp_path, "".join(["n,s,t\n", *lines]).encode(), size)
    with small:
        rows, reasons, _ = read(file)
    assert [row["t"] for row in rows] == [f"one\ntwo {n}" for n in range(100)]
    assert set(reasons) == {None}


def test_quotes_that_are_never_closed_make_one_row_of_the_rest_which_is_refused(tmp_path):
    """Whether the lines behind are rows or one long cell nobody can tell: none is made up."""
    file = write_text(tmp_path / "a.csv", "n,x", "1,a", '2,"b', "3,c", "4,d")
    rows, reasons, _ = read(file)
    assert [row["n"] for row in rows] == [1, None]
    assert f"line 3 of {file}: quotes that are never closed: b'2,\"b\\n3,c" in reasons[1]
    with pytest.raises(DataError, match="quotes in its header are never closed"):
        read(write_text(tmp_path / "b.csv", '"n,x', "1,2"))


@pytest.mark.parametrize("end", ['"', ""])
def test_a_cell_that_is_too_long_to_be_held_is_not_taken_for_rows(tmp_path, monkeypatch, end):
    monkeypatch.setattr(_blocks, "_MAX_QUOTED_BYTES", 1 << 14)
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 1 << 12)
    lines = [f"{n},x" for n in range(10_000)]
    file = write_text(tmp_path / "a.csv", "n,x", *lines, '10000,"', *lines, end, *lines)
    table = FileTable(find_files(file), {})
    given = table._batches([0])
    with pytest.raises(DataError, match="begins in line 10,002 has quotes that are not closed"):
        deque(given, maxlen=0)
    assert table.starts == [0]
    assert table._rows_read == 10_000


def test_types_come_from_a_row_however_long_the_first_is(tmp_path):
    file = write_text(tmp_path / "a.csv", "n,x", '1,"' + "y\n" * _blocks.BLOCK_BYTES + '"', "2,c")
    rows, _, schema = read(file)
    assert schema == {"n": "int64", "x": "string"}
    assert [row["n"] for row in rows] == [1, 2]


def test_a_header_behind_a_block_of_empty_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 1 << 6)
    rows, reasons, _ = read(write_text(tmp_path / "a.csv", *[""] * 1_000, "n,x", "1,a", "2"))
    assert rows[0] == {"n": 1, "x": "a"}
    assert "line 1,003 of" in reasons[1]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_whatever_ends_them(tmp_path, line_end):
    (tmp_path / "a.csv").write_bytes(line_end.join(["", "n,x", "1,a", "2", "3,c", ""]).encode())
    assert "line 4 of" in read(tmp_path / "a.csv")[1][1]


@pytest.mark.parametrize("odd", [[], ["b,oops"], [f"b,{2**53 + 1}"]])
def test_a_mark_at_the_beginning_of_a_cell_is_part_of_it(tmp_path, odd):
    """As the mark at the beginning of a file, which is not."""
    file = write_text(tmp_path / "a.csv", "\ufeffs,x", "\ufeffa,1.5", *odd)
    rows, reasons, _ = read(file, types={"x": "double"})
    assert rows[0] == {"s": "\ufeffa", "x": 1.5}
    assert [bool(reason) for reason in reasons] == [False] + [True] * len(odd)


def test_quotes_between_tabs(tmp_path):
    lines = ["n\tx", '1\t"a\nb"', '2\tc, "d', "3\te"]
    for size in (8, 1 << 20):
        with mock.patch.object(_blocks, "BLOCK_BYTES", size):
            rows, reasons, _ = read(write_text(tmp_path / "a.tsv", *lines))
        assert [row["x"] for row in rows] == ["a\nb", 'c, "d', "e"]
        assert set(reasons) == {None}


@pytest.mark.parametrize("text", [b"n,x", b"n,x\r\n"])
def test_a_header_alone_whatever_ends_it(tmp_path, text):
    (tmp_path / "a.csv").write_bytes(text)
    rows, _, schema = read(tmp_path / "a.csv")
    assert (rows, list(schema)) == ([], ["n", "x"])


def test_a_ragged_line_that_is_no_utf_8_either(tmp_path, capfd):
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,x\n3,caf\xe9,5\n4,y\n")
    rows, reasons, schema = read(tmp_path / "a.csv")
    assert schema == {"a": "int64", "b": "string"}
    assert [row["a"] for row in rows] == [1, None, 4]
    assert "3 cells, expected 2" in reasons[1]
    assert capfd.readouterr().err == ""


def test_bytes_are_the_same_beside_a_line_that_does_not_fit(tmp_path):
    for more in (b"", b"3\n"):
        (tmp_path / "a.csv").write_bytes(b"n,x\n1,\xe9\n2,\n" + more)
        rows, _, _ = read(tmp_path / "a.csv", types={"x": "binary"})
        assert [row["x"] for row in rows][:2] == [b"\xe9", None]


@pytest.mark.parametrize(
    "text", ["\n\na,b\n1,2\n", 'a,"b"\n1,2', "a,b\r\n\r\n1,2\r\n", "\r\ra,b\r1,2\r"]
)
def test_the_header_is_no_row_wherever_it_stands(tmp_path, text):
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert read(tmp_path / "a.csv")[0] == [{"a": 1, "b": 2}]


def test_a_header_with_a_line_break(tmp_path):
    file = write_text(tmp_path / "a.csv", '"a\nb",c', "1,2", "3")
    rows, reasons, _ = read(file)
    assert rows[0] == {"a\nb": 1, "c": 2}
    assert reasons[1].startswith(f"line 4 of {file}: 1 cells")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_header_in_another_encoding_is_refused(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes("n,größe\n1,2\n".encode(encoding))
    with pytest.raises(DataError, match=r"a\.csv cannot be read: its header is no UTF-8"):
        read(tmp_path / "a.csv")


class TestWholeNumbersBeyond64Bits:
    """A reader that infers double would change them without a word."""

    def test_in_csv(self, tmp_path):
        long = ["12345678901234567890", "123456789012345678901234567890"]
        lines = [",".join([*long, "1.5"]), "NA,-7,2"]
        file = write_text(tmp_path / "a.csv", "id,longer,x", *lines)
        rows, _, schema = read(file)
        assert schema == {"id": "uint64", "longer": "string", "x": "double"}
        assert rows[0] == {"id": int(long[0]), "longer": long[1], "x": 1.5}
        assert rows[1] == {"id": None, "longer": "-7", "x": 2.0}

    def test_in_csv_behind_blanks(self, tmp_path):
        rows, _, schema = read(write_text(tmp_path / "a.csv", "n, id", f"1, {2**64 - 1}", "2, 5"))
        assert schema == {"n": "int64", " id": "uint64"}
        assert [row[" id"] for row in rows] == [2**64 - 1, 5]

    def test_in_json_lines(self, tmp_path):
        line = '{"id": 12345678901234567890, "x": 1.5}'
        file = write_text(tmp_path / "a.jsonl", line, '{"id": null, "x": 2}')
        rows, _, schema = read(file)
        assert schema == {"id": "uint64", "x": "double"}
        assert rows == [{"id": 12345678901234567890, "x": 1.5}, {"id": None, "x": 2.0}]


ODD = 2**53 + 1


@pytest.mark.parametrize(
    ("first", "line", "shown"),
    [
        ('{"x": 1.5}', f'{{"x": {ODD}}}', str(ODD)),
        ('{"x": 1.5}', f'{{"x": {-ODD}}}', str(-ODD)),
        ('{"x": 1.5}', f'{{"x": {2**64 + 1}}}', str(2**64 + 1)),
        ('{"x": [1.5]}', f'{{"x": [2, {ODD}]}}', f"[2, {ODD}]"),
        ('{"x": {"y": 1.5}}', f'{{"x": {{"y": {ODD}}}}}', f"{{'y': {ODD}}}"),
    ],
)
def test_a_whole_number_that_a_double_would_change_costs_its_row(tmp_path, first, line, shown):
    exact = first.replace("1.5", str(2**60))
    file = write_text(tmp_path / "a.jsonl", first, line, exact)
    rows, reasons, _ = read(file)
    assert [reason is None for reason in reasons] == [True, False, True]
    assert rows[1]["x"] is None
    assert str(float(2**60)) in str(rows[2]["x"])
    assert f"column 'x': {shown}" in reasons[1]
    assert "give the column another type by types" in reasons[1]


@pytest.mark.parametrize("line", ["3", "3,oops,1"])
@pytest.mark.parametrize(
    "number",
    [ODD, -ODD, 2**64 + 1, 10**400 + 1, f" {ODD}", f"+{ODD}", "0" * 5_000 + str(ODD)],
)
def test_in_csv_it_costs_its_row_too(tmp_path, number, line):
    """Whether its block is read at once or cell by cell."""
    file = write_text(tmp_path / "a.csv", "n,x", "1,1.5", f"2,{number}", f"3,{2**60}", line)
    rows, reasons, _ = read(file, types={"x": "double"})
    assert [reason is None for reason in reasons] == [True, False, True, False]
    assert f"line 3 of {file}, column 'x': '{number}'"[:80] in reasons[1]
    assert rows[2] == {"n": 3, "x": 2.0**60}


def test_a_number_too_long_for_the_type_that_is_wanted_is_told_as_it_is_spelt(tmp_path):
    file = write_text(tmp_path / "a.jsonl", '{"x": 7}', f'{{"x": {2**70 + 1}}}')
    rows, reasons, _ = read(file, types={"x": "int64"})
    assert [row["x"] for row in rows] == [7, None]
    assert f"column 'x': {2**70 + 1} is no int64" in reasons[1]


@pytest.mark.parametrize("odd", [[], ["oops"]])
@pytest.mark.parametrize(
    ("dtype", "fits", "too_long"),
    [
        ("decimal128(10, 2)", ["99999999.99", "5", "-0.5"], ["9999999999", "100000000"]),
        ("decimal128(38, 2)", ["9" * 36], ["9" * 38, "1" + "0" * 36]),
        ("decimal256(50, 10)", ["9" * 40], ["9" * 41, "9" * 60]),
    ],
)
def test_decimals_too_long_for_their_type_cost_their_row(tmp_path, odd, dtype, fits, too_long):
    """Arrow's readers of text store other numbers, or more digits than the type has."""
    csv_file = write_text(tmp_path / "a.csv", "x", *fits, *too_long, *odd)
    lines = [f'{{"x": {number}}}' for number in [*fits, *too_long]]
    lines += [f'{{"x": "{number}"}}' for number in odd]
    json_file = write_text(tmp_path / "a.jsonl", *lines)
    for file in (csv_file, json_file):
        rows, reasons, _ = read(file, types={"x": dtype})
        wanted = [Decimal(number) for number in fits]
        assert [row["x"] for row in rows] == wanted + [None] * len(too_long + odd)
        assert [bool(reason) for reason in reasons] == [not row["x"] for row in rows]


def test_whole_numbers_without_a_common_type_are_text_as_in_csv(tmp_path):
    numbers = ["-1", str(2**64 - 1), str(2**70)]
    file = write_text(tmp_path / "a.jsonl", *(f'{{"id": {number}}}' for number in numbers))
    rows, reasons, schema = read(file)
    assert schema == {"id": "string"}
    assert [row["id"] for row in rows] == numbers
    assert reasons == [None] * 3


@pytest.mark.parametrize("odd", ['{"user": "u', "[1]", '{"user": "x", "n": "many"}', "7"])
def test_an_odd_line_among_the_first_decides_nothing(tmp_path, odd):
    lines = [f'{{"user": "u{n}", "n": {n}}}' for n in range(50)]
    lines += [f'{{"user": "u{n}", "n": {n}, "price": 1.5}}' for n in range(50, 100)]
    lines.insert(9, odd)
    rows, reasons, schema = read(write_text(tmp_path / "a.jsonl", *lines))
    assert schema == {"user": "string", "n": "int64", "price": "double"}
    assert [place for place, reason in enumerate(reasons) if reason] == [9]
    assert rows[-1] == {"user": "u99", "n": 99, "price": 1.5}


def test_a_cell_that_is_no_utf8_does_not_make_bytes_of_a_csv_column(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b"a,b\n1,caf\xe9\n2,ok\n")
    rows, reasons, schema = read(file)
    assert schema == {"a": "int64", "b": "string"}
    assert [reason is None for reason in reasons] == [False, True]
    assert rows[1] == {"a": 2, "b": "ok"}


@pytest.mark.parametrize("name", ["A.CSV.GZ", "a.csv.gz", "a.Csv"])
def test_an_ending_in_capitals_tells_the_same(tmp_path, name):
    text = b"n\n1\n2\n"
    (tmp_path / name).write_bytes(gzip.compress(text) if "z" in name.lower() else text)
    assert [row["n"] for row in read(tmp_path / name)[0]] == [1, 2]


@pytest.mark.parametrize(
    ("name", "empty", "full"),
    [
        ("csv", ["a,b"], ["a,b", "1,x"]),
        ("csv", ["a,b", ",x"], ["a,b", "1,x"]),
        ("jsonl", ['{"a": null, "b": "x"}'], ['{"a": 1, "b": "x"}']),
    ],
)
def test_a_column_without_values_takes_the_type_that_another_file_gives_it(
    tmp_path, name, empty, full
):
    for place, files in enumerate([(empty, full), (full, empty)]):
        paths = [write_text(tmp_path / f"{place}{n}.{name}", *file) for n, file in enumerate(files)]
        rows, reasons, schema = read(*paths)
        assert schema == {"a": "int64", "b": "string"}
        assert {"a": 1, "b": "x"} in rows
        assert not any(reasons)


@pytest.mark.parametrize(("name", "lines"), [("csv", ["a,b", ",x"]), ("jsonl", ['{"a": null}'])])
def test_a_column_without_values_anywhere_is_text(tmp_path, name, lines):
    assert read(write_text(tmp_path / f"a.{name}", *lines))[2]["a"] == "string"
