"""Report of relations between tasks, in ``metrics.json``, in TensorBoard and on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from rich.console import Group, RenderableType
from rich.text import Text

from mtl_lightning.analysis.affinity import AffinityCallback
from mtl_lightning.analysis.gradient_relations import LEAST, RelationsCallback
from mtl_lightning.analysis.moments import matrix
from mtl_lightning.analysis.output_relations import OutputRelations
from mtl_lightning.printable import Console
from mtl_lightning.report.render.heatmap import Matrix, largest
from mtl_lightning.report.render.tables import plain_table
from mtl_lightning.report.training.events import EventLog
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.records.metrics import add_relations

SHOWN = 10
"""Number of pairs on the terminal; all pairs are in ``metrics.json``."""


class RelationsReport(Callback):
    """Writes the results of other callbacks on the first process.

    It is a callback itself, because a spawned process does not return its state.

    Args:
        evaluated: Relations of labels and predictions, and gates.
        gradients: Cosines of gradients, or None if they are not sampled.
        affinity: Effects of look-ahead steps, or None if they are not sampled.
        run: The run directory; without one nothing is written or printed.
        quiet: Print nothing.

    Example:
        ``Trainer(callbacks=[outputs, cosines, RelationsReport(outputs, cosines)])``
    """

    def __init__(
        self,
        evaluated: OutputRelations,
        gradients: RelationsCallback | None = None,
        affinity: AffinityCallback | None = None,
        run: RunDirectory | None = None,
        *,
        quiet: bool = False,
    ) -> None:
        self.evaluated, self.gradients, self.affinity, self.run = evaluated, gradients, affinity, run
        self.quiet = quiet
        self._logged_samples = -1.0

    def summary(self) -> dict[str, Any]:
        """Results so far, as in ``metrics.json``."""
        summary: dict[str, Any] = {}
        if self.gradients is not None and self.gradients.relations is not None:
            summary |= self.gradients.relations.summary()
        if self.affinity is not None and (affinity := self.affinity.summary()) is not None:
            summary["affinity"] = affinity
        for kind in ("labels", "predictions", "gates"):
            parts = {split: part[kind] for split, part in self.evaluated.summary.items() if part[kind]}
            summary |= {kind: parts} if parts else {}
        return summary

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the cosines of a new sample, at the Trainer's logging interval."""
        relations = self.gradients.relations if self.gradients is not None else None
        if relations is None or trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        samples = float(relations.steps.sum())
        if samples != self._logged_samples:
            self._logged_samples = samples
            _draw(trainer, "relations/cosine", relations.tasks, relations.tasks, matrix(relations.last))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the relations observed in the validation."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not trainer.is_global_zero:
            return
        summary = self.summary()
        for kind in ("labels", "predictions"):
            if (part := summary.get(kind, {}).get("validation")) and len(part["tasks"]) > 1:
                _draw(trainer, f"relations/{kind}", part["tasks"], part["tasks"], part["correlation"])
                for log in _logs(trainer):
                    name = f"relations/{kind}/covariance"
                    log.log_table(name, part["tasks"], part["tasks"], part["covariance"], step=trainer.global_step)
        if pairs := summary.get("pairs"):
            tasks = list(dict.fromkeys(task for pair in pairs for task in pair["tasks"]))
            _draw(trainer, "relations/conflicting", tasks, tasks, conflicting(tasks, pairs), least=0.0)
        if affinity := summary.get("affinity"):
            _draw(trainer, "relations/affinity", affinity["tasks"], affinity["tasks"], affinity["relative"])
        for width, gates in by_width(summary.get("gates", {}).get("validation", {})).items():
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
        """Record and print all relations."""
        self._record(trainer)
        summary = self.summary()
        if trainer.is_global_zero and self.run is not None and (table := relations_table(summary)) is not None:
            Console(highlight=False, emoji=False, quiet=self.quiet).print(table)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the relations observed in the test."""
        self._record(trainer)

    def _record(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and self.run is not None:
            add_relations(self.run, self.summary())


def by_width(gates: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Gates that mix experts, by number of experts; gates of the same number form a matrix.

    Example:
        >>> by_width({"click": {"mean": [0.5, 0.5], "evenness": 1.0}, "layer": {"mean": [0.2]}})
        {2: {'click': {'mean': [0.5, 0.5], 'evenness': 1.0}}}
    """
    gates_by_width: dict[int, dict[str, Any]] = {}
    for name, gate in gates.items():
        if "evenness" in gate:
            gates_by_width.setdefault(len(gate["mean"]), {})[name] = gate
    return gates_by_width


def experts(count: int) -> list[str]:
    """Names of the experts of a gate, in order."""
    return [f"e{i}" for i in range(count)]


def conflicting(tasks: Sequence[str], pairs: Sequence[Mapping[str, Any]]) -> list[list[float | None]]:
    """Matrix of the share of samples in which the gradients of two tasks conflict; None on the diagonal.

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


def relations_table(summary: Mapping[str, Any]) -> Group | None:
    """Table with a row per pair of tasks, the most opposed gradients first; None if nothing was observed.

    The column "conflict" is "yes" or "no" if the interval of the mean cosine excludes zero, "unclear" if it includes
    zero, and "few" with too few samples.

    Args:
        summary: :meth:`RelationsReport.summary`.

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
        part = summary.get(kind, {}).get("validation")
        if part is not None:
            columns[heading] = _pairs(part["tasks"], part["correlation"])
    pairs = {(facts["tasks"][0], facts["tasks"][1]): facts for facts in summary.get("pairs", ())}
    if pairs:
        known = {pair: facts for pair, facts in pairs.items() if facts["steps"]}
        columns["cosine"] = {pair: _cosine(facts) for pair, facts in known.items()}
        columns["conflict"] = {pair: _conflict(facts) for pair, facts in known.items()}
    if affinity := summary.get("affinity"):
        columns["first\nhelps\nsecond"] = _pairs(affinity["tasks"], affinity["relative"])
        transposed = [list(row) for row in zip(*affinity["relative"], strict=True)]
        columns["second\nhelps\nfirst"] = _pairs(affinity["tasks"], transposed)
    names = list(dict.fromkeys(pair for column in columns.values() for pair in column))
    if not names:
        return None
    table = plain_table(["first", "second"], columns)
    order = sorted(names, key=lambda pair: pairs[pair]["cosine"] if pair in columns.get("cosine", {}) else 2.0)
    for pair in order[:SHOWN]:
        table.add_row(*pair, *(column.get(pair, "–") for column in columns.values()))
    samples = max((facts["steps"] for facts in pairs.values()), default=0)
    title = f"Task relations{f', samples of gradients: {samples}' if samples else ''}"
    parts: list[RenderableType] = [Text(title, style="bold"), table]
    if "few" in columns.get("conflict", {}).values():
        few = f"few: fewer than {LEAST} samples are too few to judge conflict; lower run.relations for more"
        parts.append(Text(few, style="dim"))
    if len(names) > SHOWN:
        parts.append(Text(f"and {len(names) - SHOWN} further pairs in metrics.json", style="dim"))
    return Group(*parts)


def _cosine(pair: Mapping[str, Any]) -> str:
    """Mean cosine ± half the width of its interval; the width is left out if it is 1 or more."""
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
