"""Exports: from the profile store to Parquet.

plan -> gather, share by share -> settle the columns -> write, file by file -> finish

Every profile is read once, and what was read then is what is written: rows wait in the lake until all workers have
seen all of them, for only then it is known what the columns are.
"""
