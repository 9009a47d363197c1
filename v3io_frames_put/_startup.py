"""Ctrl-C while the command imports ends it with 130, as later, and without a traceback.

pandas and pyarrow take most of the time of a short command. This module is imported
before them, and does nothing in any other program.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

_EXIT_INTERRUPTED: Final = 130


def leave(*_: object) -> None:
    """Exit at once: nothing was begun."""
    os._exit(_EXIT_INTERRUPTED)


def is_command() -> bool:
    """Tell whether this process is `v3io-put`, or `python -m v3io_frames_put`."""
    program = sys.argv[0] if sys.argv else ""
    if program == "-m":  # so Python calls it until the module is found
        return any(word in sys.orig_argv for word in ("v3io_frames_put", "v3io_frames_put.cli"))
    return os.path.splitext(os.path.basename(program))[0] == "v3io-put"  # noqa: PTH119, PTH122 - pathlib takes time


if is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, leave)
