"""Find, make and protect an MLflow store."""
