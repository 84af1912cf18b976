"""Questions answered over a table, one file each."""
