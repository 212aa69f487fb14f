"""Layers that encoders, architectures and heads are made of."""

from mtl_lightning.layers.mlp import MLP, Gates

__all__ = ["MLP", "Gates"]
