"""Pure: tabular data -> encoded records, and back."""
