"""What a developer or an operator runs: the local cloud, its callers, the demonstration, one function by hand."""
