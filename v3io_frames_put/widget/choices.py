"""What the form says, as a value: the options of ``put_records``, and as code."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from v3io_frames_put._delivery.policy import DeliveryMode
    from v3io_frames_put._rows.formats import Format

_NOT_OPTIONS: Final = ("source", "endpoint", "stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the form says.

    Attributes
    ----------
    source : str
        The data, as a Python expression.
    endpoint : str
        Empty: as the environment says.
    stream : str
        Where to.
    columns, index, format, rows_per_record, partition_key, shard, client_info
        As in ``put_records``.
    delivery, journal
        As in ``put_records``.
    """

    source: str = "df"
    endpoint: str = ""
    stream: str = ""
    columns: tuple[str, ...] | None = None
    index: bool = False
    format: Format = "json"
    rows_per_record: int = 1
    partition_key: str | None = None
    shard: str | None = None
    client_info: str | None = None
    delivery: DeliveryMode = "at_least_once"
    journal: str | None = None

    def options(self) -> dict[str, Any]:
        """Return the options that are not at their defaults."""
        return {
            option.name: value
            for option in fields(self)
            if option.name not in _NOT_OPTIONS
            and (value := getattr(self, option.name)) != option.default
        }

    def code(self) -> str:
        """Write the same upload as code, to paste into a job; it holds no key."""
        options = {name: _as_list(value) for name, value in self.options().items()}
        if self.endpoint:
            options["client"] = None
        lines = [f"    {self.source},", f"    {self.stream!r},"]
        lines += [
            f"    client=v3io_frames_put.Client({self.endpoint!r}, access_key=...),"
            if name == "client"
            else f"    {name}={value!r},"
            for name, value in options.items()
        ]
        return "\n".join(["results = v3io_frames_put.put_records(", *lines, ")"])


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
