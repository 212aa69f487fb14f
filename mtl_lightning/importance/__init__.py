"""Importance of features for a trained run, by permutation, and what can go."""
