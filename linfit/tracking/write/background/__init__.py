"""Record in a process of its own, in which MLflow lives while linfit fits."""
