"""The back-end `slurm`: packs as array tasks, submitted through submitit."""
