"""Show fits. Nothing in here is imported by a fit."""
