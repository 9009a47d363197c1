"""Records <-> HTTP bytes. Pure; the only place that knows the web API's names."""
