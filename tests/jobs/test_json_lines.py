"""JSON Lines: lines as they are for JSON, columns with types for Arrow."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.internals import plan_rows
from tests.jobs.conftest import find_by, read_rows, write_text
from v3io_frames_put import ColumnNotFound, ConfigError, DataError, PartialFailure, jobs
from v3io_frames_put.jobs._files import find_files
from v3io_frames_put.jobs._reader import FileTable, ReadOptions

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=4)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)
OBJECTS = st.dictionaries(st.sampled_from(["k", "é", 'a"b', ""]), VALUES, max_size=3)
ODD = st.sampled_from(
    [
        "{}{}",
        '{"k":1',
        "1",
        "[]",
        "null",
        '{"k":NaN}',
        '{"k":01}',
        '{"a":{}}{"b":',
        "{} {}",
        "}{",
        '"x"}',
    ]
)
BLANK = st.sampled_from(["", " ", "\t", "\r"])


def write_bytes(path, content):
    path.write_bytes(content)
    return path


def encode(path, block_bytes=1 << 20, where=None, **options):
    """Encode a file as a run does: data, keys, and what is refused by its row."""
    table = FileTable(find_by([path], block_bytes), ReadOptions(where=where))
    plan = plan_rows(table.source(), **{"columns": None, **options})
    encoded = list(plan.records())
    data, keys, refused = [], [], {}
    for records in encoded:
        data += records.data.to_pylist()
        keys += (
            [] if records.routes.partition_key is None else records.routes.partition_key.to_pylist()
        )
        refused.update(
            zip(records.rejections.rows.tolist(), records.rejections.details, strict=True)
        )
    return data, keys, refused


def is_object(line):
    def refuse(constant):
        raise ValueError(constant)

    try:
        return isinstance(json.loads(line, parse_constant=refuse), dict)
    except ValueError:
        return False


class TestAsTheyAre:
    @given(
        st.lists(st.tuples(BLANK, st.builds(json.dumps, OBJECTS) | ODD, BLANK), max_size=8),
        st.integers(1, 64),
        st.booleans(),
    )
    @example([("", '{"a":{}}{"b":', ""), ("", "{}", ""), ("", "}", "")], 64, True)
    @example([("", "{}{}", ""), ("", '{"a":', ""), ("", "1}", "")], 64, False)
    def test_each_valid_line_is_a_record_byte_for_byte(
        self, tmp_path_factory, lines, size, is_ended
    ):
        text = "\n".join(["{}", *map("".join, lines)]) + "\n" * is_ended
        path = write_bytes(tmp_path_factory.mktemp("lines") / "a.jsonl", text.encode())
        data, _, refused = encode(path, size)
        given_lines = [line.strip(" \t\r") for line in text.split("\n") if line.strip(" \t\r")]
        assert data == [line.encode() for line in given_lines if is_object(line)]
        assert sorted(refused) == [n for n, line in enumerate(given_lines) if not is_object(line)]

    @given(st.lists(OBJECTS, max_size=6), st.integers(1, 64))
    def test_keys_are_the_members(self, tmp_path_factory, objects, size):
        lines = [json.dumps(one, ensure_ascii=False) for one in objects]
        path = tmp_path_factory.mktemp("lines") / "a.jsonl"
        write_bytes(path, "\n".join(lines).encode("utf-8", "replace"))
        _, keys, refused = encode(path, size, partition_key="k")
        expected, wrong = [], []
        for number, one in enumerate(objects):
            key = one.get("k")
            is_whole = isinstance(key, float) and key.is_integer() and abs(key) < 2**63
            if key is None or isinstance(key, str) or type(key) is int or is_whole:
                text = key if key is None or isinstance(key, str) else str(int(key))
                if text is not None and len(text.encode()) > 256:
                    wrong.append(number)
                else:
                    expected.append(text)
            else:
                wrong.append(number)
        assert keys == expected
        assert sorted(refused) == wrong

    def test_nothing_of_a_line_changes(self, tmp_path):
        line = '{"b" : 1.50, "a":1e2,"b":"\\u00e9", "c":12345678901234567890123}'
        data, keys, _ = encode(write_text(tmp_path / "a.jsonl", f"  {line}\t"), partition_key="c")
        assert data == [line.encode()]
        assert keys == ["12345678901234567890123"]

    def test_columns_pick_members_as_they_are_written(self, tmp_path):
        write_text(
            tmp_path / "day=7/a.jsonl", '{"a": 1.50 ,"b":[ 1 ],"a":2.50,"z":9}', '{"b":null}'
        )
        plan = plan_rows(
            FileTable(find_files(tmp_path), ReadOptions(types={"day": pa.int64()})).source(),
            columns=["b", "a", "day"],
            shard="day",
        )
        [records] = plan.records()
        assert records.data.to_pylist() == [
            b'{"b":[ 1 ],"a":2.50,"day":7}',
            b'{"b":null,"day":7}',
        ]
        assert records.routes.shard.to_pylist() == [7, 7]

    @pytest.mark.parametrize(
        ("line", "key"),
        [
            ('{"k":"x"}', "x"),
            ('{"k":7}', "7"),
            ('{"k":1.0}', "1"),
            ('{"k":null}', None),
            ("{}", None),
            ('{"k":"a","k":"b"}', "b"),
        ],
    )
    def test_keys(self, tmp_path, line, key):
        for columns in (None, ["k"]):
            options = {"columns": columns, "partition_key": "k"}
            assert encode(write_text(tmp_path / "a.jsonl", line), **options)[1] == [key]

    @pytest.mark.parametrize("value", ["true", "1.5", "[1]", '{"x":1}', "1e400", '"\\ud800"'])
    @pytest.mark.parametrize("columns", [None, ["k"]])
    def test_what_cannot_be_a_key_rejects_its_line(self, tmp_path, value, columns):
        path = write_text(tmp_path / "a.jsonl", '{"k":"x"}', f'{{"k":{value}}}', '{"k":"y"}')
        _, keys, refused = encode(path, columns=columns, partition_key="k")
        assert (keys, list(refused)) == (["x", "y"], [1])

    def test_shards_and_client_info(self, tmp_path):
        path = write_text(tmp_path / "a.jsonl", '{"s":1,"i":"x"}', '{"s":"1"}', '{"i":2}', "{}")
        table = FileTable(find_files(path), ReadOptions())
        [records] = plan_rows(table.source(), shard="s", client_info="i").records()
        assert records.routes.shard.to_pylist() == [1, None]
        assert records.routes.client_info.to_pylist() == [b"x", None]
        assert records.rejections.rows.tolist() == [1, 2]

    def test_lines_that_are_not_objects_are_rejected_by_file_and_line(self, tmp_path):
        content = b'\xef\xbb\xbf{"a":1}\n\n[1]\n{"a":"\xff"}\n{"a":2}\n' + b'{"a":' * 5_000
        data, _, refused = encode(write_bytes(tmp_path / "a.jsonl", content))
        assert data == [b'{"a":1}', b'{"a":2}']
        assert list(refused) == [1, 2, 4]
        assert f"{tmp_path}/a.jsonl, line 3: not a JSON object" in refused[1]
        assert f"{tmp_path}/a.jsonl, line 6: not a JSON object" in refused[4]

    def test_a_line_longer_than_any_record_costs_itself(self, tmp_path):
        long = '{"a":"' + "x" * 40_000_000 + '"}'
        data, _, refused = encode(write_text(tmp_path / "a.jsonl", "{}", long, '{"b":1}'))
        assert data == [b"{}", b'{"b":1}']
        assert "line 2: a line longer than" in refused[1]

    def test_packs_are_lines(self, tmp_path):
        path = write_text(tmp_path / "a.jsonl", '{"k":1}', '{"k":2}', '{"k":1}')
        assert encode(path, partition_key="k", rows_per_record=2)[0] == [
            b'{"k":1}\n{"k":1}',
            b'{"k":2}',
        ]

    def test_sparse_members_take_no_room(self, tmp_path):
        """500 lines with 500 different members: 20 kB, not 4 MB."""
        lines = [f'{{"id":{n},"scores":{{"user{n:05}":1}}}}' for n in range(500)]
        assert sum(map(len, encode(write_text(tmp_path / "a.jsonl", *lines))[0])) < 20_000

    def test_an_array_is_refused_with_advice(self, tmp_path):
        with pytest.raises(DataError, match="jq -c"):
            read_rows(write_text(tmp_path / "a.json", '[{"a":1},', '{"a":2}]'), as_lines=True)

    def test_types_do_not_apply(self, tmp_path):
        with pytest.raises(ConfigError, match="no file has a column 'a', and JSON Lines"):
            read_rows(write_text(tmp_path / "a.jsonl", "{}"), types={"a": "string"}, as_lines=True)

    def test_other_files_beside_them_are_refused(self, tmp_path):
        write_text(tmp_path / "a.jsonl", "{}")
        write_text(tmp_path / "b.csv", "a", "1")
        with pytest.raises(DataError, match="Publish them apart"):
            read_rows(tmp_path, as_lines=True)


class TestWhere:
    LINES = (
        '{"n":1,"s":"a"}',
        '{"n":2.5,"s":1}',
        '{"n":"2","b":true}',
        '{"n":null}',
        "{}",
        "oops",
        '{"n":9007199254740993}',
        '{"n":18446744073709551616}',
    )

    @pytest.mark.parametrize(
        ("where", "kept"),
        [
            ("n > 1", [1, 6, 7]),
            ("n = 1.0", [0]),
            ("n != 1", [1, 6, 7]),
            ("n = '2'", [2]),
            ("not n > 1", [0]),
            ("n = 9007199254740992", []),
            ("n = 9007199254740993", [6]),
            ("n in (1, 2.5, '2')", [0, 1, 2]),
            ("n not in (1)", [1, 6, 7]),
            ("n is null", [3, 4]),
            ("n is not null and s is null", [2, 6, 7]),
            ("b = true", [2]),
            ("s = 'a' or b = true", [0, 2]),
            ("day = '7' and s = 'a'", [0]),
            ("day = '8'", []),
        ],
    )
    def test_members_compare_by_their_type(self, tmp_path, where, kept):
        """A line that is not an object stays, to be rejected, if a member would decide."""
        path = write_text(tmp_path / "day=7/a.jsonl", *self.LINES)
        data, _, refused = encode(path.parent.parent, where=where)
        assert data == [self.LINES[n].encode() for n in kept]
        assert len(refused) == (where != "day = '8'")

    @pytest.mark.parametrize(
        ("where", "kept"), [("n < 5", [0, 2]), ("n > 5", [1]), ("n is not null", [0, 1, 2, 3])]
    )
    def test_numbers_that_no_float_holds_compare(self, tmp_path, where, kept):
        lines = ['{"n":1}', '{"n":1e400}', '{"n":-1e400}', '{"n":[1e400]}']
        data, _, refused = encode(write_text(tmp_path / "a.jsonl", *lines), where=where)
        assert data == [lines[number].encode() for number in kept]
        assert not refused

    def test_a_block_of_blank_lines_has_no_rows(self, tmp_path):
        path = write_bytes(tmp_path / "a.jsonl", b'\n\n\n\n\n\n{"n":1}\n')
        assert encode(path, block_bytes=3, where="n < 5")[0] == [b'{"n":1}']


class TestJobs:
    @pytest.mark.parametrize("lines", [[], [" ", ""]])
    def test_a_file_without_lines_has_any_member(self, publish, tmp_path, lines):
        path = write_text(tmp_path / "a.jsonl", *lines)
        assert publish(path, where="n < 5", partition_key="user").rows == 0

    @pytest.mark.parametrize(
        "option", [{"where": '`a"b` = 1'}, {"partition_key": 'a"b'}, {"columns": ["a\nb"]}]
    )
    def test_a_member_that_no_decoder_takes_is_refused(self, publish, tmp_path, option):
        path = write_text(tmp_path / "a.jsonl", '{"a\\"b":1,"a\\nb":2}')
        name = next(iter(option))
        with pytest.raises(ConfigError, match=f"{name}: the member 'a.*cannot be read"):
            publish(path, **option)

    def test_lines_reach_the_stream_as_they_are(self, publish, tmp_path, local_platform):
        lines = ['{"b":2,  "a":1.0}', '{"a":[1,"x"]}', '{"geometry":{"a":[[0.0,1]]}}']
        publish(write_text(tmp_path / "a.jsonl", *lines))
        records = local_platform.records("projects/house/readings")
        assert sorted(bytes(record.data).decode() for record in records) == sorted(lines)

    def test_failed_lines_stand_verbatim_and_are_sent_again_as_lines(
        self, publish, tmp_path, local_platform
    ):
        path = write_bytes(tmp_path / "a.jsonl", b'{"a": 1}\n{"a":\xff}\n[2]\n')
        failed = tmp_path / "f.parquet"
        with pytest.raises(PartialFailure, match="2 of 3 rows are not stored"):
            publish(path, failed=failed)
        import pyarrow.parquet as pq

        table = pq.read_table(failed)
        assert table.column("line").to_pylist() == [b'{"a":\xff}', b"[2]"]
        mended = table.set_column(
            0, table.schema.field(0), pa.array([b'{"a": 2}', b"[2]"], pa.binary())
        )
        pq.write_table(mended, failed)
        with pytest.raises(PartialFailure, match="1 of 2 rows are not stored"):
            publish(failed)
        records = local_platform.records("projects/house/readings")
        assert sorted(bytes(record.data) for record in records) == [b'{"a": 1}', b'{"a": 2}']

    def test_a_member_that_no_line_has_is_refused_first(self, publish, tmp_path, local_platform):
        for name in ("a", "b"):
            write_text(tmp_path / f"{name}.jsonl", '{"user":1}')
        with pytest.raises(ColumnNotFound, match="'usr' is not a column"):
            publish(tmp_path, partition_key="usr")
        assert not local_platform.records("projects/house/readings")

    def test_a_member_seen_late_is_told_of_and_sent(self, publish, tmp_path, caplog):
        lines = [*('{"a":"xxxxxxxxxx"}' for _ in range(70_000)), '{"late":1}']
        told = publish(write_text(tmp_path / "a.jsonl", *lines), partition_key="late")
        assert told.counts["stored"] == 70_001
        assert "no line of the first megabyte has the member 'late'" in caplog.text

    def test_plan_says_what_lines_leave_out(self, tmp_path):
        write_text(tmp_path / "day=7/a.jsonl", '{"a":1}', "oops")
        planned = jobs.plan(tmp_path, "projects/house/readings")
        assert (planned.records, planned.rejected_rows) == (1, 1)
        assert "without what their folders say: 'day'" in planned.advice[0]


class TestColumns:
    def test_types_are_those_of_the_first_values(self, tmp_path):
        path = write_text(
            tmp_path / "a.jsonl",
            '{"i":1,"f":1,"s":"x","b":true,"l":[1,2.5],"o":{"x":1},"u":18446744073709551615}',
            '{"i":2,"f":2.5,"s":null,"o":{"x":2},"big":1180591620717411303424}',
        )
        found = read_rows(path)
        assert found.types == {
            "i": "int64",
            "f": "double",
            "s": "string",
            "b": "bool",
            "l": "list<item: double>",
            "o": "struct<x: int64>",
            "u": "uint64",
            "big": "string",
        }
        assert found.rows[1]["big"] == "1180591620717411303424"
        assert (found.rows[0]["l"], found.rows[0]["o"]) == ([1.0, 2.5], {"x": 1})
        assert not found.invalid

    @pytest.mark.parametrize(
        ("line", "column"),
        [
            ('{"i":"2"}', "i"),
            ('{"i":2.5}', "i"),
            ('{"i":true}', "i"),
            ('{"f":9007199254740993}', "f"),
            ('{"f":1e400}', "f"),
            ('{"s":"\\ud800"}', "line"),
            ('{"s":1}', "s"),
            ('{"s":["x"]}', "s"),
            ('{"i":"x"}', "i"),
            ('{"i":[2]}', "i"),
            ('{"b":"true"}', "b"),
            ('{"b":1}', "b"),
            ('{"l":[1e400]}', "l"),
            ('{"l":[9007199254740993]}', "l"),
            ('{"l":["x"]}', "l"),
            ('{"o":{"x":1,"y":2}}', "o"),
            ('{"o":[]}', "o"),
            ('{"new":1}', "line"),
            ("[]", "line"),
        ],
    )
    def test_a_value_that_does_not_fit_rejects_its_row(self, tmp_path, line, column):
        first = '{"i":1,"f":1.5,"s":"x","b":true,"l":[2.5],"o":{"x":1}}'
        found = read_rows(write_text(tmp_path / "a.jsonl", *[first] * 40_000, "", line, first))
        assert [list(cells) for cells in found.invalid.values()] == [[column]]
        assert column == "line" or found.rows[40_000][column] is None
        assert found.places[40_000] == 40_002
        assert found.rows[40_001]["i"] == 1

    def test_types_name_members_that_come_late(self, tmp_path):
        lines = [*('{"a":"xxxxxxxxxx"}' for _ in range(70_000)), '{"late":"2026-11-29"}']
        found = read_rows(write_text(tmp_path / "a.jsonl", *lines), types={"late": "date32"})
        assert str(found.rows[-1]["late"]) == "2026-11-29"
        assert not found.invalid

    def test_types_read_numbers_and_text(self, tmp_path):
        path = write_text(
            tmp_path / "a.jsonl",
            '{"d":"1.10","at":"2026-11-29T10:00:00","x":1e5}',
            '{"d":2.5,"at":5,"x":-0.0}',
            '{"d":"x","x":7}',
        )
        found = read_rows(path, types={"d": "decimal128(10, 2)", "at": "timestamp[us]"})
        assert [row["d"] for row in found.rows] == [Decimal("1.10"), Decimal("2.50"), None]
        assert [row["x"] for row in found.rows] == [1e5, 0.0, 7.0]
        assert found.rows[0]["at"] == dt.datetime(2026, 11, 29, 10)
        assert found.invalid == {1: {"at": "5"}, 2: {"d": '"x"'}}

    def test_values_of_mixed_kinds_are_text(self, tmp_path):
        lines = ['{"a":1}', '{"a":"x"}', '{"a":2.50}', '{"a":{"b\\"":1}}', "{}"]
        found = read_rows(write_text(tmp_path / "a.jsonl", *lines))
        assert [row["a"] for row in found.rows] == ["1", "x", "2.50", '{"b\\"":1}', None]

    def test_whole_numbers_beside_fractions_are_exact_or_rejected(self, tmp_path):
        lines = ['{"a":1.5}', '{"a":100000000000000000}'] * 30_000 + ['{"a":9007199254740993}']
        found = read_rows(write_text(tmp_path / "a.jsonl", *lines))
        assert [row["a"] for row in found.rows[-3:]] == [1.5, 1e17, None]
        assert found.invalid == {60_000: {"a": "9007199254740993"}}
        assert "whole numbers are sent as 1.0" in found.table.notes[1]

    def test_types_make_text_of_anything(self, tmp_path):
        path = write_text(
            tmp_path / "a.jsonl", '{"a":1.50}', '{"a":"x"}', '{"a":[ 1]}', '{"a":null}'
        )
        found = read_rows(path, types={"a": "string"})
        assert [row["a"] for row in found.rows] == ["1.50", "x", "[ 1]", None]

    @given(st.lists(OBJECTS, max_size=6), st.integers(1, 64))
    def test_rows_in_are_rows_out(self, tmp_path_factory, objects, size):
        path = tmp_path_factory.mktemp("lines") / "a.jsonl"
        found_lines = [json.dumps(one) for one in objects]
        write_text(path, *found_lines)
        if not any(objects):
            return
        found = read_rows(
            path, block_bytes=max(size, len(found_lines[0]) + 1) if any(objects[:1]) else 1 << 20
        )
        assert len(found.rows) == len(objects)
        assert found.places == list(range(1, len(objects) + 1))
        for number, (row, one) in enumerate(zip(found.rows, objects, strict=True)):
            if number in found.invalid or set(found.types.values()) & {"string"}:
                continue
            for name, value in one.items():
                assert row[name] == value or isinstance(value, (dict, list))


def test_an_array_among_objects_is_rejected_alone(tmp_path):
    found = read_rows(write_text(tmp_path / "a.jsonl", "[1]", '{"a":1}'))
    assert list(found.invalid) == [0]
    assert [row["a"] for row in found.rows] == [None, 1]


@pytest.mark.filterwarnings("default::v3io_frames_put.UnstoredRowsWarning")
def test_a_late_member_that_nobody_asked_for_rejects_nothing(publish, tmp_path):
    count = 1 << 17  # a block is 1 MB
    file = write_text(tmp_path / "a.jsonl", *['{"a":1}'] * count, '{"a":2,"z":3}')
    options = {"format": "arrow", "rows_per_record": 10_000, "on_error": "return"}
    for columns, stored in ((["a"], count + 1), (None, count)):
        assert publish(file, columns=columns, **options).counts["stored"] == stored
