"""Find an unfinished sweep and go on with it."""
