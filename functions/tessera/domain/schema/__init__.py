"""Schemas: what they are composed of, what they say of rows, and how they may change."""
