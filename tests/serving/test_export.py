"""Contents of an export, and that it scores raw rows as its run does."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from commands import command

from mtl_lightning.build import build_network
from mtl_lightning.data.preparation.prepared import Transforms
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.export.formula import calibrate
from mtl_lightning.export.graph import inputs_of
from mtl_lightning.export.manifest import Manifest
from mtl_lightning.export.tensors import load_weights

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them


def test_scores_are_the_runs(run: Path, export: Path, log: Path, tmp_path: Path) -> None:
    assert command("predict", f"run={run}", f"data={log}", f"out={tmp_path / 'run.parquet'}") == 0
    assert command("predict", f"run={export}", f"data={log}", f"out={tmp_path / 'export.parquet'}") == 0
    expected, result = pq.read_table(tmp_path / "run.parquet"), pq.read_table(tmp_path / "export.parquet")
    program = torch.export.load(export / "model.pt2").module()
    batch = Transforms.load(export / "transforms.json").encode(pq.read_table(log))
    names = [item["name"] for item in Manifest.open(export).inputs]
    with torch.no_grad():
        traced = program({name: value for name, value in inputs_of(batch).items() if name in names})
    for task in ("click", "conversion", "dwell"):
        values = expected[task].to_numpy()
        np.testing.assert_allclose(result[task].to_numpy(), values, atol=1e-5, rtol=1e-6)
        np.testing.assert_allclose(traced[task].numpy(), values, atol=1e-5, rtol=1e-6)
    score = expected["click"].to_numpy() * expected["conversion"].to_numpy() ** 0.5
    np.testing.assert_allclose(result["score"].to_numpy(), score, atol=1e-5)
    assert result["row"].equals(expected["row"])
    assert result["user_id"].equals(expected["user_id"])


def test_weights_load_into_the_network_that_the_manifest_names(export: Path, log: Path) -> None:
    manifest = Manifest.open(export)
    network = build_network(manifest.fitted, **manifest.components)
    network.load_state_dict(load_weights(export), strict=True)
    bundle = Bundle.open(export)
    rows = pq.read_table(log).slice(0, 50)
    with torch.no_grad():
        expected = network.eval()(bundle.transforms.encode(rows))
    result, score = bundle.score(rows.to_pydict(), rows.num_rows)
    for task, values in expected.items():
        np.testing.assert_allclose(result[task], values.numpy(), atol=1e-5, rtol=1e-6)
    assert score is not None
    assert score.shape == (50,)


def test_the_manifest_says_what_goes_in_and_what_comes_out(export: Path) -> None:
    manifest = json.loads((export / "manifest.json").read_text())
    assert manifest["score"] == "p_click * p_conversion ^ 0.5"
    assert manifest["columns"]["item_id"] == ["item_id"]
    assert "position" in manifest["columns"]
    assert not any(name.startswith("oracle") for name in manifest["columns"])
    assert manifest["outputs"]["click"] == {"name": "prediction/click", "kind": "binary", "width": 1}
    assert set(manifest["files"]) == {path.name for path in export.iterdir()} - {"manifest.json"}


def test_calibration_is_measured_on_validation(export: Path) -> None:
    calibration = Manifest.open(export).calibration
    click = calibration["click"]
    groups = click["reliability"]
    assert sum(group["rows"] for group in groups) == pytest.approx(click["rows"]) == pytest.approx(300)
    mean = sum(group["rows"] * group["observed"] for group in groups) / click["rows"]
    assert mean == pytest.approx(click["observed"])
    assert set(calibration["dwell"]) == {"rows", "predicted", "observed"}
    # Calibrated predictions have the observed mean: that is what the second of the two numbers is for.
    predicted = np.array([group["predicted"] for group in groups])
    corrected = calibrate(predicted, click)
    weights = [group["rows"] for group in groups]
    assert np.average(corrected, weights=weights) == pytest.approx(click["observed"], rel=0.1)


def test_parts_are_calibrated_in_files_and_in_requests_alike(run: Path, log: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "parts", tmp_path / "scores.parquet"
    pairs = [f"run={run}", f"out={out}", "calibrate=spline", "calibrate_by=device", "score=calibrated_click"]
    assert command("export", *pairs) == 0
    record = Manifest.open(out).calibration["click"]
    assert record["points"] == sorted(record["points"])
    assert record["parts"]["feature"] == "device"
    assert command("predict", f"run={out}", f"data={log}", f"out={file}") == 0
    scores = pq.read_table(file)
    bundle, rows = Bundle.open(out), pq.read_table(log).slice(0, 50)
    _, served = bundle.score(rows.to_pydict(), rows.num_rows)
    np.testing.assert_allclose(served, scores["score"].to_numpy()[:50], atol=1e-6)
    ids = bundle.transforms.encode(rows).id("device").numpy()
    np.testing.assert_allclose(served, calibrate(scores["click"].to_numpy()[:50], record, ids), atol=1e-6)


def test_pt2_holds_no_pickled_objects(export: Path) -> None:
    with zipfile.ZipFile(export / "model.pt2") as archive:
        for name in archive.namelist():
            assert not archive.read(name).startswith((b"\x80\x02", b"PK")), name


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (["score=p_clik"], "did you mean 'p_click'"),
        (["score=__import__('os')"], "no function '__import__'"),
        (["score=p_click.real"], "is not allowed"),
        (["score='a' + p_click"], "score"),
        (["calibrate=perhaps"], "one of true, false, platt, isotonic, spline"),
        (["calibrate_by=devise"], "calibrate_by: no feature 'devise' with one id per row"),
        (["calibrate=false", "calibrate_by=device"], "exclude each other"),
        (["scor=1"], "did you mean 'score'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], pairs: list[str], expected: str
) -> None:
    assert command("export", f"run={run}", f"out={tmp_path / 'x'}", *pairs) == 2
    assert expected in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_not_overwritten(run: Path, export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("export", f"run={run}", f"out={export}") == 2
    assert "exists already" in capsys.readouterr().err
