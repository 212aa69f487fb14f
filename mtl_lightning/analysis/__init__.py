"""Analyses of a run: callbacks that observe training and evaluations, and what they compute.

- ``gradient_relations``, ``affinity``, ``output_relations``, ``gates``: how tasks relate.
- ``divergence``: tasks that overfit.
- ``detailed_evaluation``, ``slices``: metrics of tested weights by split, threshold and part.
- ``resources``, ``cost``: time, memory and arithmetic.
"""
