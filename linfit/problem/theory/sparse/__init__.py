"""Compute the optimum of objectives with the penalty ‖W‖₁, whose weights are partly zero."""
