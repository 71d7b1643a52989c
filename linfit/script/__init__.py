"""Print a fit as a plain torch program."""
