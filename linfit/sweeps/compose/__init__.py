"""Compose YAML and overrides to fit configs."""
