"""Every recipe is right as it ships, and runs every command; real sets are fetched with ``-m network``."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from mtl_lightning.cli.app import main
from mtl_lightning.config import Config, compose, recipe_text, validate
from mtl_lightning.data.readers.blocks import ROW
from mtl_lightning.data.sources.wheel_source import WheelSource
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.export.graph import inputs_of
from mtl_lightning.plugins import registry
from mtl_lightning.predictions import Predictor
from mtl_lightning.runs.directory import RunDirectory

ABSTRACT = {"base"}
"""Recipes that only others extend."""
OWN = [name for name, entry in registry().entries("recipe") if entry.distribution == "mtl-lightning"]
COMPLETE = [name for name in OWN if name not in ABSTRACT]
SIMULATED = [name for name in COMPLETE if compose(name).plain["source"]["name"] == "simulator"]
HISTORIES = [
    name
    for name in SIMULATED
    if any(feature["kind"] == "history" for feature in compose(name).plain["features"].values())
]
"""Recipes that ``predict`` refuses for a log, because it does not build histories; an export serves them."""
FETCHED = [
    name
    for name in COMPLETE
    if issubclass(registry().resolve("source", compose(name).plain["source"]["name"]), WheelSource)
]


@pytest.mark.parametrize("name", COMPLETE)
def test_a_recipe_is_right_and_reads_like_a_page(name: str) -> None:
    config = validate(compose(name).plain)
    assert validate(config.plain) == config
    sections = [line.split(":")[0] for line in recipe_text(name).text.splitlines() if line[:1].isalpha()]
    page = ["extends", "source", "split", "features", "tasks", "encoder", "architecture", "heads", "weighter"]
    result = [section for section in sections if section in page]
    assert result == [section for section in page if section in result]
    assert {"source", "features", "tasks", "architecture", "weighter"} <= set(result)


def export_agrees(run: Path, folder: Path, predictions: Path) -> None:
    """Export a run and compare scores of raw rows: onnxruntime and torch.export with the run's own."""
    out, config = folder / "export", load_config(run)
    with pytest.raises(SystemExit) as end:
        main(["export", f"run={run}", f"out={out}"])
    assert not end.value.code
    bundle = Bundle.open(out)
    program = torch.export.load(out / "model.pt2").module()
    predictor = Predictor.of_run(RunDirectory.open(run), config)
    rows = next(predictor.rows()[1]).slice(0, 300)
    inputs = {name: value for name, value in inputs_of(bundle.transforms.encode(rows)).items() if name in bundle.inputs}
    with torch.no_grad():
        traced = program(inputs)
    result, _ = bundle.score(rows.to_pydict(), rows.num_rows)
    expected = pq.read_table(predictions).slice(0, 300)
    assert expected["row"].to_pylist() == rows[ROW].to_pylist()
    for task, values in result.items():
        wanted = np.array(expected[task].to_pylist())
        np.testing.assert_allclose(values, wanted, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(traced[task].numpy(), wanted, atol=1e-5, rtol=1e-5)


def load_config(run: Path) -> Config:
    """The configuration of a run."""
    return validate(compose(str(run / "config.yaml")).plain)


def fit_and_test(name: str, folder: Path, *pairs: str) -> Path:
    """Run the two commands in a directory of their own, and return the run."""
    run = folder / "run"
    fit = ["fit", f"recipe={name}", f"run.dir={run}", f"data.cache_dir={folder / 'cache'}", "trainer.max_epochs=1"]
    for arguments in ([*fit, *pairs], ["test", f"run={run}"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert not end.value.code
    tasks = compose(name).plain["tasks"]
    metrics = json.loads((run / "metrics.json").read_text())["test"]["metrics"]
    assert {task for task in tasks if any(task in metric for metric in metrics)} == set(tasks)
    return run


def fit_test_predict(name: str, folder: Path, *pairs: str) -> None:
    """Run the three commands in a directory of their own."""
    run, out = fit_and_test(name, folder, *pairs), folder / "predictions.parquet"
    with pytest.raises(SystemExit) as end:
        main(["predict", f"run={run}", f"out={out}"])
    assert not end.value.code
    assert pq.read_table(out).num_rows > 0
    export_agrees(run, folder, out)


@pytest.mark.parametrize("name", [name for name in SIMULATED if name not in HISTORIES])
def test_a_simulated_recipe_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fit_test_predict(name, tmp_path, "source.rows=6000", "data.batch_size=512")


@pytest.mark.parametrize(
    "name", [HISTORIES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in HISTORIES[1:])]
)
def test_a_simulated_recipe_with_histories_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = fit_and_test(name, tmp_path, "source.rows=3000", "data.batch_size=512")
    with pytest.raises(SystemExit) as end:
        main(["predict", f"run={run}", "out=predictions.parquet"])
    assert end.value.code == 2
    assert "predict does not build histories" in capsys.readouterr().err


@pytest.mark.network
@pytest.mark.parametrize("name", FETCHED)
def test_a_recipe_of_a_public_set_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["data", "fetch", compose(name).plain["source"]["name"]])
    assert not end.value.code
    fit_test_predict(name, tmp_path)
