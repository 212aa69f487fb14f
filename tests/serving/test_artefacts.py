"""An export as an artefact of its run's trackers."""

import shutil
from pathlib import Path

import pytest
from commands import command

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them


def test_an_export_goes_to_the_run_of_its_tracker(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    copy, uri = shutil.copytree(run, tmp_path / "run"), (tmp_path / "mlruns").as_uri()
    out = tmp_path / "ads"
    loggers = f"run.loggers=[{{name: mlflow, tracking_uri: '{uri}'}}]"
    assert command("export", f"run={copy}", f"out={out}", "calibrate=false", "artefacts=true", loggers) == 0
    client = mlflow.MlflowClient(uri)
    (recorded,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert recorded.info.status == "FINISHED"
    stored = {Path(item.path).name for item in client.list_artifacts(recorded.info.run_id, "exports/ads")}
    assert stored == {path.name for path in out.iterdir()}


def test_a_run_without_a_tracker_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("export", f"run={run}", f"out={tmp_path / 'x'}", "artefacts=true") == 2
    assert "has no tracker" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
