"""What a run finds out about its tasks' relations: in ``metrics.json``, in TensorBoard and on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mtl_lightning.analysis.affinity import AffinityCallback
from mtl_lightning.analysis.gradient_relations import LEAST, RelationsCallback
from mtl_lightning.analysis.moments import matrix
from mtl_lightning.analysis.output_relations import OutputRelations
from mtl_lightning.printable import Console
from mtl_lightning.report.render.heatmap import Matrix, largest
from mtl_lightning.report.training.events import EventLog
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.records.metrics import add_relations

SHOWN = 10
"""Pairs on the terminal; the others are in ``metrics.json``."""


class RelationsReport(Callback):
    """Writes what other callbacks found, on the first process; in a spawned one, too, which keeps no state.

    Args:
        evaluated: Labels, predictions and gates.
        gradients: Cosines, or None if they aren't sampled.
        affinity: Look-ahead steps, or None if they aren't sampled.
        run: The run directory; set before training starts.

    Example:
        ``Trainer(callbacks=[look, cosines, RelationsReport(look, cosines)])``
    """

    def __init__(
        self,
        evaluated: OutputRelations,
        gradients: RelationsCallback | None = None,
        affinity: AffinityCallback | None = None,
        run: RunDirectory | None = None,
    ) -> None:
        self.evaluated, self.gradients, self.affinity, self.run = evaluated, gradients, affinity, run
        self._drawn = -1.0

    def found(self) -> dict[str, Any]:
        """All that is known by now, as in ``metrics.json``."""
        told: dict[str, Any] = {}
        if self.gradients is not None and self.gradients.relations is not None:
            told |= self.gradients.relations.summary()
        if self.affinity is not None and (affinity := self.affinity.summary()) is not None:
            told["affinity"] = affinity
        for kind in ("labels", "predictions", "gates"):
            parts = {split: part[kind] for split, part in self.evaluated.summary.items() if part[kind]}
            told |= {kind: parts} if parts else {}
        return told

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw the cosines of a new sample, with the Trainer's interval."""
        relations = self.gradients.relations if self.gradients is not None else None
        if relations is None or trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        samples = float(relations.steps.sum())
        if samples != self._drawn:
            self._drawn = samples
            _draw(trainer, "relations/cosine", relations.tasks, relations.tasks, matrix(relations.last))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw what the validation showed."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not trainer.is_global_zero:
            return
        found = self.found()
        for kind in ("labels", "predictions"):
            if (part := found.get(kind, {}).get("validation")) and len(part["tasks"]) > 1:
                _draw(trainer, f"relations/{kind}", part["tasks"], part["tasks"], part["correlation"])
                for log in _logs(trainer):
                    name = f"relations/{kind}/covariance"
                    log.log_table(name, part["tasks"], part["tasks"], part["covariance"], step=trainer.global_step)
        if pairs := found.get("pairs"):
            tasks = list(dict.fromkeys(task for pair in pairs for task in pair["tasks"]))
            _draw(trainer, "relations/conflicting", tasks, tasks, conflicting(tasks, pairs), least=0.0)
        if affinity := found.get("affinity"):
            _draw(trainer, "relations/affinity", affinity["tasks"], affinity["tasks"], affinity["relative"])
        for width, gates in by_width(found.get("gates", {}).get("validation", {})).items():
            means = [gate["mean"] for gate in gates.values()]
            _draw(
                trainer, f"relations/gates{width}", list(gates), experts(width), means, least=0.0, most=largest(means)
            )
            record = {
                f"relations/gate/{name}/{i}": weight
                for name, gate in gates.items()
                for i, weight in enumerate(gate["mean"])
            }
            for logger in trainer.loggers:
                logger.log_metrics(record, step=trainer.global_step)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record and print."""
        self._record(trainer)
        found = self.found()
        if trainer.is_global_zero and self.run is not None and (table := relations_table(found)) is not None:
            Console(highlight=False, emoji=False).print(table)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record what the test showed."""
        self._record(trainer)

    def _record(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and self.run is not None:
            add_relations(self.run, self.found())


def by_width(gates: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Gates that mix experts, by the number of experts: those of a number stand in one matrix.

    Example:
        >>> by_width({"click": {"mean": [0.5, 0.5], "evenness": 1.0}, "layer": {"mean": [0.2]}})
        {2: {'click': {'mean': [0.5, 0.5], 'evenness': 1.0}}}
    """
    found: dict[int, dict[str, Any]] = {}
    for name, gate in gates.items():
        if "evenness" in gate:
            found.setdefault(len(gate["mean"]), {})[name] = gate
    return found


def experts(count: int) -> list[str]:
    """Names of a gate's experts, in its own order."""
    return [f"e{i}" for i in range(count)]


def conflicting(tasks: Sequence[str], pairs: Sequence[Mapping[str, Any]]) -> list[list[float | None]]:
    """Share of samples in which the gradients of two tasks conflict, as a matrix; None of a task and itself.

    Example:
        >>> pair = {"tasks": ["click", "hide"], "cosine": -0.5, "conflicting": 0.75, "steps": 4}
        >>> conflicting(["click", "hide"], [pair])
        [[None, 0.75], [0.75, None]]
    """
    shares = {frozenset(pair["tasks"]): pair["conflicting"] for pair in pairs if pair["steps"]}
    return [[shares.get(frozenset((first, second))) for second in tasks] for first in tasks]


def _logs(trainer: Trainer) -> list[EventLog]:
    return [logger for logger in trainer.loggers if isinstance(logger, EventLog)]


def _draw(
    trainer: Trainer, name: str, rows: Sequence[str], columns: Sequence[str], values: Matrix, **colours: float
) -> None:
    for log in _logs(trainer):
        log.log_matrix(name, rows, columns, values, step=trainer.global_step, **colours)


def relations_table(found: Mapping[str, Any]) -> Group | None:
    """A row per pair of tasks, those first whose gradients oppose each other most; None if nothing was looked at.

    Whether gradients conflict is "yes" or "no" where the interval of the mean cosine has one sign, "unclear" where it
    has not, and "few" with too few samples.

    Args:
        found: :meth:`RelationsReport.found`.

    Example:
        >>> pair = {"tasks": ["click", "hide"], "cosine": -0.5, "conflicting": 1.0, "steps": 40}
        >>> pair |= {"interval": [-0.56, -0.44], "conflict": True}
        >>> affinity = {"tasks": ["click", "hide"], "relative": [[1.0, -0.25], [-0.5, 1.0]]}
        >>> Console(width=80).print(relations_table({"pairs": [pair], "affinity": affinity}))
        Task relations, samples of gradients: 40
                                             first  second
                                             helps   helps
        first  second     cosine  conflict  second   first
        ──────────────────────────────────────────────────
        click  hide    -0.50±.06       yes   -0.25   -0.50
    """
    columns: dict[str, dict[tuple[str, str], str]] = {}
    for kind, heading in (("labels", "labels"), ("predictions", "predicted")):
        part = found.get(kind, {}).get("validation")
        if part is not None:
            columns[heading] = _pairs(part["tasks"], part["correlation"])
    pairs = {(each["tasks"][0], each["tasks"][1]): each for each in found.get("pairs", ())}
    if pairs:
        known = {pair: each for pair, each in pairs.items() if each["steps"]}
        columns["cosine"] = {pair: _cosine(each) for pair, each in known.items()}
        columns["conflict"] = {pair: _conflict(each) for pair, each in known.items()}
    if affinity := found.get("affinity"):
        columns["first\nhelps\nsecond"] = _pairs(affinity["tasks"], affinity["relative"])
        turned = [list(row) for row in zip(*affinity["relative"], strict=True)]
        columns["second\nhelps\nfirst"] = _pairs(affinity["tasks"], turned)
    names = list(dict.fromkeys(pair for column in columns.values() for pair in column))
    if not names:
        return None
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("first", "second"):
        table.add_column(heading, vertical="bottom")
    for heading in columns:
        table.add_column(heading, justify="right", vertical="bottom")
    order = sorted(names, key=lambda pair: pairs[pair]["cosine"] if pair in columns.get("cosine", {}) else 2.0)
    for pair in order[:SHOWN]:
        table.add_row(*pair, *(column.get(pair, "–") for column in columns.values()))
    samples = max((each["steps"] for each in pairs.values()), default=0)
    title = f"Task relations{f', samples of gradients: {samples}' if samples else ''}"
    parts: list[RenderableType] = [Text(title, style="bold"), table]
    if "few" in columns.get("conflict", {}).values():
        few = f"few: fewer than {LEAST} samples say nothing about conflict; for more, lower run.relations"
        parts.append(Text(few, style="dim"))
    if len(names) > SHOWN:
        parts.append(Text(f"and {len(names) - SHOWN} further pairs in metrics.json", style="dim"))
    return Group(*parts)


def _cosine(pair: Mapping[str, Any]) -> str:
    """The mean with half the width of its interval, which is left out where it says nothing."""
    interval = pair.get("interval")
    half = (interval[1] - interval[0]) / 2 if interval else 1.0
    return f"{pair['cosine']:+.2f}" + (f"±{half:.2f}".replace("0.", ".") if half < 0.995 else "")


def _conflict(pair: Mapping[str, Any]) -> str:
    if pair["steps"] < LEAST:
        return "few"
    return {True: "yes", False: "no", None: "unclear"}[pair.get("conflict")]


def _pairs(tasks: Sequence[str], values: Matrix) -> dict[tuple[str, str], str]:
    return {
        (tasks[i], tasks[j]): "–" if (value := values[i][j]) is None else f"{value:+.2f}"
        for i in range(len(tasks))
        for j in range(i + 1, len(tasks))
    }
