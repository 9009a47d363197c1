"""The results of an earlier run -> what is left to do.

Checked before anything is sent: a run is resumed under its own run id, on the same
data, stream and mapping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from ._producer.prior_run import (
    PriorInDoubt,
    PriorOutcomes,
    PriorRun,
    find_tagged_rows,
    keep_unknown,
    read_starts,
)
from ._producer.values import BLANK, RECORD_ROW, SCHEMA, Copy, Texts
from .errors import ConfigError
from .results import ATTRS_KEY, restore_types

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._run import RunPlan
    from .config import DeliveryMode

_NUMBERS: Final = ("shard_id", "sequence_number", "error_code", "attempts")
_TEXTS: Final = ("error_message", "error_detail")
_LEAST_ATTEMPTS: Final = np.array([2, 2, 1, 0])  # by place in STATUSES
_AGAIN: Final = "Give the frame that put_records returned, or that an error carried as .results."


def _check_results(results: object, plan: RunPlan) -> Mapping[str, Any]:
    """Check that results belong to the data, the stream and the options; return the receipt."""
    rows = plan.row_plan
    receipt = results.attrs.get(ATTRS_KEY) if isinstance(results, pd.DataFrame) else None
    if not isinstance(results, pd.DataFrame) or not isinstance(receipt, dict):
        raise ConfigError(f"resume: expected results with their receipt in attrs. {_AGAIN}")
    if rows.num_rows is None:
        raise ConfigError(
            "resume: how many rows the data has is not known before it is read. Give a "
            "table or a DataFrame, or keep a journal."
        )
    index = pd.RangeIndex(rows.num_rows) if rows.index is None else rows.index
    if len(results) != rows.num_rows or not results.index.equals(index):
        raise ConfigError(
            f"resume: the results have {len(results):,} rows, the data has "
            f"{rows.num_rows:,}, on another index. Give the data of that run, unchanged."
        )
    same = {
        "endpoint": plan.stream.endpoint,
        "stream": str(plan.stream),
        "delivery": plan.delivery_options.delivery,
        "mapping": plan.options_digest,
    }
    for name, now in same.items():
        if receipt.get(name) != now:
            raise ConfigError(
                f"resume: the {name} is not the earlier run's ({receipt.get(name)}, now {now}). "
                f"Use the same stream and options, or start anew without resume."
            )
    return receipt


def read_prior_outcomes(
    results: pd.DataFrame, delivery: DeliveryMode, page_rows: int
) -> PriorOutcomes:
    """Read what is left to do from results of the right types, in pages of so many rows."""
    texts = Texts()
    pages = np.full(len(results), BLANK)
    pages["status"] = results["status"].cat.codes.to_numpy()
    pages["maybe_duplicate"] = results["maybe_duplicate"].to_numpy(np.bool_)
    for name in (*_NUMBERS, RECORD_ROW.name):
        if name in results:
            pages[name] = results[name].fillna(BLANK[name].item()).to_numpy(np.int64)
    for name in _TEXTS:
        codes, values = pd.factorize(results[name])
        numbers = np.array([texts.number(str(value)) for value in values] + [-1], np.int32)
        pages[name] = numbers[codes]
    return PriorOutcomes(
        pages["status"].copy(),
        lambda number: pages[number * page_rows : (number + 1) * page_rows],
        texts=texts,
        final=keep_unknown(["stored"], delivery),
        doubts=delivery != "at_most_once",
        page_rows=page_rows,
    )


def check_resumable(plan: RunPlan) -> None:
    """Refuse packs of data that can be read once: a look-up needs the keys of all their rows.

    Raises ConfigError.
    """
    is_exact = plan.delivery_options.delivery == "exactly_once"
    if is_exact and plan.is_packed and plan.row_plan.source.is_read_once:
        raise ConfigError(
            "rows_per_record: to find records of several rows again, a resumed exactly_once run "
            "reads the data twice, and this data can be read once. Give a DataFrame, Table or "
            "Dataset, or rows_per_record=1."
        )


def read_prior_run(plan: RunPlan, results: pd.DataFrame) -> PriorRun:
    """Return what the run that made these results left to do.

    Raises
    ------
    ConfigError
        They belong to other data, another stream or other options. Nothing was sent.
    """
    delivery = plan.delivery_options.delivery
    receipt = _check_results(results, plan)
    packed = [RECORD_ROW.name] if plan.is_packed else []
    results = restore_types(results, [*SCHEMA.names, *packed])
    try:
        run_id, starts = receipt["run_id"], receipt.get("starts", {})
        bytes.fromhex(run_id)
        low_watermark = read_starts(starts)
        duplicates = [Copy(*place) for place in receipt["duplicates"]["first"]]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"resume: the receipt in attrs was changed ({type(error).__name__}: {error}). {_AGAIN}"
        ) from error
    outcomes, in_doubt = read_prior_outcomes(results, delivery, plan.page_rows), None
    if delivery == "exactly_once":
        # So many requests carried a row, and one of them may have got no answer.
        least = _LEAST_ATTEMPTS[results["status"].cat.codes]
        in_doubt = PriorInDoubt(
            outcomes,
            find_tagged_rows(plan.replan),
            low_watermark=low_watermark,
            starts=starts,
            may_miss_requests=False,
            needs_last_scan=bool((results["attempts"] >= least).any()),
        )
    return PriorRun(outcomes=outcomes, run_id=run_id, in_doubt=in_doubt, duplicates=duplicates)
