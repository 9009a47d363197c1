"""Which call a run is of: what has to be the same when it goes on, or is told of again."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from v3io_frames_put.job import Upload

_LOG: Final = logging.getLogger("v3io_frames_put")

FileStamp: TypeAlias = "tuple[str, int | None, int | None]"
"""A file to publish: name, size, and when it was changed in nanoseconds."""

_SHOWN_FILES: Final = 3


def identify(job: Upload, stamps: str | None) -> dict[str, Any]:
    """Tell a call by the columns of the journal's run; ``stamps`` are those of its files."""
    return {
        "stream": f"{job.stream.endpoint}/{job.stream}",
        "delivery": job.policy.delivery,
        "mapping": job.mapping,
        "files": stamps,
        **({} if job.plan.num_rows is None else {"num_rows": job.plan.num_rows}),
    }


def find_differences(run: Mapping[str, Any], job: Upload, stamps: str | None) -> list[str]:
    """Name what of a call is not as it was in the journal's run."""
    call = identify(job, stamps)
    if not run["is_finished"]:
        if run["files"] is not None and stamps is not None:
            del call["files"]  # they were picked by those of the run; one may have been mended
        if run["num_rows"] is None:  # nobody knew
            call.pop("num_rows", None)
    return [name for name, value in call.items() if run[name] != value]


def warn_of_files_sent_again(
    run: Mapping[str, Any], job: Upload, files: Sequence[FileStamp], aside: Path
) -> None:
    """Warn of files that a finished run, set aside now, put on the same stream."""
    before = {name for name, *_ in json.loads(run["files"] or "[]")}
    again = [name for name, *_ in files if name in before]
    if again and run["num_rows"] and run["stream"] == identify(job, None)["stream"]:
        _LOG.warning(
            "%d files of a finished run are sent once more, since files or options differ from "
            "that run's: %s (its journal is now %s)",
            len(again),
            ", ".join(again[:_SHOWN_FILES]) + ", ..." * (len(again) > _SHOWN_FILES),
            aside,
        )
