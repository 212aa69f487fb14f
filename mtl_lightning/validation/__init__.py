"""Validation of options against the constructors that take them, for recipes, data and networks alike."""
