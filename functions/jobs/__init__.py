"""The tasks of the state machines, one module per job."""
