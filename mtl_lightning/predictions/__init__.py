"""Predictions for files of rows, by a run or an export, written in parts."""

from mtl_lightning.predictions.parts import Parts
from mtl_lightning.predictions.predictor import Predictor

__all__ = ["Parts", "Predictor"]
