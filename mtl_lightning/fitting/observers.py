"""Callbacks of a run: what is measured, reported and saved while it trains and is evaluated."""

from lightning.pytorch import Callback, LightningModule, Trainer

from mtl_lightning.analysis.affinity import AffinityCallback
from mtl_lightning.analysis.divergence import DivergenceCallback
from mtl_lightning.analysis.gradient_relations import RelationsCallback
from mtl_lightning.analysis.output_relations import OutputRelations
from mtl_lightning.config import Config
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.fitting.checkpointing import Checkpoints, RandomStates
from mtl_lightning.fitting.device_settings import DeviceSettings, trains_on_gpu
from mtl_lightning.fitting.warm_start import TableState, WarmStart
from mtl_lightning.plugins import registry
from mtl_lightning.report.evaluation.report import EvaluationReport, wanted
from mtl_lightning.report.training.relations import RelationsReport
from mtl_lightning.report.training.terminal import Terminal
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.interrupts import Signals
from mtl_lightning.runs.records.metrics import Record
from mtl_lightning.runs.records.resources import ResourcesReport


class EvaluationSignals(Callback):
    """Handles signals during an evaluation; Lightning's own handler would start a collective within another one.

    Args:
        signals: Where requests to stop arrive.

    Example:
        ``Trainer(callbacks=[EvaluationSignals(signals)])``
    """

    def __init__(self, signals: Signals) -> None:
        self.signals = signals

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the handlers after Lightning has installed its own."""
        self.signals.install()


def observers(
    config: Config,
    data: DataModule,
    run: RunDirectory | None,
    signals: Signals,
    start: WarmStart | None = None,
    *,
    quiet: bool = False,
) -> list[Callback]:
    """Callbacks of ``fit``, in the order in which Lightning calls them.

    Args:
        config: The configuration.
        data: Prepared data.
        run: The run directory; None on processes other than the first, which write nothing.
        signals: Where requests to stop arrive.
        start: The earlier run that this one is warm-started from.
        quiet: Print nothing.
    """
    cosines = RelationsCallback(config.run.relations) if config.run.relations else None
    affinity = AffinityCallback(config.run.affinity) if config.run.affinity != 0 else None
    progress = config.trainer.get("enable_progress_bar", True) is not False
    settings = DeviceSettings.of(config, gpu=trains_on_gpu(config.trainer))
    chosen = [
        *registry().callbacks(config.plain),
        RandomStates(),
        TableState(start) if start is not None else None,
        ResourcesReport(run),
        cosines,
        affinity,
        *evaluation_observers(config, data, run, signals, cosines, affinity, quiet=quiet),
        Terminal(show_progress=progress, patience=config.run.patience, quiet=quiet),
        Record(run),
        DivergenceCallback(config.run.divergence) if config.run.divergence else None,
        Checkpoints(
            run.checkpoints if run is not None else "",
            every_n_steps=settings.checkpoint_steps,
            every_seconds=settings.checkpoint_seconds,
            patience=config.run.patience,
            signals=signals,
        ),
    ]
    return [callback for callback in chosen if callback is not None]


def evaluation_observers(
    config: Config,
    data: DataModule,
    run: RunDirectory | None,
    signals: Signals,
    cosines: RelationsCallback | None = None,
    affinity: AffinityCallback | None = None,
    *,
    quiet: bool = False,
) -> list[Callback]:
    """Callbacks of an evaluation on the test split, by ``fit`` or by ``test``.

    Args:
        config: The configuration.
        data: Prepared data.
        run: The run directory; None on processes other than the first, which write nothing.
        signals: Where requests to stop arrive.
        cosines: Samples of gradients, taken while training.
        affinity: Samples of look-ahead steps, taken while training.
        quiet: Print nothing.
    """
    relations = OutputRelations()
    callbacks: list[Callback] = [
        EvaluationSignals(signals),
        relations,
        RelationsReport(relations, cosines, affinity, run, quiet=quiet),
    ]
    if wanted(config):
        callbacks.append(EvaluationReport(config, data, run, quiet=quiet))
    return callbacks
