"""Exports of the profile store: what is asked for, who qualifies, and what the columns are."""
