"""What an upload would send, found out without sending anything.

The rows go the way of an upload, ``plan_rows`` -> ``encode_window`` -> ``Delivery``, whose
requests a pretended platform answers: so a plan cannot disagree with the upload.
"""

from v3io_frames_put.plan.planner import plan_records
from v3io_frames_put.plan.records_plan import KeyCounts, PlannedRecord, RecordsPlan

__all__ = ["KeyCounts", "PlannedRecord", "RecordsPlan", "plan_records"]
