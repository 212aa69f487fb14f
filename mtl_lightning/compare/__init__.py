"""Does multi-task learning help here? A grid of runs, its statistics and a verdict."""
