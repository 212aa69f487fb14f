"""Runs of mtl_lightning on a Ray cluster."""
