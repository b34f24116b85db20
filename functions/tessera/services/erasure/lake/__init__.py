"""Taking the rows of erased persons out of the data lake: whose a row is, how each format is written without some."""
