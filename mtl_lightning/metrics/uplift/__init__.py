"""Metrics of predicted effects of a treatment: the order of the rows by effect, and the effects themselves."""
