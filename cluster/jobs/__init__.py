"""What a launcher hands to workers elsewhere, and what of it waits in a scheduler's queue."""
