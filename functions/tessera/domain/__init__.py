"""The profile model in plain Python: no AWS, no HTTP, no clock, no I/O."""
