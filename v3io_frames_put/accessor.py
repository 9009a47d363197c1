"""``df.v3io``: the public functions as methods of a pandas DataFrame, with no logic of its own."""

from __future__ import annotations

from importlib import import_module
from types import MethodType
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

    from .client import Client
    from .config import DeliveryMode, Format
    from .plan import plan_records as _plan_records
    from .put import put_records as _put_records
    from .summary import Summary
    from .widget import Uploader


class _Method:
    """A public function as a method: ``df.v3io.put_records`` is ``put.put_records``, bound to df.

    Loaded at first use; editors and notebooks see its signature and its docstring.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    def __get__(self, accessor: V3ioAccessor | None, _owner: type) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(import_module(self._module), self._name)
        return function if accessor is None else MethodType(function, accessor._frame)  # noqa: SLF001  # its own


class V3ioAccessor:
    """Put a DataFrame on Iguazio v3io streams.

    pandas makes a new accessor at each ``df.v3io``, so it keeps nothing but the frame.
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    if TYPE_CHECKING:  # what type checkers and editors see is what there is at run time
        put_records = _put_records
        plan_records = _plan_records
    else:
        put_records = _Method("v3io_frames_put.put")
        plan_records = _Method("v3io_frames_put.plan")

    def uploader(  # noqa: PLR0913  # one for each control
        self,
        stream: str = "",
        *,
        client: Client | None = None,
        columns: list[str] | None = None,
        index: bool = False,
        format: Format = "json",  # noqa: A002  # the contract's name
        rows_per_record: int = 1,
        partition_key: str | None = None,
        shard: str | int | None = None,
        client_info: str | bytes | None = None,
        delivery: DeliveryMode = "at_least_once",
        journal: str | None = None,
    ) -> Uploader:
        """Show an uploader for this DataFrame in the notebook; see `v3io_frames_put.Uploader`.

        Parameters
        ----------
        client : Client, optional
            The platform. None: fields ask for endpoint and access key. The environment
            fills in what is left empty.
        stream, columns, index, format, rows_per_record, partition_key, shard, client_info
            First values of the fields, as in ``put_records``.
        delivery, journal
            The same.
        """
        given = dict(locals())
        del given["self"]
        from .widget import Uploader

        return Uploader(self._to_pandas(), **given)

    def summary(self) -> Summary:
        """Count the outcomes in a results frame; see `v3io_frames_put.summarize`."""
        from .summary import summarize

        return summarize(self._to_pandas())

    def _to_pandas(self) -> pd.DataFrame:
        frame: pd.DataFrame = self._frame
        return frame


pd.api.extensions.register_dataframe_accessor("v3io")(V3ioAccessor)
