"""Parse and render; nothing else."""
