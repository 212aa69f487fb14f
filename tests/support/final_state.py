"""Final states of runs, for tests in which two runs must end in the same state."""

from pathlib import Path
from typing import Any

import torch

from mtl_lightning.runs.checkpoint import AtomicCheckpointIO


def same(a: Any, b: Any) -> bool:
    """Equality of nested containers, tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def final(directory: Path) -> dict[str, Any]:
    """State after training, without facts about how it was reached."""
    last = AtomicCheckpointIO().load_checkpoint(directory / "checkpoints" / "last.ckpt")
    best = AtomicCheckpointIO().load_checkpoint(directory / "checkpoints" / "best.ckpt")
    return {
        "weights": last["state_dict"],
        "trained": last["mtl_lightning"].get("trained"),
        "optimizer": last["optimizer_states"],
        "schedule": last["lr_schedulers"],
        "random": last["random_states"],
        "best": best["state_dict"],
        "best step": best["global_step"],
    }
