"""Jobs: publish files larger than memory, and know what became of every row."""

from __future__ import annotations

from v3io_frames_put.jobs._job_results import JobResults
from v3io_frames_put.jobs._plan import plan
from v3io_frames_put.jobs._publish import publish

__all__ = ["JobResults", "plan", "publish"]
