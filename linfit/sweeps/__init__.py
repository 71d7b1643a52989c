"""Compose many fits from YAML and overrides, run them, and record them.

Hydra and OmegaConf stay in here.
"""
