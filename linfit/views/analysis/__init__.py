"""Compare the fits of a sweep."""
