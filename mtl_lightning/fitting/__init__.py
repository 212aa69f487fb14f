"""A run, from its configuration to its results: plan, steps, callbacks, failures, and other processes."""
