"""The Waymo Open Dataset, version 2: Parquet."""
