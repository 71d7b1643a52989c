"""The hook by which Hydra finds linfit: it looks for plugins nowhere else. What they do stands in `linfit/sweeps/`."""
