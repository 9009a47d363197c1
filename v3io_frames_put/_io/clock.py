"""Time and chance, as a value: the only place that reaches for either."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Clock:
    """The real ones, unless others are given.

    Attributes
    ----------
    now : callable
        Monotonic seconds.
    sleep : callable
        Waits so many seconds.
    draw : callable
        An even draw from [0, 1).
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    draw: Callable[[], float] = random.random
