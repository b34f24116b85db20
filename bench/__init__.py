"""The budgets of the design, measured: ``python -m bench`` prints each with its floor, its figure and its budget."""
