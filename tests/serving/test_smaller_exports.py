"""Compressed exports and averages of runs, through the commands."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from commands import command

from mtl_lightning.errors import MtlError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.export.ensemble import average
from mtl_lightning.export.manifest import Manifest
from mtl_lightning.task_kinds import TASK_KINDS

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them


@pytest.fixture(scope="session")
def second(run: Path, folder: Path) -> Path:
    """A run of the same recipe with another seed."""
    pairs = ["recipe=ads", "source.rows=3000", "data.batch_size=512", "trainer.max_epochs=1", "architecture.experts=2"]
    pairs += ["seed=7", f"run.dir={folder / 'second'}", f"data.cache_dir={folder / 'cache'}"]
    assert command("fit", *pairs) == 0
    return folder / "second"


@pytest.fixture(scope="module")
def small(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compressed export."""
    out = tmp_path_factory.mktemp("small") / "small"
    types = ["tables=int8", "dense=int8", "max_auc_loss=0.05"]
    assert command("export", f"run={run}", f"out={out}", "calibrate=false", *types) == 0
    return out


def test_a_compressed_export_is_measured_and_scores(small: Path, export: Path, log: Path) -> None:
    manifest = Manifest.open(small)
    graphs = manifest.compressed["graphs"]
    assert [graph["name"] for graph in graphs] == ["float32", "tables=int8", "dense=int8", "tables=int8 dense=int8"]
    assert manifest.compressed["rows"] == 300
    sizes = [graph["bytes"] for graph in graphs]
    assert sizes[3] < min(sizes[1:3]) < max(sizes[1:3]) < sizes[0]
    stored = sum(file["bytes"] for name, file in manifest.files.items() if name.startswith("model.onnx"))
    assert stored == sizes[3]
    for graph in graphs:
        assert graph["milliseconds"] > 0
        assert set(graph["auc"]) == {"click", "conversion"}
    assert graphs[0]["auc"]["click"] - graphs[3]["auc"]["click"] <= 0.05
    rows = pq.read_table(log).slice(0, 100)
    result, whole = (Bundle.open(path).score(rows.to_pydict(), 100)[0] for path in (small, export))
    assert 0 < np.abs(result["click"] - whole["click"]).max() < 0.05
    assert "compressed" not in json.loads((export / "manifest.json").read_text())


def test_a_damaged_record_of_compression_is_refused(small: Path, tmp_path: Path) -> None:
    out = shutil.copytree(small, tmp_path / "small")
    path = out / "manifest.json"
    state = json.loads(path.read_text())
    for wrong in ({"tables": 3}, {"graphs": [{}]}, {"more": 1}):
        path.write_text(json.dumps({**state, "compressed": {**state["compressed"], **wrong}}))
        with pytest.raises(MtlError, match="compressed"):
            Manifest.open(out)


def test_an_export_of_two_runs_has_their_average(
    run: Path, export: Path, second: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pq.read_table(log).slice(0, 200)
    assert command("export", f"run={second}", f"out={tmp_path / 'second'}", "calibrate=false") == 0
    members = [Bundle.open(path).score(rows.to_pydict(), 200)[0] for path in (export, tmp_path / "second")]
    both = tmp_path / "both"
    capsys.readouterr()
    assert command("export", f"run={run},{second}", f"out={both}", "--json") == 0
    assert json.loads(capsys.readouterr().out)["graphs"] == []
    bundle = Bundle.open(both)
    result, score = bundle.score(rows.to_pydict(), 200)
    for task, kind in (("click", "binary"), ("conversion", "binary"), ("dwell", "regression")):
        values = torch.from_numpy(np.stack([member[task] for member in members]))
        expected = average(values, TASK_KINDS[kind]).numpy()
        np.testing.assert_allclose(result[task], expected, rtol=1e-4, atol=1e-6)
    assert score is not None
    assert len(bundle.manifest.components["average"]) == 2
    assert bundle.manifest.calibration["click"]["rows"] == pytest.approx(300)


def test_runs_that_differ_are_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    path = other / "transforms" / "transforms.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fitted_on": "other rows"}))
    capsys.readouterr()
    assert command("export", f"run={run},{tmp_path / 'other'}", f"out={tmp_path / 'x'}") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "differ in transforms.fitted_on: 'nothing' and 'other rows'" in error
    assert "equal tasks and inputs" in error
    assert command("export", f"run={run},{run}", f"out={tmp_path / 'x'}") == 2
    assert "different run directories" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("tables=int4", "one of float32, float16, int8"),
        ("dense=float16", "one of float32, int8"),
        ("max_auc_loss=-1", "at least 0"),
    ],
)
def test_wrong_arguments(
    run: Path, tmp_path: Path, pair: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("export", f"run={run}", f"out={tmp_path / 'x'}", pair) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_graph_is_measured_and_scores(run: Path, log: Path, tmp_path: Path) -> None:
    out = tmp_path / "compiled"
    assert command("export", f"run={run}", f"out={out}", "compiled=true", "tables=float16", "calibrate=false") == 0
    manifest = Manifest.open(out)
    graphs = {graph["name"]: graph for graph in manifest.compressed["graphs"]}
    assert list(graphs) == ["float32", "aotinductor", "tables=float16"]
    assert graphs["aotinductor"]["bytes"] == manifest.files["model.aoti.pt2"]["bytes"]
    assert graphs["aotinductor"]["auc"] == pytest.approx(graphs["float32"]["auc"], abs=1e-6)
    bundle = Bundle.open(out)
    parts = bundle.encoder.encode(pq.read_table(log).slice(0, 100).to_pydict(), 100)
    model = torch._inductor.aoti_load_package(str(out / "model.aoti.pt2"))
    with torch.inference_mode():
        compiled = model({item["name"]: torch.from_numpy(parts[item["name"]]) for item in manifest.inputs})
    program = torch.export.load(out / "model.pt2").module()
    with torch.no_grad():
        expected = program({item["name"]: torch.from_numpy(parts[item["name"]]) for item in manifest.inputs})
    for task, values in expected.items():
        torch.testing.assert_close(compiled[task], values, atol=1e-5, rtol=1e-5)


def test_an_export_without_a_compiler_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise RuntimeError("No working C++ compiler found in g++\nmore")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", missing)
    assert command("export", f"run={run}", f"out={tmp_path / 'x'}", "compiled=true", "calibrate=false") == 2
    assert "compiled: the graph can't be compiled: No working C++ compiler found in g++" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
