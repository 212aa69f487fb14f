"""Kinds of features, which are fitted to training rows and encode all rows."""

from mtl_lightning.moved import moved_names

__getattr__ = moved_names(
    __name__, dict.fromkeys(("feature", "kind_of", "build_features", "build_transforms"), "build")
)
