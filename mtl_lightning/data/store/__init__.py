"""Encoded rows on disk, row orders, and the loader of batches."""

from mtl_lightning.moved import moved_names

__getattr__ = moved_names(__name__, dict.fromkeys(("dtype_of", "Store", "file_of"), "store"))
