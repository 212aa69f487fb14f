"""Records in a run directory: ``metrics.json``, ``resources.json`` and ``test.npz``."""
