"""Print what the shape of the package costs: ``python -m tests.shape``.

With ``--functions``: which functions three rows enter, file by file.

Nothing is asserted: these figures are for whoever changes the layout.
"""

from __future__ import annotations

import sys

from tests.shape.source import import_cycles, measure_size
from tests.shape.traced import calls_per_request, entered_by_three_rows

SHOWN = 12


def main() -> None:
    """Print everything."""
    entered = entered_by_three_rows()
    if "--functions" in sys.argv:
        for file, functions in entered.items():
            print(f"{file}  {len(functions)}", *functions, sep="\n")
        return
    size = measure_size()
    share = size.import_lines / size.lines
    print(f"files                       {size.files:>8,}")
    print(f"lines                       {size.lines:>8,}")
    print(f"import lines                {size.import_lines:>8,}  ({share:.1%})")
    cycles = import_cycles(for_types=False)
    print(f"import cycles               {len(cycles):>8}")
    for cycle in cycles:
        print(f"    {', '.join(cycle)}")
    cycles = import_cycles(for_types=True)
    print(f"    with imports for types  {len(cycles):>8}")
    for cycle in cycles:
        print(f"    {', '.join(cycle)}")
    print("a put_records of three rows enters, of the package")
    print(f"    files                   {len(entered):>8}")
    print(f"    functions               {sum(map(len, entered.values())):>8}")
    calls, by_function = calls_per_request()
    print(f"Python calls per request    {calls:>8.0f}  (1,000 flights by key), most of them of")
    for name, count in by_function.most_common(SHOWN):
        print(f"    {count:>8.1f}  {name}")


if __name__ == "__main__":
    main()
