"""The ingestion of a batch: plan, validate each chunk, decide, apply each chunk, finish (design: Jobs).

Every step can be run twice, at the same time, or be cut off after any call to storage: what it leaves is made
from the batch and the files as planned, under keys of its own, so a repetition writes the same again.
"""
