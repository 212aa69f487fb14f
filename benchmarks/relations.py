"""What sampling the tasks' gradients costs: steps with and without a sample take turns in one training.

Usage: ``python benchmarks/relations.py [recipe=ads] [key=value …]``.
"""

import statistics
import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything

from mtl_lightning.analysis.relations import RelationsCallback
from mtl_lightning.build import build_data, module_from_config
from mtl_lightning.config import compose, read_pairs, validate

STEPS, WARM_UP = 200, 20


class Clock(Callback):
    """Seconds of every step, the batch being there."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start."""
        self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop."""
        self.seconds.append(time.perf_counter() - self._start)


def main() -> None:
    """Print the time of a step, of one with a sample, and the share that the recipe's interval costs."""
    request = read_pairs(sys.argv[1:] or ["recipe=ads", "source.rows=250000"])
    config = validate(compose(request.recipe, request.overrides).plain)
    data = build_data(config)
    data.prepare()
    seed_everything(config.seed, verbose=False)
    clock = Clock()
    trainer = Trainer(
        max_steps=STEPS, limit_val_batches=0, callbacks=[clock, RelationsCallback(every=2)], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(module_from_config(config, data.schema), datamodule=data)
    with_sample, plain = (statistics.median(clock.seconds[WARM_UP + i :: 2]) for i in (0, 1))
    share = (with_sample / plain - 1) / config.run.relations
    print(f"step {1e3 * plain:.2f} ms, with a sample {1e3 * with_sample:.2f} ms ({with_sample / plain:.2f} times)")
    print(f"a sample every {config.run.relations} steps costs {share:.2%} of step time")


if __name__ == "__main__":
    main()
