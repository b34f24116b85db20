"""Computed attributes at work: compiled definitions, and what keeps their state right."""
