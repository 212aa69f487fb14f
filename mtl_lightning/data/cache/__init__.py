"""The cache: folders, locks, downloads, and digests of code that detect stale entries."""

from mtl_lightning.moved import moved_names

__getattr__ = moved_names(__name__, dict.fromkeys(("cache_directory", "writing"), "directory"))
