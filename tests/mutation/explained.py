"""Modules of which every mutant is noticed, but for those here, which no law can notice."""

EXPLAINED: dict[str, dict[str, str]] = {
    "classification": {
        "Stop: True -> False": "read where a platform was silent, and then always given",
    },
    "outcomes": {
        "Outcomes._by_page: rows[1:] > rows[:-1] -> rows[1:] >= rows[:-1]": "rows are distinct",
    },
    "prior_run": {
        "PriorOutcomes.late_rows: status >= 0 -> status > 0": (
            "0 is stored, which no number of attempts makes late"
        ),
        "PriorOutcomes.find: missing > 0 -> missing >= 0": "it would append no row",
        "PriorInDoubt._spread: True -> False": "strict= of two columns of one array",
    },
    "resume": {},
}
