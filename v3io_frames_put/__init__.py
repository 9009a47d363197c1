"""Put pandas DataFrames on Iguazio v3io streams; the results say what became of every row.

Importing registers ``df.v3io``. It loads pandas and nothing else that takes time, starts
no thread and reads no environment variable; the rest is loaded at its first use.
"""

from __future__ import annotations

from . import _startup  # noqa: F401  # isort: skip  # before all that takes time

import logging as _logging
from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from . import accessor as _accessor  # noqa: F401  # registers df.v3io
from .config import Encoding, Limits, Retry, Timeouts
from .errors import (
    AuthenticationError,
    ColumnNotFound,
    ConfigError,
    DataError,
    InsecureConnectionWarning,
    Interrupted,
    MissingExtra,
    NotAStream,
    PartialFailure,
    PermissionDenied,
    PlatformUnavailable,
    ProtocolError,
    PutRecordsError,
    RequestError,
    StreamNotFound,
    UnstoredRowsWarning,
    UnsupportedType,
)

if _TYPE_CHECKING:
    from .client import Client
    from .plan import KeyCounts, PlannedRecord, RecordsPlan, plan_records
    from .progress import Progress
    from .put import put_records
    from .summary import Summary, summarize
    from .widget import Uploader

    __version__: str

__all__ = [
    "AuthenticationError",
    "Client",
    "ColumnNotFound",
    "ConfigError",
    "DataError",
    "Encoding",
    "InsecureConnectionWarning",
    "Interrupted",
    "KeyCounts",
    "Limits",
    "MissingExtra",
    "NotAStream",
    "PartialFailure",
    "PermissionDenied",
    "PlannedRecord",
    "PlatformUnavailable",
    "Progress",
    "ProtocolError",
    "PutRecordsError",
    "RecordsPlan",
    "RequestError",
    "Retry",
    "StreamNotFound",
    "Summary",
    "Timeouts",
    "UnstoredRowsWarning",
    "UnsupportedType",
    "Uploader",
    "__version__",
    "plan_records",
    "put_records",
    "summarize",
]

_LOADED_AT_FIRST_USE = {
    "Client": "client",
    "KeyCounts": "plan",
    "PlannedRecord": "plan",
    "Progress": "progress",
    "RecordsPlan": "plan",
    "Summary": "summary",
    "Uploader": "widget",
    "plan_records": "plan",
    "put_records": "put",
    "summarize": "summary",
}
_MODULES = ("jobs", "local")

_logging.getLogger("v3io_frames_put").addHandler(_logging.NullHandler())


def __getattr__(name: str) -> _Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("v3io-frames-put")
    if name in _MODULES:  # Python itself would find them only after an import
        return _import_module(f"{__name__}.{name}")
    module = _LOADED_AT_FIRST_USE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
