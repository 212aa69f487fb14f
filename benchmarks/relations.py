"""Cost of measuring the tasks' relations: steps with and without a sample alternate in one training.

Usage: ``python benchmarks/relations.py [recipe=ads] [key=value …]``.
"""

import statistics
import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything

from mtl_lightning.analysis.affinity import EVERY, AffinityCallback
from mtl_lightning.analysis.gradient_relations import RelationsCallback
from mtl_lightning.analysis.output_relations import OutputRelations
from mtl_lightning.build import build_data, module_from_config
from mtl_lightning.config import compose, read_arguments, validate
from mtl_lightning.report.training.terminal import quiet_lightning

STEPS, WARM_UP, CYCLE, VALIDATIONS = 240, 20, 4, 8


class Clock(Callback):
    """Seconds of every step after its batch is ready, including other callbacks before it."""

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


def quiet_trainer(*callbacks: Callback, **options: Any) -> Trainer:
    """Trainer without any output."""
    return Trainer(
        callbacks=list(callbacks), logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", **options,
    )  # fmt: skip


def main() -> None:
    """Print the time of a step, of a step with each kind of sample, and the cost at the recipe's intervals."""
    quiet_lightning()
    pairs = sys.argv[1:] or ["recipe=ads", "source.rows=300000"]
    arguments = read_arguments("relations.py", pairs, ["recipe"], settings="all")
    config = validate(compose(arguments.own["recipe"], arguments.settings).plain)
    data = build_data(config)
    data.prepare()
    seed_everything(config.seed, verbose=False)
    clock = Clock()
    module = module_from_config(config, data.schema)
    # In every cycle of four steps the first samples gradients and the third looks ahead.
    samples = RelationsCallback(every=CYCLE), AffinityCallback(every=CYCLE)
    quiet_trainer(clock, *samples, max_steps=STEPS, limit_val_batches=0).fit(module, datamodule=data)
    gradients, plain, ahead, _ = (statistics.median(clock.seconds[WARM_UP + i :: CYCLE]) for i in range(CYCLE))
    every = EVERY * len(data.schema.tasks) if config.run.affinity is None else config.run.affinity
    shares = {
        "gradients": (gradients, config.run.relations),
        "look-ahead steps": (ahead, every),
    }
    print(f"{len(data.schema.tasks)} tasks, step {1e3 * plain:.2f} ms")
    total = 0.0
    for name, (seconds, interval) in shares.items():
        share = (seconds / plain - 1) / interval if interval else 0.0
        total += share
        print(f"with {name} {1e3 * seconds:.2f} ms ({seconds / plain:.2f} times); every {interval} steps: {share:.2%}")
    print(f"together {total:.2%} of step time")
    times: dict[bool, list[float]] = {False: [], True: []}
    for i in range(2 * VALIDATIONS):
        look = i % 2 == 1
        trainer = quiet_trainer(*([OutputRelations()] if look else []))
        start = time.process_time()  # not the clock: with few validations, other programs would matter
        trainer.validate(module, datamodule=data, verbose=False)
        times[look].append(time.process_time() - start)
    without, within = (min(times[look]) for look in (False, True))
    print(f"validation {without:.2f} s of processor time, with labels, predictions and gates {within:.2f} s")


if __name__ == "__main__":
    main()
