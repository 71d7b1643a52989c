"""Many of them: from YAML and overrides to fit configs, and from fit configs to recorded runs. Hydra and OmegaConf stay in here."""
