"""Predictions for rows as they come, from a run or from an export, written in parts."""

from mtl_lightning.predictions.parts import Parts
from mtl_lightning.predictions.predictor import Predictor

__all__ = ["Parts", "Predictor"]
