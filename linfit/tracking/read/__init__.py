"""Read runs back, from MLflow and from the files of sweeps."""
