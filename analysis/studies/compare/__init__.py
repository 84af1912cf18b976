"""Compare: runs that differ in one parameter alone, pair by pair."""
