"""Encoded rows on disk, their order, and the loader of batches."""
