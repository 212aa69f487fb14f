"""Frozen language models as features of text columns."""
