"""Parts of programs that train many small models: a quiet Trainer, and results that are not computed again."""

import json
import logging
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from mtl_lightning.data.datamodule import DataModule


def begin(out: Path) -> list[dict[str, Any]]:
    """Silence Lightning, use one thread, and read the results that are there.

    Args:
        out: File with a result per line, as :func:`keep` writes it.
    """
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def keep(out: Path, **result: Any) -> None:
    """Append a result to the file."""
    with out.open("a") as file:
        print(json.dumps(result), file=file)


def train_and_test(module: LightningModule, data: DataModule, epochs: int) -> tuple[dict[str, float], float]:
    """Train a model without validation; its metrics on the test split, and the CPU seconds of training."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, limit_val_batches=0, use_distributed_sampler=False,
        )  # fmt: skip
        started = time.process_time()
        trainer.fit(module, datamodule=data)
        seconds = time.process_time() - started
        return dict(trainer.test(module, datamodule=data, verbose=False)[0]), seconds
