"""Settings of the whole suite, before torch is imported."""

import os

# Two workers on two cores: torch's own threads would only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
