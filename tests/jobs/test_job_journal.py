"""A job that keeps a journal: killed, stopped or called again, it finishes what it began."""

from __future__ import annotations

import gzip
import logging
import os
import threading

import pandas as pd
import pytest

from tests.jobs.conftest import STREAM, write_parquet, write_text
from v3io_frames_put import ConfigError, DataError, Interrupted, Limits, jobs
from v3io_frames_put.errors import PutRecordsError
from v3io_frames_put.jobs._reader import ParquetReader
from v3io_frames_put.local import faults


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.v3io"


@pytest.fixture
def stop(publish, path, local_platform):
    """Stop a job once its first row is stored."""

    def stop(*files, **options):
        cancel = threading.Event()
        local_platform.faults = [faults.throttled(nth=2, times=None, retry_after_seconds=60)]
        with (
            local_platform.client(limits=Limits(max_records=1)) as client,
            pytest.raises(Interrupted) as stopped,
        ):
            publish(
                *files,
                client=client,
                max_in_flight=1,
                cancel=cancel,
                progress=lambda snapshot: snapshot.stored and cancel.set(),
                journal=path,
                **options,
            )
        local_platform.faults = []
        return stopped.value.results

    return stop


def test_a_stopped_job_goes_on(publish, stop, folder, path, sent, tmp_path):
    before = stop(folder)
    told = publish(folder, journal=path, results=tmp_path / "r.parquet")
    assert told.counts["stored"] == 30
    assert told.receipt["run_id"] == before.receipt["run_id"]
    assert [value["n"] for value in sent("n")] == list(range(30))
    assert (pd.read_parquet(tmp_path / "r.parquet").status == "stored").all()


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_a_run_that_stops_before_it_reads_leaves_no_stored_row(
    publish, stop, folder, path, sent, tmp_path, delivery
):
    stop(folder, delivery=delivery)
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Interrupted) as stopped:
        publish(
            folder, delivery=delivery, journal=path, cancel=cancel, failed=tmp_path / "f.parquet"
        )
    left = pd.read_parquet(tmp_path / "f.parquet")
    assert not {value["n"] for value in sent()} & {*left.n}
    counts = stopped.value.results.counts
    unknown = counts["unknown"] if delivery == "at_least_once" else 0
    assert len(left) == stopped.value.results.failed_rows == counts["unsent"] + unknown


def test_a_finished_job_is_told_of_again(publish, folder, path, sent, tmp_path):
    first = publish(folder, journal=path)
    again = publish(
        folder, journal=path, results=tmp_path / "r.parquet", failed=tmp_path / "f.parquet"
    )
    assert again.receipt["already_complete"]
    assert again.complete
    assert again.counts == first.counts
    assert again.failed_rows == 0
    assert len(pd.read_parquet(tmp_path / "r.parquet")) == 30
    assert len(sent()) == 30


@pytest.mark.filterwarnings("ignore::v3io_frames_put.UnstoredRowsWarning")
def test_rejected_rows_of_a_finished_job_are_written_again(publish, path, tmp_path):
    table = write_parquet(tmp_path / "t.parquet", n=[1.0, float("inf"), 3.0])
    told = publish(table, journal=path, on_error="return")
    assert told.counts["rejected"] == 1
    again = publish(table, journal=path, on_error="return", failed=tmp_path / "f.parquet")
    assert again.receipt["already_complete"]
    assert pd.read_parquet(tmp_path / "f.parquet")["n"].tolist() == [float("inf")]


def test_a_new_file_waits_for_the_next_run(publish, stop, folder, path, sent, caplog):
    stop(folder)
    caplog.clear()
    write_parquet(folder / "9.parquet", n=[90], room=["r0"])
    with caplog.at_level("INFO", "v3io_frames_put"):
        told = publish(folder, journal=path)
    assert told.counts["stored"] == 30
    assert "9.parquet" in caplog.text
    assert len(sent()) == 30
    # Finished: the next call, of more files, is another run, which sends again what it sent.
    assert publish(folder, journal=path).counts["stored"] == 31
    assert path.with_name("run.v3io.1").exists()
    (warned,) = [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]
    assert warned.startswith("3 files of a finished run are sent once more")


class TestOneDayOfMany:
    """The recipe of the page "Publish on a schedule": a condition and a journal for each day."""

    @pytest.fixture
    def lake(self, tmp_path):
        for day in (1, 2):
            write_parquet(tmp_path / f"lake/day={day}/0.parquet", n=[10 * day, 10 * day + 1])
        return tmp_path / "lake"

    @pytest.fixture(params=["comes", "is no number", "is torn", "changes", "goes"])
    def change_another_day(self, lake, request):
        def change():
            if request.param == "comes":
                write_parquet(lake / "day=3/0.parquet", n=[30], extra=["x"])
            elif request.param == "is no number":
                write_parquet(lake / "day=1.old/0.parquet", n=[30])
            elif request.param == "is torn":
                write_text(lake / "day=0/0.parquet", "half a fi")
            elif request.param == "changes":
                write_parquet(lake / "day=2/0.parquet", n=["other", "schema"])
            else:
                (lake / "day=2/0.parquet").unlink()

        return change

    def test_is_complete_whatever_becomes_of_the_others(
        self, publish, lake, path, sent, change_another_day
    ):
        publish(lake, where="day = '1'", journal=path)
        change_another_day()
        assert publish(lake, where="day = '1'", journal=path).receipt["already_complete"]
        assert [row["day"] for row in sent()] == ["1", "1"]

    def test_goes_on_whatever_becomes_of_the_others(
        self, publish, stop, lake, path, sent, change_another_day
    ):
        stop(lake, where="day = '1'")
        change_another_day()
        assert publish(lake, where="day = '1'", journal=path).counts["stored"] == 2
        assert [row["day"] for row in sent()] == ["1", "1"]

    def test_goes_on_where_a_later_folder_is_no_number(self, publish, stop, lake, path, sent):
        stop(lake)
        write_parquet(lake / "day=x/0.parquet", n=[30])
        assert publish(lake, journal=path).counts["stored"] == 4
        assert {row["day"] for row in sent()} == {"1", "2"}


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("rows_per_record", [1, 4])
def test_a_job_that_broke_off_goes_on_when_the_file_is_mended(
    publish, folder, local_platform, delivery, rows_per_record
):
    path = folder.with_name("run.v3io")
    options = {"journal": path, "delivery": delivery, "rows_per_record": rows_per_record}
    packed = gzip.compress(("n\n" + "".join(f"{n}\n" for n in range(40_000))).encode())
    at = folder / "1.csv.gz"
    at.write_bytes(packed[: len(packed) * 2 // 3])
    for _ in range(2):  # unchanged, it breaks off at the same row
        with pytest.raises(PutRecordsError, match="Once it can be read, the same call again"):
            publish(folder, **options)
    before = len(rows_sent(local_platform))
    assert before > 20
    at.write_bytes(packed)
    total = 40_030
    assert publish(folder, **options).counts["stored"] == total
    assert len(rows_sent(local_platform)) == len(set(rows_sent(local_platform))) == total
    assert publish(folder, **options).receipt["already_complete"]


def table_path(folder, number):
    return folder / f"{number}.parquet"


@pytest.mark.parametrize(
    ("head", "line", "error"),
    [
        ("n,extra", "{0},{0}", "belongs to an unfinished run whose .* differed"),
        ("n", "n{}", "column 'n' is string, and int64 in files before it"),
        (None, None, "1.csv.gz cannot be read: "),
    ],
)
def test_a_wrong_mend_is_refused_first(publish, folder, path, sent, head, line, error):
    def write(head, line):
        text = "\n".join([head, *(line.format(n) for n in range(40_000))])
        packed = gzip.compress(text.encode())
        (folder / "1.csv.gz").write_bytes(packed)
        return packed

    packed = write("n", "{}")
    (folder / "1.csv.gz").write_bytes(packed[: len(packed) * 2 // 3])
    with pytest.raises(PutRecordsError, match="Once it can be read, the same call again"):
        publish(folder, journal=path)
    before = len(sent())
    if head is None:
        (folder / "1.csv.gz").write_bytes(packed[:5])
    else:
        write(head, line)
    with pytest.raises((ConfigError, DataError), match=error):
        publish(folder, journal=path)
    assert len(sent()) == before
    write("n", "{}")
    assert publish(folder, journal=path).counts["stored"] == len(sent()) == 40_030


def test_a_wrong_mend_keeps_no_right_one_out(publish, folder, path, sent):
    (folder / "2.parquet").unlink()
    lines = b"n,room\n" + "".join(f"{n},r\n" for n in range(100, 40_000)).encode()
    packed = gzip.compress(lines)
    (folder / "2.csv.gz").write_bytes(packed[: len(packed) * 2 // 3])
    with pytest.raises(PutRecordsError, match="Once it can be read, the same call again"):
        publish(folder, journal=path)
    before = len(sent())
    (folder / "2.csv.gz").write_bytes(gzip.compress(lines.replace(b"\n101,", b"\n999,")))
    with pytest.raises(PutRecordsError, match="are not what they were"):
        publish(folder, journal=path)
    assert len(sent()) == before
    (folder / "2.csv.gz").write_bytes(packed)
    assert publish(folder, journal=path).counts["stored"] == 39_920
    assert len({row["n"] for row in sent()}) == len(sent()) == 39_920


def test_the_same_files_to_another_stream_are_no_second_time(
    publish, folder, path, local_platform, client, caplog
):
    publish(folder, journal=path)
    local_platform.create_stream("projects/house/others")
    told = jobs.publish(folder, "projects/house/others", client=client, journal=path)
    assert told.counts["stored"] == 30
    assert "sent once more" not in caplog.text


def test_a_finished_job_stays_so_where_a_file_cannot_be_read_again(
    publish, folder, path, sent, monkeypatch
):
    publish(folder, journal=path)
    with monkeypatch.context() as patch:
        patch.setattr(ParquetReader, "pieces", fail_to_read)
        with pytest.raises(PutRecordsError, match="cannot be read"):
            publish(folder, journal=path)
    assert publish(folder, journal=path).receipt["already_complete"]
    assert len(sent()) == 30


def fail_to_read(*_):
    raise OSError("the disk is gone")


def rows_sent(platform):
    return [row for record in platform.records(STREAM) for row in record.data.splitlines()]


@pytest.mark.parametrize("how", ["changed", "removed"])
def test_a_file_that_is_not_what_it_was_is_refused(publish, stop, folder, path, sent, how):
    stop(folder)
    if how == "changed":
        write_parquet(folder / "1.parquet", n=[1, 2], room=["x", "y"])
    else:
        (folder / "1.parquet").unlink()
    with pytest.raises(ConfigError, match=r"1\.parquet"):
        publish(folder, journal=path)
    assert [row["n"] for row in sent()] == [0]


def test_a_file_that_only_looks_the_same_is_found_out(
    publish, local_platform, tmp_path, path, sent
):
    local_platform.faults = [faults.throttled(nth=2, retry_after_seconds=60)]  # there it is stopped
    file = write_text(tmp_path / "t.csv", "n", *map(str, range(10_000, 40_000)))
    noted, cancel = file.stat(), threading.Event()
    with pytest.raises(Interrupted):
        publish(
            file,
            journal=path,
            max_in_flight=1,
            cancel=cancel,
            progress=lambda snapshot: cancel.set() if snapshot.stored else None,
        )
    local_platform.faults = []
    before = len(sent())
    assert 0 < before < 30_000
    file.write_text(file.read_text().replace("\n10001\n", "\n99999\n"))
    os.utime(file, ns=(noted.st_atime_ns, noted.st_mtime_ns))
    with pytest.raises(PutRecordsError, match=r"rows 0 to .* are not what they were"):
        publish(file, journal=path)
    assert len(sent()) == before


def test_another_condition_is_another_run(publish, folder, path, sent):
    publish(folder, journal=path, where="n < 5")
    told = publish(folder, journal=path, where="n >= 5")
    assert told.counts["stored"] == 25
    assert [value["n"] for value in sent("n")] == list(range(30))


def test_the_same_night_twice_at_once(publish, folder, path, sent):
    seen = []

    def intrude(_snapshot):
        if not seen:
            with pytest.raises(ConfigError, match="in use") as refused:
                publish(folder, journal=path)
            seen.append(refused.value)

    publish(folder, journal=path, progress=intrude)
    assert seen
    assert len(sent()) == 30


def test_packs_are_looked_up_in_files_too(publish, local_platform, folder, path, sent):
    from v3io_frames_put import Retry
    from v3io_frames_put.local import faults

    local_platform.faults = [faults.lost_answer()]
    cancel = threading.Event()
    options = {"delivery": "exactly_once", "rows_per_record": 3, "partition_key": "room"}
    patient = local_platform.client(retry=Retry(settle_seconds=60))
    with pytest.raises(Interrupted):
        publish(
            folder,
            journal=path,
            cancel=cancel,
            client=patient,
            progress=lambda _: cancel.set() if local_platform.records(STREAM) else None,
            **options,
        )
    quick = local_platform.client(retry=Retry(settle_seconds=0.01))
    told = publish(folder, journal=path, client=quick, **options)
    assert told.counts["stored"] == 30
    rows = [row for record in local_platform.records(STREAM) for row in record.data.splitlines()]
    assert len(rows) == len(set(rows)) == 30
