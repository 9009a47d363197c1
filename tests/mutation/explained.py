"""Mutants that no law can notice, and why."""

EXPLAINED: dict[str, dict[str, str]] = {
    "classification": {},
    "outcomes": {},
    "prior_run": {},
    "reconciler": {},
}
