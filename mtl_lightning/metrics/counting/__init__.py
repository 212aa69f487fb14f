"""Metrics that count decisions of a binary task at a threshold: precision, recall and F1."""
