"""An export as a model of MLflow's registry."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import command

mlflow = pytest.importorskip("mlflow")
pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them


def test_a_registered_export_predicts_like_predict(
    run: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    copy, out = shutil.copytree(run, tmp_path / "run"), tmp_path / "ads"
    # The run gets an MLflow run by sending the export to it, and the model belongs to that run.
    loggers = f"run.loggers=[{{name: mlflow, tracking_uri: '{uri}'}}]"
    pairs = ["calibrate=false", loggers, "artefacts=true", "register=mlflow:/ads", "--json"]
    assert command("export", f"run={copy}", f"out={out}", *pairs) == 0
    assert json.loads(capsys.readouterr().out)["registered"] == {"name": "ads", "version": 1}
    client = mlflow.MlflowClient()
    version = client.get_model_version("ads", "1")
    identity = json.loads((copy / "loggers.json").read_text())["mlflow"]["run_id"]
    assert version.run_id == identity
    assert client.get_logged_model(version.model_id).source_run_id == identity

    model = mlflow.pyfunc.load_model("models:/ads/1")
    predictions = model.predict(pq.read_table(log).to_pandas())
    assert command("predict", f"run={out}", f"data={log}", f"out={tmp_path / 'scores.parquet'}") == 0
    expected = pq.read_table(tmp_path / "scores.parquet").drop_columns(["row", "user_id"])
    assert list(predictions) == expected.column_names == model.metadata.signature.outputs.input_names()
    for name in predictions:
        np.testing.assert_allclose(predictions[name], expected[name].to_numpy(), atol=1e-6)
    assert set(model.metadata.signature.inputs.input_names()) == set(
        json.loads((out / "manifest.json").read_text())["columns"]
    )
    assert np.isfinite(model.predict(model.input_example)).to_numpy().all()
    assert len(model.predict(model.input_example.iloc[:0])) == 0


@pytest.mark.parametrize(
    ("target", "uri", "message"),
    [
        ("mlflow:/ads", "http://127.0.0.1:9", "MLflow can't be used"),
        ("mlflow:/ads", "", "set MLFLOW_TRACKING_URI"),
        ("mlflow:ads", "http://127.0.0.1:9", "write mlflow:/NAME"),
        ("csv:/ads", "http://127.0.0.1:9", "write mlflow:/NAME"),
        ("wandb:/ads", "http://127.0.0.1:9", "can't be registered in wandb"),
        ("mlfow:/ads", "http://127.0.0.1:9", "did you mean 'mlflow'"),
    ],
)
def test_what_can_not_be_registered_is_not_exported(
    target: str,
    uri: str,
    message: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert command("export", f"run={run}", f"out={tmp_path / 'x'}", f"register={target}") == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())
