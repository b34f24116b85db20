"""Samples of a store: who is in it, from which datasets and namespaces, counted share by share and added up."""
