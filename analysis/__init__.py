"""WHY: tables, bounds, fits and reports from the Parquet alone. Never loads torch, ray or cluster."""
