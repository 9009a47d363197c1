"""The one check that every verb needs. PURE."""

from __future__ import annotations

import numbers

from v3io_frames_put.errors import ConfigError


def check_whole(what: str, value: object, *, least: int, most: int | None = None) -> int:
    """Take a whole number within bounds; anything else is a ``ConfigError``."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        number = int(value)
        if least <= number and (most is None or number <= most):
            return number
    bound = f"{least:,} or more" if most is None else f"{least:,} to {most:,}"
    raise ConfigError(f"{what}: expected a whole number, {bound}; got {value!r}. Correct it.")
