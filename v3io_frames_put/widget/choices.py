"""What the form says, as a value: the options of ``put_records``, and as code."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, get_args

from v3io_frames_put._encode.formats import Format
from v3io_frames_put._producer.policy import DeliveryMode, check_choice
from v3io_frames_put.config import check_whole
from v3io_frames_put.errors import ColumnNotFound, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_FIXED: Final = {"shard": int, "client_info": bytes}  # one for every row
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
    shard: str | int | None = None
    client_info: str | bytes | None = None
    delivery: DeliveryMode = "at_least_once"
    journal: str | None = None

    def check(self, names: Sequence[str]) -> None:
        """Refuse what is no choice, and columns that are not among ``names``.

        Raises
        ------
        ConfigError
            As ``put_records`` would, before there is a form.
        """
        check_choice("format", self.format, get_args(Format))
        check_choice("delivery", self.delivery, get_args(DeliveryMode))
        check_whole("rows_per_record", self.rows_per_record, least=1)
        if self.columns == ():
            raise ConfigError("columns: there are none to send; expected at least one.")
        wanted = [("columns", name) for name in self.columns or ()]
        for option, value in (
            ("partition_key", self.partition_key),
            ("shard", self.shard),
            ("client_info", self.client_info),
        ):
            if isinstance(value, str):
                wanted.append((option, value))
            elif value is not None and not isinstance(value, _FIXED.get(option, ())):
                raise ConfigError(
                    f"{option} is a {type(value).__name__}; the form takes a column's name. Make "
                    f"it a column, or call put_records."
                )
        for option, name in wanted:
            if name not in names:
                raise ColumnNotFound(name, option=option, available=list(names))

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
