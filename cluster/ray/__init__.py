"""The back-end `ray`: packs as trials of Ray Tune."""
