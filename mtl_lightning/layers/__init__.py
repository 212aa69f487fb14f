"""Layers that encoders, architectures and heads are made of."""

from mtl_lightning.layers.mlp import MLP, Gates
from mtl_lightning.moved import moved_names

__all__ = ["MLP", "Gates"]

__getattr__ = moved_names(__name__, dict.fromkeys(("make_activation", "Experts", "mixture", "mixtures"), "mlp"))
