"""Searches settings of a recipe: trials that several processes share, and the front of what they reach per task."""
