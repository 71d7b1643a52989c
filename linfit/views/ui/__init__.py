"""Serve MLflow's own UI behind a guard."""
