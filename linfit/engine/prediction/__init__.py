"""Predict what theory says of a fit before its first step."""
