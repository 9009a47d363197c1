"""The command `v3io-put`.

What was asked for goes to stdout; progress, questions and log go to stderr. What a
command needs beyond click is imported when it runs, so that `--help` is quick.
"""

from __future__ import annotations

from v3io_frames_put.cli.command import main
from v3io_frames_put.cli.demo import demo
from v3io_frames_put.cli.plan import plan
from v3io_frames_put.cli.publish import publish
from v3io_frames_put.cli.serve import serve
from v3io_frames_put.cli.streams import create, delete, describe, update
from v3io_frames_put.cli.tail import tail
from v3io_frames_put.cli.verify import verify

__all__ = ["main"]

for _command in (create, delete, demo, describe, plan, publish, serve, tail, update, verify):
    main.add_command(_command)
