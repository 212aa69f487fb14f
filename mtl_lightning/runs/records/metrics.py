"""``metrics.json``: every validation of a run, and how often its test split was looked at."""

import math
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from mtl_lightning.runs.directory import RunDirectory

FILE = "metrics.json"
BY_SPLIT = ("labels", "predictions", "gates")
"""Relations that are told per split."""


class Record(Callback):
    """Adds each validation of a training to the run's ``metrics.json``, on the first process.

    Args:
        run: The run directory; set before training starts.

    Example:
        >>> Record().run is None
        True
    """

    def __init__(self, run: RunDirectory | None = None) -> None:
        self.run = run

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the validation; a resumed run replaces what it does again."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not trainer.is_global_zero:
            return
        assert self.run is not None
        step = trainer.global_step
        content = read(self.run)
        values = _plain({k: v for k, v in trainer.callback_metrics.items() if k.startswith("validation/")})
        content["validations"] = [entry for entry in content["validations"] if entry["step"] < step]
        content["validations"].append({"step": step, "epoch": trainer.current_epoch + 1, "metrics": values})
        self.run.save_json(FILE, content)


def read(run: RunDirectory) -> dict[str, Any]:
    """A run's record; empty before the first validation."""
    return {"validations": [], "test": None, **(run.load_json(FILE) or {})}


def reopen(run: RunDirectory) -> None:
    """Record that training goes on: a run is complete again when ``fit`` has evaluated it again."""
    if (content := run.load_json(FILE)) is not None:
        run.save_json(FILE, {**content, "complete": False})


def add_test(
    run: RunDirectory,
    results: Mapping[str, float],
    weights: str,
    spaces: Mapping[str, str] | None = None,
    *,
    complete: bool = False,
) -> int:
    """Record an evaluation of the test split.

    The split says something about unseen data the first time only; whoever reads the record should know how often it
    was used.

    Args:
        run: The run directory.
        results: Logged values.
        weights: Name of the checkpoint that was evaluated.
        spaces: Per task, the rows its metrics are taken on.
        complete: The evaluation ends the run: ``fit`` has nothing left to do. Otherwise this stays as it was.

    Returns:
        How often the test split has been evaluated with this run, this time included.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> run = RunDirectory(Path(tempfile.mkdtemp()))
        >>> add_test(run, {"test/score": 0.7}, "best.ckpt"), add_test(run, {"test/score": 0.7}, "best.ckpt")
        (1, 2)
    """
    content = read(run)
    before = content["test"]["evaluations"] if content["test"] else 0
    content["test"] = {"evaluations": before + 1, "weights": weights, "metrics": _plain(results)}
    content["test"] |= {"spaces": dict(spaces)} if spaces else {}
    content["complete"] = complete or content.get("complete", before > 0)
    run.save_json(FILE, content)
    return int(before + 1)


def add_relations(run: RunDirectory, found: Mapping[str, Any]) -> None:
    """Record what a training or a test found out about its tasks' relations, beside what was known before.

    Args:
        run: The run directory.
        found: :meth:`mtl_lightning.report.training.relations.RelationsReport.found`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> run = RunDirectory(Path(tempfile.mkdtemp()))
        >>> add_relations(run, {"labels": {"validation": 1}})
        >>> add_relations(run, {"labels": {"test": 2}})
        >>> read(run)["relations"]
        {'labels': {'validation': 1, 'test': 2}}
    """
    if not found:
        return
    content = read(run)
    known = content.get("relations", {})
    merged = {name: {**known.get(name, {}), **value} if name in BY_SPLIT else value for name, value in found.items()}
    run.save_json(FILE, {**content, "relations": {**known, **merged}})


def _plain(values: Mapping[str, Any]) -> dict[str, float | None]:
    """Numbers for JSON, which has no NaN."""
    return {name: None if math.isnan(value) else float(value) for name, value in values.items()}
