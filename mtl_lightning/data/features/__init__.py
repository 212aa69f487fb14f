"""Kinds of features: fitted on training rows, encoding all rows."""

from mtl_lightning.moved import moved_names

__getattr__ = moved_names(
    __name__, dict.fromkeys(("feature", "kind_of", "build_features", "build_transforms"), "build")
)
