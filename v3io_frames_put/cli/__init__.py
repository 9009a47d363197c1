"""The command `v3io-put`.

What was asked for goes to stdout; progress, questions and log go to stderr. What a
command needs beyond click is imported when it runs, so that `--help` is quick.
"""

from __future__ import annotations

from ._local import demo, serve
from ._main import main
from ._publish import plan, publish, retry
from ._streams import create, delete, describe, tail, update, verify

__all__ = ["main"]

for _command in (
    create, delete, demo, describe, plan, publish, retry, serve, tail, update, verify,
):  # fmt: skip
    main.add_command(_command)
