"""Keeping fits: what a run looks like in MLflow, and the recorders that write it. The only package that imports MLflow to write."""
