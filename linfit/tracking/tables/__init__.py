"""Write and read the Parquet files of a sweep."""
