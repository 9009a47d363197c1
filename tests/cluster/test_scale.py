"""The page "Scale" shows what the simulation prints, and that keeps the laws of queues."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cluster.scale import Case, Figures, main, simulate
from v3io_frames_put import Limits, Retry

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "scale.md"


def test_the_page_shows_what_the_command_prints(capsys):
    main([])
    printed = capsys.readouterr().out.strip()
    shown = re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    tables = re.split(r"\n\n(?=\d\. )", printed)
    assert [block.strip() for block in shown] == [
        "\n".join(line.rstrip() for line in table.splitlines()) for table in tables
    ]


def test_the_page_names_every_figure_and_its_value():
    text = PAGE.read_text(encoding="utf-8")
    reported = dict(re.findall(r"\| `--([a-z-]+)` \| ([\d,.]+)", text))
    figures = {name.replace("_", "-"): value for name, value in vars(Figures()).items()}
    assert {name: float(value.replace(",", "")) for name, value in reported.items()} == figures


def test_what_the_library_decides_is_what_the_library_does():
    figures, retry = Figures(), Retry()
    assert figures.request_rows == Limits().max_records
    assert (figures.retry_base_ms, figures.retry_cap_ms) == (
        retry.base_seconds * 1e3,
        retry.cap_seconds * 1e3,
    )


@pytest.mark.parametrize("in_flight", [1, 16, 64])
@pytest.mark.parametrize("shards", [1, 8])
def test_requests_under_way_are_rate_times_latency(in_flight, shards):
    """Little's law, where requests are what limits."""
    figures = Figures(rows_per_second=1e8, worker_mb_per_second=1e6)
    reported = simulate(Case(1, shards, in_flight), figures)
    under_way = reported.rows_per_second / figures.request_rows * reported.request_ms / 1e3
    assert under_way == pytest.approx(in_flight, rel=0.02)


def test_a_shard_stores_no_faster_than_its_parts_take():
    reported = simulate(Case(32, 1, 64), Figures(shard_request_ms=1, shard_row_us=2))
    assert reported.bottleneck == "shards"
    assert reported.rows_per_second == pytest.approx(1_000 / 0.003, rel=0.01)


def test_one_worker_alone_is_as_fast_as_it_encodes():
    reported = simulate(Case(1, 64, 8))
    assert reported.bottleneck == "workers"
    assert reported.rows_per_second == pytest.approx(200_000, rel=0.01)


def test_nothing_is_refused_within_what_the_platform_holds_open():
    assert simulate(Case(16, 4, 128)).refused == 0
    assert simulate(Case(16, 4, 160)).refused > 0
