"""Run many fits at once, as a few tensor programs."""
