"""A results file that is amended after its rows were written."""

from __future__ import annotations

import pyarrow as pa

from tests.jobs.conftest import read_table
from v3io_frames_put._delivery.outcome_pages import PAGE_ROWS, SCHEMA, STATUSES
from v3io_frames_put._delivery.suspects import Copy
from v3io_frames_put.jobs._results_file import ResultsFile, Tally, amend_file
from v3io_frames_put.receipt import Receipt

RECEIPT = Receipt(
    run_id="00" * 8, stream="s", endpoint="e", delivery="exactly_once", counts={"stored": 1},
    order="key", mapping="", requests=1, retried=0, bytes=1, seconds=1.0,
)  # fmt: skip


def outcomes(status, num_rows):
    indices = pa.repeat(pa.scalar(STATUSES.index(status), pa.int8()), num_rows)
    known = {
        "status": pa.DictionaryArray.from_arrays(indices, pa.array(STATUSES)),
        "error_message": pa.repeat(pa.scalar("NoAnswer"), num_rows),
        "maybe_duplicate": pa.repeat(pa.scalar(value=False), num_rows),
    }
    columns = [known.get(field.name, pa.nulls(num_rows, field.type)) for field in SCHEMA]
    return pa.record_batch(columns, schema=SCHEMA)


def test_rows_that_came_late_are_stored_and_counted(tmp_path):
    path = tmp_path / "r.parquet"
    file, tally = ResultsFile(path, packed=False), Tally()
    for status in ("stored", "unknown"):
        batch = outcomes(status, PAGE_ROWS)
        file.write(batch)
        tally.add(batch)
    file.finish_with(RECEIPT)
    told = amend_file(
        path, RECEIPT, late=[Copy(PAGE_ROWS + 1, 3, 77)], duplicates=[Copy(5, 0, 9), Copy(5, 0, 10)]
    )
    assert tally.counts["unknown"] == PAGE_ROWS
    assert told.counts["unknown"] == PAGE_ROWS - 1
    results = read_table(path)
    late = results.loc[PAGE_ROWS + 1]
    assert (late.status, late.shard_id, late.sequence_number) == ("stored", 3, 77)
    assert results.error_message.isna().sum() == 1
    assert results.index[results.maybe_duplicate].tolist() == [5]
    assert results.attrs["v3io"]["run_id"] == "00" * 8
    assert list(results.status.cat.categories) == list(STATUSES)
