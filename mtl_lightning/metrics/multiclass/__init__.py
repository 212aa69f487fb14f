"""Metrics of predicted classes and of their probabilities."""
