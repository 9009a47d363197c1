"""Put pandas DataFrames on Iguazio v3io streams, and know what became of every row.

Importing registers ``df.v3io``; it loads pandas and pyarrow and nothing else, starts
no thread and reads no environment.
"""

from __future__ import annotations

from v3io_frames_put import _startup  # noqa: F401  # isort: skip  # before all that takes time

import logging
from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from v3io_frames_put import accessor as _accessor  # noqa: F401  # registers df.v3io
from v3io_frames_put.client import Client
from v3io_frames_put.config import Encoding, Limits, Retry, Timeouts
from v3io_frames_put.errors import (
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
from v3io_frames_put.plan import KeyCounts, PlannedRecord, RecordsPlan, plan_records
from v3io_frames_put.progress import Progress
from v3io_frames_put.put import put_records
from v3io_frames_put.summary import Summary, summarize

if _TYPE_CHECKING:
    from v3io_frames_put.widget import Uploader

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

logging.getLogger("v3io_frames_put").addHandler(logging.NullHandler())


def __getattr__(name: str) -> _Any:
    if name == "__version__":
        return _version("v3io-frames-put")
    if name == "Uploader":  # it loads ipywidgets
        from v3io_frames_put.widget import Uploader as _Uploader

        return _Uploader
    if name in {"jobs", "local"}:  # of its own accord, Python would know them once imported
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
