"""Modules of which every mutant is noticed, but for those here, which no law can notice."""

EXPLAINED: dict[str, dict[str, str]] = {
    "classification": {},
}
