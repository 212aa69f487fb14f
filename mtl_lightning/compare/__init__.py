"""Comparison of multi-task models with single-task models: a grid of runs, its statistics and a verdict.

- ``plan``, ``launch``: the runs of the grid, and starting them.
- ``results``: from finished runs to the result of the comparison.
- ``statistics``, ``bootstrap``, ``verdict``: metrics, confidence intervals, and conclusions in words.
- ``page``, ``plots``, ``tables``, ``relations``, ``reliability``, ``resources``: how the result is shown.
"""
