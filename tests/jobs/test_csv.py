"""CSV: any text is read as Python's reader reads it; what is wrong with a row costs that row."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import zipfile

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.internals import Dialect
from tests.jobs.conftest import read_rows, write_text
from v3io_frames_put import ConfigError, DataError

CELLS = st.text(st.sampled_from('ab",;\n\r 1\x00é'), max_size=6)
LINES = st.text(st.sampled_from('ab",\n\r1'), max_size=40)


def write_bytes(path, content):
    path.write_bytes(content)
    return path


def python_rows(text, width):
    """Rows as Python reads them, those of another width left out."""
    rows = csv.reader(io.StringIO(text, newline=""))
    return [[cell or None for cell in row] for row in rows if len(row) == width]


class TestLaws:
    @given(
        st.lists(st.lists(CELLS.filter(lambda t: "\0" not in t), min_size=2, max_size=2)),
        st.integers(1, 64),
        st.sampled_from(["\n", "\r\n"]),
    )
    def test_what_python_writes_is_read_whole(self, tmp_path_factory, rows, size, end):
        path = tmp_path_factory.mktemp("csv") / "a.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL)
            writer.writerows([["p", "q"], *rows])
        found = read_rows(path, all_text=True, block_bytes=size)
        assert not found.invalid
        expected = [{"p": p or None, "q": q or None} for p, q in rows]
        assert [{"p": r["p"], "q": r["q"]} for r in found.rows] == expected

    @given(LINES, st.integers(1, 64))
    @example('1,"a\n2,b\n', 64)
    @example('1,"a\n2,"b\n3,c\n', 64)
    @example('"",1\n""a,2\n', 4)
    def test_any_text_gives_no_row_that_python_does_not_read_or_names_it(
        self, tmp_path_factory, text, size
    ):
        """Valid rows are those of Python's reader, unless a row over several lines was lost."""
        path = write_bytes(tmp_path_factory.mktemp("csv") / "a.csv", b"p,q\n" + text.encode())
        found = read_rows(path, all_text=True, block_bytes=size)
        good = [[row["p"], row["q"]] for n, row in enumerate(found.rows) if n not in found.invalid]
        if not any("quotes" in detail for detail in found.details.values()):
            assert good == [row for row in python_rows(text, 2) if row != ["p", "q"]]
        assert found.places == sorted(found.places)

    @given(LINES, st.integers(1, 16), st.integers(1, 64))
    def test_blocks_change_nothing(self, tmp_path_factory, text, one, other):
        path = write_bytes(tmp_path_factory.mktemp("csv") / "a.csv", b"p,q\n" + text.encode())
        whole = read_rows(path, all_text=True)
        for size in (one, other):
            cut = read_rows(path, all_text=True, block_bytes=size)
            assert cut[:3] == whole[:3]

    @given(st.lists(st.sampled_from(["a,b", "", "a", '"x\ny",b', "a,b,c"]), max_size=12))
    def test_every_line_with_text_is_a_row_where_it_begins(self, tmp_path_factory, lines):
        path = write_text(tmp_path_factory.mktemp("csv") / "a.csv", "p,q", *lines)
        expected, number = [], 2
        for line in lines:
            expected += [number] * bool(line)
            number += 1 + line.count("\n")
        found = read_rows(path, all_text=True)
        assert found.places == expected
        assert len(found.invalid) == sum(line in ("a", "a,b,c") for line in lines)


class TestBadInput:
    @pytest.mark.parametrize("more", ["", '50000,"quoted ""x"""\n'])
    def test_an_unclosed_quote_in_row_2_of_100_000_costs_its_row(self, tmp_path, more):
        lines = ["n,text", "1,a", '2,"b', *(f"{n},c" for n in range(3, 100_001))]
        path = write_bytes(tmp_path / "a.csv", ("\n".join(lines) + "\n" + more).encode())
        found = read_rows(path)
        assert found.invalid == {1: {"line": '2,"b'}}
        assert len(found.rows) == 100_000 + bool(more)
        assert found.places == list(range(2, 100_002 + bool(more)))
        assert found.rows[99_999] == {"n": 100_000, "text": "c"}
        assert "line 3: quotes that are not closed" in found.details[1]

    @pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
    def test_a_cell_that_is_not_in_the_encoding_costs_its_row(self, tmp_path, encoding):
        odd = b"\x81" if encoding == "cp1252" else b"\xe9"
        content = "n,text\n1,é\n2,".encode(encoding) + odd + "\n3,ü\n".encode(encoding)
        found = read_rows(write_bytes(tmp_path / "a.csv", content), csv_encoding=encoding)
        assert [row["text"] for row in found.rows] == ["é", None, "ü"]
        assert found.invalid == {1: {"text": f"\\x{odd.hex()}"}}

    @pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
    def test_such_a_cell_in_a_row_of_another_width_costs_its_row(self, tmp_path, encoding):
        odd = b"\x81" if encoding == "cp1252" else b"\xe9"
        content = b"n,text\n1,a\n2,%b,5\n%b\n3,b\n" % (odd, odd)
        found = read_rows(write_bytes(tmp_path / "a.csv", content), csv_encoding=encoding)
        assert [row["n"] for row in found.rows] == [1, None, None, 3]
        assert list(found.invalid) == [1, 2]

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "shift_jis", "latin-1"])
    def test_encodings(self, tmp_path, encoding):
        text = "n,text\n1,ア\n" if encoding != "latin-1" else "n,text\n1,é\n"
        path = write_bytes(tmp_path / "a.csv", text.encode(encoding))
        assert read_rows(path, csv_encoding=encoding, block_bytes=3).rows == [
            {"n": 1, "text": text[-2]}
        ]

    def test_a_line_longer_than_a_block(self, tmp_path):
        path = write_text(tmp_path / "a.csv", "n,text", "1," + "x" * 3_000_000, "2,y")
        found = read_rows(path)
        assert [len(row["text"]) for row in found.rows] == [3_000_000, 1]
        assert found.places == [2, 3]

    def test_a_line_longer_than_any_record_costs_its_row(self, tmp_path):
        path = write_text(tmp_path / "a.csv", "n,text", "1," + "x" * 40_000_000, "2,y")
        found = read_rows(path)
        assert [list(cells) for cells in found.invalid.values()] == [["line"]]
        assert found.rows[1] == {"n": 2, "text": "y"}
        assert found.places == [2, 3]

    def test_mixed_line_ends_and_blank_lines_are_counted(self, tmp_path):
        content = b"n,m\r\n\r\n1,1\n\n2,x\r3,3\r\n\r4,y"
        found = read_rows(write_bytes(tmp_path / "a.csv", content), types={"m": "int64"})
        assert found.places == [3, 5, 6, 8]
        assert list(found.invalid) == [1, 3]

    def test_rows_over_several_lines_are_numbered_by_their_first(self, tmp_path):
        path = write_text(tmp_path / "a.csv", "n,t", '1,"a\nb\nc"', "x,d", types_line := "3,e")
        found = read_rows(path, types={"n": "int64"})
        assert found.places == [2, 5, 6]
        assert list(found.invalid) == [1]
        assert types_line in path.read_text()

    def test_rows_of_other_widths_cost_themselves(self, tmp_path):
        found = read_rows(write_text(tmp_path / "a.csv", "a,b", "1,2", "3", "4,5,6", "7,8"))
        assert found.invalid == {1: {"line": "3"}, 2: {"line": "4,5,6"}}
        assert "line 3: 1 cells; expected 2" in found.details[1]

    def test_a_file_that_ends_in_the_middle_of_a_row(self, tmp_path):
        found = read_rows(write_bytes(tmp_path / "a.csv", b"a,b\n1,2\n3"))
        assert found.invalid == {1: {"line": "3"}}

    def test_a_nul_is_text(self, tmp_path):
        path = write_bytes(tmp_path / "a.csv", b"n,t\n1,a\0b\nx,c\n")
        found = read_rows(path, types={"n": "int64"})
        assert found.rows[0] == {"n": 1, "t": "a\0b"}
        assert list(found.invalid) == [1]

    def test_a_header_twice(self, tmp_path):
        found = read_rows(write_text(tmp_path / "a.csv", "a,b", "x,y", "a,b", "z,a"))
        assert found.invalid == {1: {"line": "a,b"}}
        with pytest.raises(DataError, match="two columns are named 'a'"):
            read_rows(write_text(tmp_path / "b.csv", "a,a", "1,2"))

    @pytest.mark.parametrize("content", [b"", b"\n\n", b"a,b", b"a,b\n\n"])
    def test_files_without_rows(self, tmp_path, content):
        path = write_bytes(tmp_path / "a.csv", content)
        assert read_rows(path).rows == []
        if content.strip():
            found = read_rows(path, where="a > 5 and b = 'x' or a is null")
            assert (found.rows, found.table.num_rows) == ([], None)
            with pytest.raises(ConfigError, match="x is not a value of column 'a'"):
                read_rows(path, where="a > 'x'", types={"a": "int64"})
            path = write_text(tmp_path / "b.csv", "a,b", "7,x", "3,y")
            assert len(read_rows(tmp_path, where="a > 5").rows) == 1

    def test_many_quotes_that_are_never_closed_take_no_time(self, tmp_path):
        lines = [f'{n},5" pipe' if n % 2 else f'{n},"5 pipe' for n in range(2_000)]
        found = read_rows(write_text(tmp_path / "a.csv", "n,t", *lines))
        assert len(found.rows) == 2_000
        assert found.invalid.keys() == set(range(0, 2_000, 2))

    def test_a_quote_in_the_header_that_is_never_closed(self, tmp_path):
        with pytest.raises(DataError, match="its first row: quotes"):
            read_rows(write_text(tmp_path / "a.csv", 'a,"b', "1,2"))

    def test_a_mark_at_the_beginning_is_no_text(self, tmp_path):
        path = write_bytes(tmp_path / "a.csv", b"\xef\xbb\xbfa\n\xef\xbb\xbfx\n")
        assert read_rows(path, block_bytes=2).rows == [{"a": "\ufeffx"}]


class TestTypes:
    @pytest.mark.parametrize(
        ("cells", "dtype"),
        [
            (["1", "-2", "0"], "int64"),
            (["1", str(2**64 - 1)], "uint64"),
            (["1", "2.50", "1.2e5", "1e-5"], "double"),
            (["true", "False", ""], "bool"),
            (["00501", "10001"], "string"),
            (["12E45", "7"], "string"),
            (["0x1F"], "string"),
            (["+5"], "string"),
            ([" 5"], "string"),
            (["1.", ".5"], "string"),
            (["NA", "1"], "string"),
            (["nan"], "string"),
            ([str(2**64)], "string"),
            ([str(2**53 + 1), "1.5"], "string"),
            (["2026-11-29"], "string"),
            (["", ""], "string"),
        ],
    )
    def test_a_number_is_written_as_one(self, tmp_path, cells, dtype):
        found = read_rows(write_text(tmp_path / "a.csv", "x,y", *(f"{cell},a" for cell in cells)))
        assert found.types["x"] == dtype
        if dtype == "string":
            assert [row["x"] or "" for row in found.rows] == cells

    @pytest.mark.parametrize("odd", ["007", "0x1F", "12E45", "oops", str(2**70), "1e+400"])
    def test_a_later_cell_that_does_not_fit_rejects_its_row(self, tmp_path, odd):
        lines = [*("7,a" for _ in range(300_000)), f"{odd},b", "8,c"]
        found = read_rows(write_text(tmp_path / "a.csv", "n,t", *lines))
        assert found.invalid == {300_000: {"n": odd}}
        assert found.rows[-2:] == [{"n": None, "t": "b"}, {"n": 8, "t": "c"}]
        assert f"line 300,002: column 'n' holds {odd!r}"[:60] in found.details[300_000]

    def test_types_override(self, tmp_path):
        path = write_text(tmp_path / "a.csv", "zip,d,at", "00501,1.10,10:30:00", "x,1.234,9")
        types = {"zip": "int64", "d": "decimal128(10, 2)", "at": "time32[s]"}
        found = read_rows(path, types=types)
        assert str(list(found.rows[0].values())) == (
            "[501, Decimal('1.10'), datetime.time(10, 30)]"
        )
        assert found.invalid == {1: {"zip": "x", "d": "1.234", "at": "9"}}

    def test_a_number_that_no_double_holds_rejects_its_row(self, tmp_path):
        path = write_text(tmp_path / "a.csv", "x,y", "1e+400,a", "1.5,b", "-2,c", "inf,d")
        found = read_rows(path, types={"x": "double"})
        assert found.invalid == {0: {"x": "1e+400"}}
        assert found.rows[0] == {"x": None, "y": "a"}
        assert found.rows[3]["x"] == float("inf")

    def test_what_made_text_of_a_column_is_told(self, tmp_path):
        lines = [*(str(n) for n in range(98)), "N/A", "00501"]
        table = read_rows(write_text(tmp_path / "a.csv", "n", *lines)).table
        assert table.notes[1].endswith(
            "column 'n' is text: 2 of 100 cells are not written as numbers, the first is 'N/A'"
        )

    def test_text_that_cannot_become_a_type_is_refused_first(self, tmp_path):
        with pytest.raises(DataError, match="column 'a' is string, which cannot become list"):
            read_rows(write_text(tmp_path / "a.csv", "a", "1"), types={"a": pa_list()})


def pa_list():
    import pyarrow as pa

    return pa.list_(pa.int64())


class TestDialect:
    def test_options(self, tmp_path):
        path = write_text(tmp_path / "a.csv", "made by hand", "a;b", "1,5;'x;y'", "2.5;z")
        found = read_rows(path, delimiter=";", quote="'", decimal_point=",", skip_lines=1)
        assert found.rows[0] == {"a": "1,5", "b": "x;y"}
        found = read_rows(
            path, types={"a": "double"}, delimiter=";", quote="'", decimal_point=",", skip_lines=1
        )
        assert found.rows == [{"a": 1.5, "b": "x;y"}, {"a": None, "b": "z"}]
        assert found.invalid == {1: {"a": "2.5"}}
        assert found.places == [3, 4]

    def test_no_header_and_all_text(self, tmp_path):
        path = write_text(tmp_path / "a.csv", "1,x", "2,y")
        assert read_rows(path, header=False).rows == [{"f0": 1, "f1": "x"}, {"f0": 2, "f1": "y"}]
        assert read_rows(path, all_text=True).rows == [{"1": "2", "x": "y"}]

    def test_without_quotes_a_quote_is_text(self, tmp_path):
        found = read_rows(write_text(tmp_path / "a.csv", "a,b", '"x,y"'), quote="")
        assert found.rows == [{"a": '"x', "b": 'y"'}]

    @pytest.mark.parametrize(("mark", "shown"), [(";", "';'"), ("\t", "tab"), ("|", "'|'")])
    def test_a_header_of_one_cell_is_refused_with_the_option_that_reads_it(
        self, tmp_path, mark, shown
    ):
        path = write_text(tmp_path / "a.csv", f"id{mark}name", f"1{mark}x")
        with pytest.raises(DataError, match=r"--delimiter " + shown.replace("|", r"\|")):
            read_rows(path)
        assert read_rows(path, delimiter=mark).rows == [{"id": 1, "name": "x"}]
        assert read_rows(path, delimiter=",").types == {f"id{mark}name": "string"}

    def test_the_line_of_excel_is_told_apart(self, tmp_path):
        path = write_text(tmp_path / "a.csv", "sep=;", "a;b", "1;2")
        with pytest.raises(DataError, match=r"delimiter=';' \(--delimiter ';'\), skip_lines=1"):
            read_rows(path)
        assert read_rows(path, delimiter=";", skip_lines=1).rows == [{"a": 1, "b": 2}]

    @pytest.mark.parametrize(("encoding", "guess"), [("utf-16", "utf-16"), ("cp1252", "cp1252")])
    def test_a_header_in_another_encoding_is_refused_with_advice(self, tmp_path, encoding, guess):
        path = write_bytes(tmp_path / "a.csv", "né,b\n1,2\n".encode(encoding))
        with pytest.raises(DataError, match=f"--csv-encoding {guess}"):
            read_rows(path)
        assert read_rows(path, csv_encoding=encoding).rows == [{"né": 1, "b": 2}]

    @pytest.mark.parametrize(
        "options",
        [
            {"delimiter": ""},
            {"delimiter": ";;"},
            {"quote": "''"},
            {"csv_encoding": "utf-99"},
            {"skip_lines": -1},
            {"decimal_point": None},
        ],
    )
    def test_options_are_checked(self, options):
        with pytest.raises(ConfigError, match=next(iter(options))):
            Dialect(**options)

    def test_tabs_by_the_ending(self, tmp_path):
        assert read_rows(write_text(tmp_path / "a.tsv", "a\tb", "1,5\tx")).rows == [
            {"a": "1,5", "b": "x"}
        ]


@pytest.mark.parametrize("last", [b"", b"\n"])
@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zst", "zip"])
def test_compressed(tmp_path, ending, last):
    text, path = b"a,b\n1,x\n2,y" + last, tmp_path / f"a.csv.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inside.csv", text)
    elif ending == "zst":
        with pa.CompressedOutputStream(str(path), "zstd") as packed:
            packed.write(text)
    else:
        pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[ending]
        path.write_bytes(pack(text))
    found = read_rows(path)
    assert found.rows == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert found.table.bytes_read == found.table.num_bytes == path.stat().st_size


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_the_last_line_of_another_encoding_needs_no_newline(tmp_path, encoding):
    path = write_bytes(tmp_path / "a.csv", "a,b\n1,é".encode(encoding))
    assert read_rows(path, csv_encoding=encoding).rows == [{"a": 1, "b": "é"}]


def test_an_archive_of_two_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("a.csv", "a\n1\n")
        archive.writestr("b.csv", "a\n1\n")
    with pytest.raises(DataError, match="holds 2 files; expected one"):
        read_rows(tmp_path / "a.csv.zip")


def test_what_stands_before_a_damaged_part_is_read(tmp_path):
    lines = "".join(f"{n},{n * 7919 % 1000003}\n" for n in range(200_000))
    whole = gzip.compress(f"a,b\n{lines}".encode())
    path = write_bytes(tmp_path / "a.csv.gz", whole[: len(whole) * 2 // 3])
    with pytest.raises(DataError, match="cannot be read to its end"):
        read_rows(path)


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zip"])
@pytest.mark.parametrize("at", [0, 40])
def test_a_damaged_compressed_file_is_named(tmp_path, ending, at):
    text, path = b"a,b\n" + bytes(range(48, 58)) * 20 + b",x\n", tmp_path / f"a.csv.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inside.csv", text)
    else:
        pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[ending]
        path.write_bytes(pack(text))
    content = path.read_bytes()
    path.write_bytes(content[:at] + b"\xff" * 12 + content[at + 12 :])
    with pytest.raises(DataError, match=f"a.csv.{ending} cannot be read"):
        read_rows(path)
