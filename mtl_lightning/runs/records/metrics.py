"""``metrics.json``: all validations of a run, its test, and the number of evaluations of the test split."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from mtl_lightning.runs.directory import RunDirectory

FILE = "metrics.json"
BY_SPLIT = ("labels", "predictions", "gates")
"""Relations that are recorded per split."""


class Record(Callback):
    """Adds each validation of a training to ``metrics.json``, on the first process.

    Args:
        run: The run directory; None on other processes.

    Example:
        ``Trainer(callbacks=[Record(run)])``
    """

    def __init__(self, run: RunDirectory | None) -> None:
        self.run = run

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the validation; a resumed run replaces the validations that it repeats."""
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
    """Record of a run; empty before the first validation."""
    return {"validations": [], "test": None, **(run.load_json(FILE) or {})}


def read_test(run: RunDirectory) -> dict[str, float]:
    """Recorded metrics of the test split by full name, NaN where undefined; empty before an evaluation."""
    test = read(run)["test"] or {"metrics": {}}
    return {name: float("nan") if value is None else value for name, value in test["metrics"].items()}


def reopen(run: RunDirectory) -> None:
    """Record that training is resumed: the run is incomplete until ``fit`` has evaluated it again."""
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

    A test split is unbiased only at its first evaluation, so the record has the number of evaluations.

    Args:
        run: The run directory.
        results: Logged values.
        weights: Name of the evaluated checkpoint.
        spaces: Per task, the rows on which its metrics are computed.
        complete: Whether this evaluation completes the run. If False, the recorded value is kept.

    Returns:
        Number of evaluations of the test split with this run, including this one.

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


def add_relations(run: RunDirectory, relations: Mapping[str, Any]) -> None:
    """Add relations between tasks from a training or a test to those recorded earlier.

    Args:
        run: The run directory.
        relations: :meth:`mtl_lightning.report.training.relations.RelationsReport.summary`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> run = RunDirectory(Path(tempfile.mkdtemp()))
        >>> add_relations(run, {"labels": {"validation": 1}})
        >>> add_relations(run, {"labels": {"test": 2}})
        >>> read(run)["relations"]
        {'labels': {'validation': 1, 'test': 2}}
    """
    if not relations:
        return
    content = read(run)
    known = content.get("relations", {})
    merged = {
        name: {**known.get(name, {}), **value} if name in BY_SPLIT else value for name, value in relations.items()
    }
    run.save_json(FILE, {**content, "relations": {**known, **merged}})


def add_members(run: RunDirectory, names: Sequence[str], entry: Mapping[str, Any]) -> None:
    """Add the weights of the tasks' members after a validation; a resumed run replaces those that it repeats.

    Args:
        run: The run directory.
        names: Names of the members.
        entry: ``step`` and ``tasks``: per task the ``weights`` of its members, and the first metric of each ``alone``,
            with a minus sign where lower values are better.
    """
    content = read(run)
    earlier = [
        past for past in content.get("members", {"validations": []})["validations"] if past["step"] < entry["step"]
    ]
    run.save_json(FILE, {**content, "members": {"names": list(names), "validations": [*earlier, dict(entry)]}})


def _plain(values: Mapping[str, Any]) -> dict[str, float | None]:
    """Numbers for JSON, with None for NaN."""
    return {name: None if math.isnan(value) else float(value) for name, value in values.items()}
