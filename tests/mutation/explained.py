"""Modules of which every mutant is noticed, but for those here, which no law can notice."""

EXPLAINED: dict[str, dict[str, str]] = {
    "classification": {
        "Stop: True -> False": "read where a platform was silent, and then always given",
    },
    "in_doubt": {
        "find_keys: False -> True": "copy= of a cast, whose values are the same",
        "RecordsInDoubt.add: steps.max(initial=0) > 1 -> steps.max(initial=0) >= 1": (
            "rows that follow each other are found by their tag, kept as steps or not"
        ),
    },
    "outcomes": {
        "Outcomes._by_page: rows[1:] > rows[:-1] -> rows[1:] >= rows[:-1]": "rows are distinct",
        "Reordering.note_stored: batch.attempts > 1 -> batch.attempts >= 1": (
            "before its first answer no record has a later one of its destination stored"
        ),
        "Reordering.note_stored: sequence_number[stored] > batch.state['reordered_at'][stored] -> "
        "sequence_number[stored] >= batch.state['reordered_at'][stored]": (
            "two records of a destination never have the same number"
        ),
        "Reordering.find_rows: copy.sequence_number > least[copy.row] -> "
        "copy.sequence_number >= least[copy.row]": "the same",
    },
    "prior_run": {
        "PriorOutcomes.late_rows: (status >= 0) & (status != _STORED) -> "
        "(status >= 0) | (status != _STORED)": "pages are loaded of which no row is late",
        "PriorOutcomes.late_rows: status >= 0 -> status > 0": "0 is stored, the next condition",
        "PriorOutcomes.late_rows: status >= 0 -> status > 0 (no. 2)": (
            "0 is stored, which no number of attempts makes late"
        ),
        "PriorOutcomes.record_found: missing > 0 -> missing >= 0": "it would append no row",
    },
    "producer": {
        "Producer._record_stored: batch.attempts > 1 -> batch.attempts >= 1": (
            "no record of a first request was sent twice"
        ),
        "Producer._split: half < self._limits.max_body_bytes -> "
        "half <= self._limits.max_body_bytes": "the limit would be set to what it is",
    },
    "reconciler": {},
    "resume": {},
}
