"""What a run tries again -> log lines: one a second, however much fails."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from v3io_frames_put.progress import Throttle

if TYPE_CHECKING:
    from v3io_frames_put._delivery.delivery import Delivery

_LOG: Final = logging.getLogger("v3io_frames_put")
_EVERY_SECONDS: Final = 1.0


class RetryLog:
    """Logs what is tried again.

    Parameters
    ----------
    run_id : str
        Names the run in each line.
    delivery : Delivery
        The run.
    """

    def __init__(self, run_id: str, delivery: Delivery) -> None:
        self._run_id, self._delivery = run_id, delivery
        self._throttle = Throttle(_EVERY_SECONDS)
        self._requests = self._rows = 0

    def tell(self, now: float) -> None:
        """Log what has been tried again since the last line, if it is time for one."""
        retried = self._delivery.take_retried()
        if not retried:
            return
        self._requests += len(retried)
        self._rows += sum(one.num_rows for one in retried)
        if not self._throttle.is_due(now):
            return
        why = retried[-1].why
        _LOG.warning(
            "run %s: requests tried again: %s (%s rows); the last: %s, %s",
            self._run_id, f"{self._requests:,}", f"{self._rows:,}", why.message, why.detail,
            extra={
                "fields": {
                    "event": "retried", "run_id": self._run_id, "requests": self._requests,
                    "rows": self._rows,
                }
            },
        )  # fmt: skip
        self._requests = self._rows = 0
