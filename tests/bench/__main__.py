"""Measure rows a second beside the other ways to do it: ``make bench``, ``make bench-all``.

One Markdown table on standard output, and every run in a JSON file. Exit code 1: a
figure is worse than the bound that leaves room for noise; 2: nothing could be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from tests.bench import peers
from tests.bench.sections import SECTIONS
from tests.bench.sink import OUT, NoCompilerError, build_sink
from tests.bench.table import Row, markdown_head, markdown_line, to_json


def main() -> int:
    """Measure, print, write; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every row, not the headlines alone")
    parser.add_argument("--only", metavar="TEXT", help="sections that have TEXT in their name")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved runs (default 5)")
    asked = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("V3IO_")]:
        del os.environ[name]
    try:
        build_sink()
    except NoCompilerError as error:
        print(f"bench: nothing is measured: {error}", file=sys.stderr)
        return 2
    if not peers.HAS_QUESTDB:
        print("bench: its rows are left out: QuestDB's client is not here. Type: "
              "pip install --group bench", file=sys.stderr)  # fmt: skip
    began = time.monotonic()
    rows: list[Row] = []
    print(markdown_head(), flush=True)
    for section in SECTIONS:
        is_wanted = asked.all or section.is_headline if asked.only is None else (
            asked.only in section.name
        )  # fmt: skip
        if not is_wanted:
            continue
        for row in section.measure(asked.rounds):
            rows.append(row)
            print(markdown_line(row.cells()), flush=True)
        print(f"bench: {section.name}, {time.monotonic() - began:.0f} s", file=sys.stderr)
    path = OUT / ("bench-all.json" if asked.all else "bench.json")
    path.write_text(json.dumps(to_json(rows), indent=1) + "\n")
    broken = [row for row in rows if row.is_broken]
    for row in broken:
        print(f"bench: {row.what}: {row.ratio:.3g}; expected {row.bound:g} or better",
              file=sys.stderr)  # fmt: skip
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
