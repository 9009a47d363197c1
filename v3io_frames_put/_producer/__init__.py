"""Pure: decides what is sent when, and what each answer means."""
