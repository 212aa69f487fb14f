"""Metrics of predicted probabilities: ranking over all rows, likelihood and calibration."""
