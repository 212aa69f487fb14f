"""Rank and number of processes from the environment, before torch is imported."""

import os

RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Environment variables that launchers set, in the order in which Lightning reads them."""


COUNT_VARIABLES = ("WORLD_SIZE", "SLURM_NTASKS", "JSM_NAMESPACE_SIZE")
"""Environment variables with the number of processes."""


def process_rank() -> int:
    """Rank of this process before a process group exists; 0 without a launcher.

    Example:
        >>> import os
        >>> os.environ.pop("RANK", None) is None and process_rank() >= 0
        True
    """
    for name in RANK_VARIABLES:
        if os.environ.get(name, "").isdecimal():
            return int(os.environ[name])
    return 0


def process_count() -> int:
    """Number of processes that a launcher started; 1 without one."""
    if not any(os.environ.get(name, "").isdecimal() for name in RANK_VARIABLES):
        return 1
    counts = (os.environ[name] for name in COUNT_VARIABLES if os.environ.get(name, "").isdecimal())
    return max(1, int(next(counts, "1")))
