"""The command ``test``: a run's best weights on its test split."""

from collections.abc import Sequence

from mtl_lightning.cli.run_arguments import open_run
from mtl_lightning.errors import MtlError
from mtl_lightning.ranks import process_rank
from mtl_lightning.report.render.console import first_console, say


def test(pairs: Sequence[str]) -> None:
    """Evaluate a run on its test split and record that it was done.

    Args:
        pairs: ``run=<run directory>`` and settings that change.

    Raises:
        MtlError: If the run can't be opened, or there is no test split.
    """
    console = first_console()
    opened = open_run("test", pairs, ["run"], [], console)

    from lightning.pytorch import Callback

    from mtl_lightning.analysis.detailed_evaluation import space
    from mtl_lightning.analysis.output_relations import OutputRelations
    from mtl_lightning.build import build_data, module_from_config
    from mtl_lightning.fitting.children import leave
    from mtl_lightning.fitting.trainer import build_trainer
    from mtl_lightning.report.evaluation.report import EvaluationReport, wanted
    from mtl_lightning.report.render.tables import metrics_table
    from mtl_lightning.report.training.relations import RelationsReport
    from mtl_lightning.report.training.terminal import quiet_lightning
    from mtl_lightning.runs.checkpoint import AtomicCheckpointIO
    from mtl_lightning.runs.records.metrics import add_test
    from mtl_lightning.runs.resumption import Expectation, restoring, unrestored

    quiet_lightning()
    data = build_data(opened.config, opened.run)
    data.prepare()
    if not len(data.prepared.stores.get("test", ())):
        raise MtlError("there is no test split", "set split.test")
    module = module_from_config(opened.config, data.schema)
    relations = OutputRelations()
    looks: list[Callback] = [relations, RelationsReport(relations, run=opened.run)]
    if wanted(opened.config):
        looks.append(EvaluationReport(opened.config, data, opened.run))
    checkpoint_io = AtomicCheckpointIO()
    trainer = build_trainer(opened.config, callbacks=looks, checkpoint_io=checkpoint_io)
    checkpoint_io.expect = Expectation(module, trainer)
    weights = opened.run.weights()
    try:
        results = trainer.test(module, datamodule=data, ckpt_path=weights, weights_only=True, verbose=False)
    except Exception as error:
        if restoring(trainer) and not isinstance(error, MtlError):
            raise unrestored(weights, error) from error
        raise
    leave()
    if process_rank() > 0:
        return
    spaces = {task.name: space(task) for task in data.schema.tasks}
    console.print(metrics_table(results[0], "test", f"Test, {weights.name}", spaces))
    count = add_test(opened.run, results[0], weights.name, spaces)
    if count > 1:
        say(console, f"evaluated {count} times by now: choose between runs on validation, not on this", "yellow")
