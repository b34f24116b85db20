"""Computed attributes: what a definition is, and the state from which a value is read (design: Storage)."""
