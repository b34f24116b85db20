"""Deleting all that a dataset or a batch brought: accepted as a cutoff, swept by a machine, proven by a last look."""
