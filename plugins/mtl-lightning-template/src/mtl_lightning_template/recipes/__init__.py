"""Recipes of the plugin."""
