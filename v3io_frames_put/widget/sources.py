"""Where the data comes from: a DataFrame of the notebook, or a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from v3io_frames_put.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_READERS: Final = {
    ".parquet": ("read_parquet", pd.read_parquet),
    ".pq": ("read_parquet", pd.read_parquet),
    ".csv": ("read_csv", pd.read_csv),
    ".csv.gz": ("read_csv", pd.read_csv),
    ".csv.zip": ("read_csv", pd.read_csv),
}


def notebook_names() -> Mapping[str, Any]:
    """Return the variables of the notebook; none outside of one."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return {} if shell is None else shell.user_ns


def find_frames(names: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Find the DataFrames among variables, in order; ``_`` names are the shell's own."""
    return {
        name: value
        for name, value in list(names.items())
        if isinstance(value, pd.DataFrame) and not name.startswith("_")
    }


def read_file(path: str) -> pd.DataFrame:
    """Read a Parquet or CSV file.

    Raises
    ------
    ConfigError
        It is neither, or cannot be read.
    """
    _, read = _reader(path)
    try:
        frame: pd.DataFrame = read(path)
    except (OSError, ValueError) as error:  # what pandas and pyarrow raise for files
        raise ConfigError(f"file {path!r} cannot be read: {error}") from error
    return frame


def file_expression(path: str) -> str:
    """Write the reading of a file as code."""
    name, _ = _reader(path)
    return f"pd.{name}({path!r})"


def _reader(path: str) -> tuple[str, Any]:
    name = Path(path).name.lower()
    for suffix, reader in _READERS.items():
        if name.endswith(suffix):
            return reader
    raise ConfigError(f"file {path!r}: expected one that ends in {', '.join(_READERS)}.")
