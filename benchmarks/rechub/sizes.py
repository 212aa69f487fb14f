"""Settings of both sides: sizes of all models, learning rates, and early stopping. Needs torch only."""

ARCHITECTURES = ("shared_bottom", "mmoe", "ple", "aitm")
HIDDEN, TOWER, EXPERTS = [64, 32], [32], 4
LEVEL_HIDDEN, LEVELS, OWN, SHARED = [32], 2, 2, 2
WIDTH = {"ads": 16, "movielens": 8}
BATCH = {"ads": 512, "movielens": 512}
DEFAULT_RATE = 1e-3
"""The default of both libraries."""
RATES = (DEFAULT_RATE, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2)
EPOCHS, PATIENCE = 20, 2
