"""Keeping fits: what a run looks like in MLflow, and the recorders that write it.

No other package imports MLflow to write.
"""
