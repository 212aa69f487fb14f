"""Safe language of labels and conditions over raw columns."""

from mtl_lightning.moved import moved_names

__getattr__ = moved_names(__name__, dict.fromkeys(("Expression", "evaluate_all"), "expression"))
