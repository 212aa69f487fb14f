"""Preparation of a source: splits, fitted transforms and encoded rows."""
