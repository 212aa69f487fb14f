"""The cache: its folders, locks, downloads, and digests of the code that filled it."""

from mtl_lightning.moved import moved_names

__getattr__ = moved_names(__name__, dict.fromkeys(("cache_directory", "writing"), "directory"))
