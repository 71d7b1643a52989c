"""Name everything that linfit writes into MLflow."""
