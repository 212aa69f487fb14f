"""Metrics of predictions on a scale, in the unit of the label, and of their order."""
