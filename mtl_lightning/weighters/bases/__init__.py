"""Base classes of weighters, one per module, and the solvers and warnings that several methods share."""
