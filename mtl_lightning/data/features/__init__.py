"""Kinds of features: fitted on training rows, encoding all rows."""
