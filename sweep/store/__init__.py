"""The store: Parquet parts, atomic files, run ids, leases, repair."""
