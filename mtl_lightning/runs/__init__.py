"""A run's directory, checkpoints and interruptions."""
