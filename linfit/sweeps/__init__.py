"""Many of them: from YAML and overrides to fit configs, and from these to recorded runs.

Hydra and OmegaConf stay in here.
"""
