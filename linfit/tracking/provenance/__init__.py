"""Tell what surrounds a run and may change its bits: environment, code, git."""
