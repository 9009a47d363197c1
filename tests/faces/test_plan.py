"""A plan says what an upload then does, and sends nothing."""

from __future__ import annotations

import json
import pickle
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest

import v3io_frames_put
from tests.internals import plan_rows
from v3io_frames_put import ColumnNotFound, ConfigError, Encoding, Limits, plan_records
from v3io_frames_put.plan import Keys

STREAM = "projects/house/readings"


def make_readings(rows=3_500):
    rng = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "sensor": rng.choice(["attic", "cellar", "hall", None], rows),
            "celsius": rng.normal(20, 5, rows),
            "note": ["x" * (row % 40) for row in range(rows)],
        }
    )


@pytest.fixture
def client(local_platform):
    with local_platform.client() as client:
        client.create_stream(STREAM, shards=3)
        yield client


CASES = {
    "no key": {},
    "a key": {"partition_key": "sensor"},
    "a shard": {"shard": 2},
    "one request at once": {"partition_key": "sensor", "max_in_flight": 1},
    "as many requests as go": {"partition_key": "sensor", "max_in_flight": "auto"},
    "no order": {"partition_key": "sensor", "order": "none"},
    "packs": {"partition_key": "sensor", "rows_per_record": 7},
    "arrow": {"format": "arrow", "rows_per_record": "auto"},
    "raw": {"format": "raw", "columns": ["note"]},
    "some columns": {"columns": ["note"], "index": True},
    "client info": {"client_info": b"ours"},
    "tags": {"partition_key": "sensor", "delivery": "exactly_once"},
    "little memory": {"rows_per_record": 3, "max_in_flight_bytes": 100_000},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_an_upload_does_what_its_plan_says(client, options):
    data = make_readings()
    plan = plan_records(data, STREAM, **options, client=client)
    results = v3io_frames_put.put_records(data, STREAM, **options, client=client, progress=False)
    receipt = results.attrs["v3io"]
    stored = results[results["status"] == "stored"]
    assert plan.rows == len(data)
    assert plan.rows - plan.rejected_rows == len(stored)
    assert plan.records == len(stored[["shard_id", "sequence_number"]].drop_duplicates())
    assert plan.requests_vary or plan.requests == receipt["requests"]
    more = receipt["requests"] - plan.requests
    assert plan.body_bytes + 13 * more == receipt["bytes"]


def test_many_bodies_cut_by_bytes_are_counted(local_platform):
    data = make_readings(300)
    limits = Limits(max_body_bytes=3_000)
    with local_platform.client(limits=limits) as client:
        client.create_stream(STREAM)
        plan = plan_records(data, STREAM, client=client)
        receipt = v3io_frames_put.put_records(data, STREAM, client=client).attrs["v3io"]
    assert (plan.requests, plan.body_bytes) == (receipt["requests"], receipt["bytes"])


def test_what_the_number_of_requests_depends_on_is_told():
    told = {
        name: plan_records(make_readings(), STREAM, **options).requests_vary
        for name, options in CASES.items()
    }
    # Keys and the rows without one wait for each other; all else is one line, or one request.
    assert [name for name, varies in told.items() if varies] == [
        "a key", "one request at once", "as many requests as go", "tags", "little memory",
    ]  # fmt: skip


def test_a_number_of_requests_that_varies_is_shown_so():
    data = pd.DataFrame({"key": np.arange(20_000) % 100})
    assert "Requests:          about 20\n" in repr(plan_records(data, STREAM, partition_key="key"))
    free = plan_records(data, STREAM, partition_key="key", order="none")
    assert "Requests:          20\n" in repr(free)


def test_a_plan_sends_nothing(local_platform):
    with local_platform.client() as client:
        plan_records(make_readings(10), STREAM, client=client)
    assert local_platform.requests == []


def test_a_plan_needs_no_platform():
    assert plan_records(pd.DataFrame({"a": [1]}), STREAM).records == 1


def test_the_preview_is_what_a_reader_finds(client):
    data = make_readings(3)
    plan = plan_records(data, STREAM, partition_key="sensor", client=client)
    v3io_frames_put.put_records(data, STREAM, partition_key="sensor", client=client)
    found = client.read_records(STREAM)
    assert sorted(record.data for record in plan.preview) == sorted(found["data"])


def test_rejected_rows_are_those_the_upload_rejects(client):
    data = pd.DataFrame(
        {"key": ["a", "b" * 300, "c", None], "value": [1.5, 2.0, float("inf"), 4.0]},
        index=["w", "x", "y", "z"],
    )
    plan = plan_records(data, STREAM, partition_key="key", client=client)
    with pytest.warns(v3io_frames_put.UnstoredRowsWarning):
        results = v3io_frames_put.put_records(data, STREAM, partition_key="key", client=client)
    assert plan.rejected_rows == 2
    assert plan.rejected.index.tolist() == [1, 2]
    assert plan.rejected["label"].tolist() == ["x", "y"]
    rejected = results[results["status"] == "rejected"]
    assert plan.rejected["error_message"].tolist() == rejected["error_message"].tolist()
    assert plan.rejected["error_detail"].tolist() == rejected["error_detail"].tolist()
    assert plan.rejected_by_reason == {"PartitionKeyTooLong": 1, "UnencodableValue": 1}
    assert "'key'" in plan.rejected["error_detail"][1]
    assert "'value'" in plan.rejected["error_detail"][2]


def test_records_that_no_body_can_carry_are_rejected():
    data = pd.DataFrame({"text": ["short", "x" * 5_000, "short"]})
    limits = Limits(max_body_bytes=4_000)
    with v3io_frames_put.Client("http://127.0.0.1:1", limits=limits) as client:
        plan = plan_records(data, STREAM, client=client)
    assert (plan.records, plan.rejected.index.tolist()) == (2, [1])
    assert plan.sizes == {"min": 16, "median": 16, "p95": 16, "max": 16}


def test_only_the_first_thousand_rejected_rows_are_kept_and_all_are_counted():
    plan = plan_records(pd.DataFrame({"a": np.full(1_500, np.inf)}), STREAM)
    assert (plan.rejected_rows, len(plan.rejected)) == (1_500, 1_000)
    assert (plan.records, plan.requests, plan.sizes) == (0, 0, {})


def test_keys_are_counted():
    data = pd.DataFrame({"key": ["a", "a", "b", None, "a"], "shard": [None, None, None, None, 7]})
    plan = plan_records(data, STREAM, partition_key="key", shard="shard")
    assert (plan.keys.keys, plan.keys.free) == (2, 1)
    assert plan.keys.largest == {"a": 2, "b": 1}
    assert plan.keys.shards == {7: 1}


def test_counts_of_keys_do_not_depend_on_when_they_are_merged():
    data = pd.DataFrame({"key": [f"k{n % 3}" for n in range(200)]})
    rows = plan_rows(data, partition_key="key", window_bytes=100)
    keys = Keys(merge_from=4)
    for records in rows.records():
        keys.add(records)
    assert keys.close().largest == {"k0": 67, "k1": 67, "k2": 66}


def test_whole_floats_with_nulls_get_the_advice_that_mends_them():
    data = pd.DataFrame(
        {
            "dep_time": [517.0, None, 542.0],
            "flipper_mm": [None, 181.0, 186.0],
            "celsius": [1.5, None, 2.0],
            "full": [1.0, 2.0, 3.0],
            "empty": [np.nan] * 3,
        }
    )
    advice = "\n".join(plan_records(data, STREAM).advice)
    assert "'dep_time' reads 517.0, 'flipper_mm' reads 181.0." in advice
    assert "df.astype({'dep_time': 'Int64', 'flipper_mm': 'Int64'})" in advice
    mended = data.astype({"dep_time": "Int64", "flipper_mm": "Int64"})
    assert plan_records(mended, STREAM).advice == ()
    assert json.loads(plan_records(mended, STREAM).preview[0].data)["dep_time"] == 517
    assert "'dep_time'" in plan_records(pa.Table.from_pandas(data), STREAM).advice[0]


@pytest.mark.parametrize(
    ("make", "options", "told"),
    [
        (lambda df: df.pivot_table(index="date", values="n"), {}, "The index ('date') is not sent"),
        (lambda df: df.pivot_table(index="date", values="n"), {"index": True}, None),
        (lambda df: df.set_index("date").rename_axis(None), {}, "first '2026-11-01'"),
        (lambda df: df[df.n > 1], {}, None),
        (lambda df: df, {}, None),
    ],
    ids=["named", "sent", "dates", "filtered", "numbered"],
)
def test_an_index_that_is_not_sent_is_told(make, options, told):
    data = pd.DataFrame({"date": ["2026-11-01", "2026-11-02", "2026-11-03"], "n": [1, 2, 3]})
    advice = plan_records(make(data), STREAM, **options).advice
    assert len(advice) == (told is not None)
    assert told is None or told in advice[0]


ARROW = {
    "table": lambda table: table,
    "batch": lambda table: table.to_batches()[0],
    "reader": lambda table: table.to_reader(),
    "dataset": pyarrow.dataset.dataset,
}


@pytest.mark.parametrize("kind", ARROW)
@pytest.mark.parametrize(
    ("index", "reported"),
    [
        (pd.Index(["u", "v"], name="id"), ["The index ('id') is not sent."]),
        (pd.Index(["u", "v"]), ["The index ('index') is not sent."]),
        (pd.Index([5, 2]), []),
        (pd.RangeIndex(2), []),
    ],
    ids=["named", "unnamed", "numbered", "counted"],
)
def test_an_index_in_arrow_data_that_is_not_sent_is_reported(kind, index, reported):
    table = pa.Table.from_pandas(pd.DataFrame({"a": [1, 2]}, index=index))
    advice = plan_records(ARROW[kind](table), STREAM).advice
    assert [text.partition(" Send")[0] for text in advice] == reported
    assert plan_records(ARROW[kind](table), STREAM, index=True).advice == ()


def test_empty_keys_are_told():
    data = pd.DataFrame({"key": ["a", "", "b", ""]})
    (advice,) = plan_records(data, STREAM, partition_key="key").advice
    assert advice.startswith("2 of 4 records have an empty partition key")


@pytest.mark.parametrize(("keys", "is_told"), [(500, True), (5, False)])
def test_small_packs_are_told(keys, is_told):
    data = pd.DataFrame({"key": np.arange(1_000) % keys})
    advice = plan_records(data, STREAM, partition_key="key", rows_per_record=50).advice
    said = "Packs are small: 2.0 rows per record on average, rows_per_record is 50."
    assert any(line.startswith(said) for line in advice) == is_told


@pytest.mark.parametrize(
    ("options", "small", "large"),
    [
        ({"rows_per_record": "auto", "partition_key": "key"}, True, True),
        ({"rows_per_record": "auto"}, False, False),
        ({"rows_per_record": 1}, False, True),
    ],
    ids=["a key of few rows", "full packs", "a row a record"],
)
def test_arrow_that_is_larger_than_json_and_small_packs_are_told(options, small, large):
    data = pd.DataFrame({"key": np.arange(30_000) % 3_000, "n": range(30_000), "x": 1.5})
    advice = plan_records(data, STREAM, format="arrow", **options).advice
    assert any(line.startswith("Packs are small: 10.0 rows per record") for line in advice) == small
    (*_, last) = advice or ("",)
    assert ("bytes a row here, JSON about 2" in last) == large


@pytest.mark.parametrize(
    ("keys", "options", "is_told"),
    [
        (np.repeat("hot", 9_000), {}, True),
        (np.repeat("hot", 9_000), {"order": "none"}, False),
        (np.arange(9_000) % 90, {}, False),
        (np.repeat([1, 2, 3], 16_384), {"max_in_flight_bytes": 1_000_000}, True),
    ],
    ids=["one key", "no order", "many keys", "sorted by key"],
)
def test_rows_that_leave_one_lane_are_told(keys, options, is_told):
    data = pd.DataFrame({"key": keys})
    plan = plan_records(data, STREAM, partition_key="key", **options)
    assert any("can be under way at once" in line for line in plan.advice) == is_told


def test_large_rows_of_keys_of_their_own_do_not_wait():
    data = pd.DataFrame({"key": [f"k{n}" for n in range(60)], "x": "y" * 400_000})
    advice = plan_records(data, STREAM, partition_key="key").advice
    assert not any("can be under way at once" in line for line in advice)


def test_infinities_that_become_null_are_told():
    data = pd.DataFrame({"a": [1.5, np.inf, -np.inf]})
    plan = plan_records(data, STREAM, encoding=Encoding(infinity="null"))
    assert plan.rejected_rows == 0
    assert "2 in 'a'" in plan.advice[0]


def test_null_keys_and_skew_are_told():
    data = pd.DataFrame({"key": ["hot"] * 6 + ["cold", None]})
    advice = plan_records(data, STREAM, partition_key="key").advice
    assert advice[0].startswith("Records without partition key or shard (null): 1 of 8.")
    assert advice[1].startswith("75% of the records have the partition key 'hot'")


def test_what_put_records_refuses_a_plan_refuses():
    data = pd.DataFrame({"a": [1]})
    with pytest.raises(ColumnNotFound):
        plan_records(data, STREAM, partition_key="b")
    with pytest.raises(ConfigError):
        plan_records(data, "nowhere")
    with pytest.raises(ConfigError):
        plan_records(data, STREAM, delivery="twice")
    with pytest.raises(ConfigError, match="tags"):
        plan_records(data, STREAM, delivery="exactly_once", client_info=b"ours")
    with pytest.raises(ConfigError, match=r"client: expected Client\(\.\.\.\); got 'x'"):
        plan_records(data, STREAM, client="x")


def test_no_rows_make_no_requests():
    plan = plan_records(pd.DataFrame({"a": pd.Series([], dtype="int64")}), STREAM)
    assert (plan.rows, plan.records, plan.requests, plan.body_bytes) == (0, 0, 0, 0)
    assert "Rows:" in repr(plan)


def test_a_plan_is_frozen_and_pickles():
    plan = plan_records(make_readings(10), STREAM)
    with pytest.raises(AttributeError):
        plan.rows = 1
    assert pickle.loads(pickle.dumps(plan)).records == 10


def test_the_accessor_forwards():
    data = pd.DataFrame({"a": [1, 2]})
    assert data.v3io.plan_records(STREAM, columns=["a"]).rows == 2


class Tags(HTMLParser):
    """Collects the tags of a page and checks that they close."""

    VOID = ("br", "rect", "line")

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_markup_in_names_and_values_is_escaped():
    evil = "<script>alert(1)</script>"
    data = pd.DataFrame({evil: ["<img src=x onerror=alert(1)>", float("inf")], "k": [evil, "b"]})
    data.index = [evil, "<b>"]
    plan = plan_records(data.astype(object), STREAM, partition_key="k")
    html = plan._repr_html_()
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert tags.seen <= {
        "div", "table", "thead", "tbody", "tr", "th", "td", "p", "br", "b", "code", "span",
        "details", "summary",
    }  # fmt: skip
    assert "&lt;script&gt;" in html


def test_a_long_record_is_cut_in_the_page():
    html = plan_records(pd.DataFrame({"a": ["x" * 500_000]}), STREAM)._repr_html_()
    assert len(html) < 10_000
    assert re.search(r"\(500,008 bytes\)", html)


def test_a_plan_reads_well():
    data = pd.DataFrame({"sensor": ["attic", "cellar"], "celsius": [31.5, float("inf")]})
    assert repr(plan_records(data, STREAM, partition_key="sensor")) == (
        "Stream:            projects/house/readings\n"
        "Rows:              2\n"
        "Records:           1\n"
        "Requests:          1\n"
        "Bytes on the wire: 92\n"
        "Bytes of a record: min 33, median 33, p95 33, max 33\n"
        "Destinations:      partition keys 1\n"
        "Rejected rows:     1\n"
        "\n"
        "Records of the most frequent keys\n"
        "             1 'attic'\n"
        "\n"
        "Would be rejected\n"
        "             1 UnencodableValue\n"
        "  row 1: column 'celsius' (double) holds an infinity; clean it, or choose "
        "Encoding(infinity='null' or 'string')."
    )
