"""The folder of a run's results, as every worker sees it: through fsspec.

``part-00000.parquet`` and so on are the results, ``_receipt.json`` the run's receipt.
``_v3io`` holds what tasks have to know of each other while the run is under way: what
each was given (``exactly_once``), which were begun, and whether to stop.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from .._io.stream_admin import Clock
from ..errors import ConfigError, DataError
from ..results import restore_types

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OPEN: Final = ("unsent", "unknown")
"""What rows may be that an attempt left for another one."""

_LOOK_SECONDS: Final = 1.0  # between two looks at whether to stop


class ResultsFolder:
    """A folder that driver and workers share.

    Parameters
    ----------
    path : str or PathLike
        A path or a URL that fsspec knows.

    Raises
    ------
    ConfigError
        It is neither.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        self.path = check_path(path)
        try:
            self._fs, self._root = url_to_fs(self.path)
        except (ValueError, ImportError) as error:  # an unknown protocol; its package is missing
            raise no_folder(self.path, error) from error

    # -- the driver -------------------------------------------------------------------

    def make(self, run_id: str) -> None:
        """Make the folder of a new run; refuse one that holds anything."""
        self._fs.invalidate_cache()
        try:
            if self._fs.exists(self._root) and self._fs.ls(self._root, detail=False):
                raise not_empty(self.path)
            self._fs.makedirs(self._at("_v3io"), exist_ok=True)
            self._fs.pipe_file(self._at("_v3io/run"), run_id.encode())
        except OSError as error:
            raise no_folder(self.path, error) from error

    def conclude(self, receipt: Mapping[str, Any]) -> None:
        """Write the run's receipt, and forget what only a run that goes on needs."""
        self._write("_receipt.json", json.dumps(receipt, indent=1).encode())
        is_settled = not any(receipt["counts"][status] for status in OPEN)
        if is_settled and self._exists("_v3io"):
            self._fs.rm(self._at("_v3io"), recursive=True)

    # -- all --------------------------------------------------------------------------

    def check_is_shared(self, run_id: str) -> None:
        """Refuse a folder that is not the driver's."""
        if self._exists("_receipt.json"):  # the run was over once, and is computed again
            return
        if (
            not self._exists("_v3io/run")
            or self._fs.cat_file(self._at("_v3io/run")) != run_id.encode()
        ):
            raise ConfigError(
                f"results_path={self.path!r}: this worker does not see there what the driver "
                f"wrote. Choose a folder that all machines share."
            )

    def raise_flag(self) -> None:
        """Stop all tasks."""
        self._fs.makedirs(self._at("_v3io"), exist_ok=True)
        self._fs.pipe_file(self._at("_v3io/stop"), b"")

    def is_flag_up(self) -> bool:
        """Whether tasks are to stop."""
        return self._exists("_v3io/stop")

    def lower_flag(self) -> None:
        """Let tasks go on: the run is computed again."""
        if self.is_flag_up():
            self._fs.rm_file(self._at("_v3io/stop"))

    # -- one partition ----------------------------------------------------------------

    def keep_input(self, partition: int, frame: pd.DataFrame) -> None:
        """Write a partition's rows, unless an earlier attempt did.

        As a pickle: nothing else holds every cell of an object column as it is.
        """
        name = f"_v3io/input-{partition:05}"
        if not self._exists(name) and not self._exists(_part(partition)):
            buffer = io.BytesIO()
            frame.to_pickle(buffer)
            self._write(name, buffer.getvalue())

    def read_input(self, partition: int) -> pd.DataFrame:
        """Read a partition's rows as the first attempt saw them."""
        data = self._fs.cat_file(self._at(f"_v3io/input-{partition:05}"))
        frame: pd.DataFrame = pd.read_pickle(io.BytesIO(data))  # noqa: S301  # we wrote it
        return frame

    def begin(self, partition: int) -> bool:
        """Note that a task is about to send; return False if an attempt began and never ended."""
        name = f"_v3io/begun-{partition:05}"
        if self._exists(name):
            return False
        self._fs.pipe_file(self._at(name), b"")
        return True

    def write_results(self, partition: int, results: pd.DataFrame) -> None:
        """Write a partition's results, with their index and receipt: its attempt ended."""
        buffer = io.BytesIO()
        results.to_parquet(buffer, compression="zstd")
        self._write(_part(partition), buffer.getvalue())
        # Only now: an attempt that is cut off before this leaves its mark.
        with suppress(FileNotFoundError):  # another attempt ended, too
            self._fs.rm_file(self._at(f"_v3io/begun-{partition:05}"))

    def has_results(self, partition: int) -> bool:
        """Whether an attempt came to its end."""
        return self._exists(_part(partition))

    def read_results(self, partition: int) -> pd.DataFrame:
        """Read a partition's results, as ``put_records`` returns them."""
        data = self._fs.cat_file(self._at(_part(partition)))
        results = pd.read_parquet(io.BytesIO(data))
        return restore_types(results, list(results.columns))

    # -- files ------------------------------------------------------------------------

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _exists(self, name: str) -> bool:
        self._fs.invalidate_cache()  # others write here
        return bool(self._fs.exists(self._at(name)))

    def _write(self, name: str, data: bytes) -> None:
        """Write a file that has its name only when it is whole."""
        part = self._at(f"_{secrets.token_hex(8)}.part")
        self._fs.pipe_file(part, data)
        self._fs.mv(part, self._at(name))


class StopFlag(threading.Event):
    """An event that is set by a file of ``folder``, for tasks on any machine."""

    def __init__(self, folder: ResultsFolder, now: Callable[[], float] | None = None) -> None:
        super().__init__()
        self._folder, self._now = folder, now or Clock().now
        self._look_at = self._now()

    def is_set(self) -> bool:
        """Whether somebody raised the flag."""
        if not super().is_set() and self._now() >= self._look_at:
            self._look_at = self._now() + _LOOK_SECONDS
            if self._folder.is_flag_up():
                self.set()
        return super().is_set()


def check_path(path: object) -> str:
    """Return a folder's path as text; refuse what is not a path."""
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigError(f"results_path={path!r}: expected the path or URL of a folder.")
    return os.fspath(path)


def no_folder(path: str, cause: object) -> ConfigError:
    """Return the error for a place where no folder can be."""
    return ConfigError(
        f"results_path={path!r}: no folder can be made there ({cause}); expected a path or a URL "
        f"that all machines can write to. Choose another."
    )


def not_empty(path: str) -> ConfigError:
    """Return the error for a folder that holds anything before its run begins."""
    return ConfigError(
        f"results_path={path!r} is not empty; expected a new folder for the results of each run. "
        f"Choose another, or remove it."
    )


def check_index(frame: pd.DataFrame, partition: int) -> None:
    """Refuse, before anything is sent, an index that results could not be written on."""
    import pyarrow as pa

    try:
        pa.Table.from_pandas(frame.iloc[:, :0])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise DataError(
            f"the index of partition {partition} cannot be written as Parquet: {error}. "
            f"Give the data another: ddf.reset_index()."
        ) from error


def _part(partition: int) -> str:
    return f"part-{partition:05}.parquet"
