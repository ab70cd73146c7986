"""What a person sets: read from the environment and the command line, here and nowhere else."""
