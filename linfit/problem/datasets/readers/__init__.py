"""Read columns of files as numbers: CSV, Parquet and numpy."""
