"""The command `v3io-put`.

What was asked for goes to stdout; progress, questions and log go to stderr. What a
command needs beyond click is imported when it runs, so that `--help` is quick.
"""

from __future__ import annotations

from v3io_frames_put.cli._local import demo, serve
from v3io_frames_put.cli._main import main
from v3io_frames_put.cli._publish import plan, publish, retry
from v3io_frames_put.cli._streams import create, delete, describe, tail, update, verify

__all__ = ["main"]

for _command in (
    create, delete, demo, describe, plan, publish, retry, serve, tail, update, verify,
):  # fmt: skip
    main.add_command(_command)
