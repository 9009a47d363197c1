"""Everything this package raises, and the one warning it gives.

The tree, as a user catches it::

    Exception
    └── PutRecordsError              base of all below
        ├── ConfigError              an option is wrong; nothing was sent
        ├── DataError                the data is wrong; nothing was sent
        │   ├── ColumnNotFound       a named column is not there
        │   └── UnsupportedType      a column's type has no encoding
        ├── MissingExtra             an optional package is not installed
        ├── RequestError             the platform refused or cannot be reached
        │   ├── AuthenticationError  401: the key or password was not accepted
        │   ├── PermissionDenied     403: this is not allowed here
        │   ├── StreamNotFound       nothing is at that path
        │   ├── NotAStream           something else is at that path
        │   ├── PlatformUnavailable  no usable answer came in time
        │   └── ProtocolError        an answer the protocol does not allow
        └── PartialFailure           rows are not stored (on_error="raise")
    KeyboardInterrupt
    └── Interrupted                  the run was stopped by the user

``ConfigError`` and ``DataError`` are also ``ValueError``, ``MissingExtra`` is also
``ImportError``. What is raised after the first byte of a record left carries
``results``, the full table. No text here ever holds a key, a header or a whole body.
"""

from __future__ import annotations

import copyreg
import difflib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


def suggest(name: str, known: Sequence[str]) -> str:
    """Return a sentence that names what was probably meant; empty: nothing comes near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


class _Pickles:
    """Exceptions that cross process borders whole (Dask, Spark, pools)."""

    args: tuple[object, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        # Without ``__init__``, whose arguments are gone.
        return copyreg.__newobj__, (type(self), *self.args), dict(self.__dict__)  # type: ignore[attr-defined]


class PutRecordsError(_Pickles, Exception):
    """Base of every error of this package.

    Attributes
    ----------
    results : DataFrame or None
        What became of every row. None: no record had been sent.
    """

    results: pd.DataFrame | None = None


class ConfigError(PutRecordsError, ValueError):
    """An option is wrong. Nothing was sent."""


class DataError(PutRecordsError, ValueError):
    """The data cannot be sent as asked. Nothing was sent."""


class ColumnNotFound(DataError):
    """A column that an option names is not in the data. Nothing was sent.

    Attributes
    ----------
    column : str
        The name that was asked for.
    """

    def __init__(self, column: object, *, option: str, available: Sequence[object]) -> None:
        self.column = str(column)
        shown = ", ".join(repr(str(name)) for name in available[:20]) or "none"
        more = f" and {len(available) - 20} more" if len(available) > 20 else ""  # noqa: PLR2004
        advice = suggest(self.column, [str(name) for name in available]) or " Correct the name."
        super().__init__(
            f"{option}={self.column!r} is not a column of the data; it has {shown}{more}.{advice}"
        )


class UnsupportedType(DataError):
    """A column's type has no encoding in the chosen format. Nothing was sent.

    Attributes
    ----------
    column, dtype : str
        The column and its type.
    """

    def __init__(self, *, column: object, dtype: object, advice: str) -> None:
        self.column, self.dtype = str(column), str(dtype)
        super().__init__(f"column {self.column!r} has type {self.dtype}, {advice}.")


class MissingExtra(PutRecordsError, ImportError):
    """An optional package is not installed. Nothing was sent."""

    def __init__(self, *, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package {package!r}, which is not installed. "
            f'Type: pip install "v3io-frames-put[{extra}]"'
        )


class RequestError(PutRecordsError):
    """The platform refused a request, or could not be reached.

    Attributes
    ----------
    status : int or None
        HTTP status. None: no answer came.
    error_code : int or None
        The platform's own number, where the answer had one.
    """

    def __init__(
        self, message: str, *, status: int | None = None, error_code: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.error_code = status, error_code


class AuthenticationError(RequestError):
    """The platform did not accept the access key, or the name and password (401)."""


class PermissionDenied(RequestError):
    """The platform knows who we are, and does not allow this here (403)."""


class StreamNotFound(RequestError):
    """Nothing is at the stream's path."""


class NotAStream(RequestError):
    """The path holds something that is not a stream."""


class PlatformUnavailable(RequestError):
    """No request was answered for ``Retry.deadline_seconds``."""


class ProtocolError(RequestError):
    """The platform answered something that its protocol does not allow."""


class PartialFailure(PutRecordsError):
    """Some rows are not stored, and ``on_error="raise"`` was given.

    ``results`` holds the same table that ``on_error="return"`` returns.
    """


class Interrupted(_Pickles, KeyboardInterrupt):
    """The run was stopped: Ctrl-C, ``cancel`` or SIGTERM.

    A ``KeyboardInterrupt``, so that loops which catch ``Exception`` stop too.

    Attributes
    ----------
    results : DataFrame or None
        What became of every row until then. None: nothing had been sent.
    """

    results: pd.DataFrame | None = None


class InsecureConnectionWarning(UserWarning):
    """TLS is not verified: anyone on the way can read the access key."""


class UnstoredRowsWarning(UserWarning):
    """Some rows are not stored; the results say which, and why."""
