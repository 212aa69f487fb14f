"""What a run records in its directory: ``metrics.json``, ``resources.json`` and ``test.npz``."""
