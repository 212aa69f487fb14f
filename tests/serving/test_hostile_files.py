"""Exports and runs with files that read others, wait, or hold what no run writes: refused when they are opened."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from commands import command
from external_data import SECRET, in_constant, in_function, outside

from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO, CheckpointError
from mtl_lightning.runs.directory import RunDirectory

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them


@pytest.fixture
def copy(export: Path, tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET.tobytes())
    return Path(shutil.copytree(export, tmp_path / "copy"))


@pytest.fixture
def other(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, with a checkpoint before the last."""
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.copy(copied / "checkpoints" / "last.ckpt", copied / "checkpoints" / "previous.ckpt")
    return copied


def edit(folder: Path, change: Callable[[dict[str, Any]], Any], name: str = "manifest.json") -> None:
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


def sign(folder: Path, name: str) -> None:
    """Make the manifest agree with a changed file."""
    content = (folder / name).read_bytes()
    report = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit(folder, lambda m: m["files"].update({name: report}))


def change_model(folder: Path, change: Callable[[onnx.ModelProto], Any]) -> None:
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    change(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    sign(folder, "model.onnx")


def price(state: dict[str, Any]) -> dict[str, Any]:
    fitted: dict[str, Any] = state["features"]["price"]["fitted"]
    return fitted


def item(state: dict[str, Any]) -> dict[str, Any]:
    fitted: dict[str, Any] = state["features"]["item_id"]["fitted"]
    return fitted


@pytest.mark.parametrize("name", ["../secret", "other.bin"])
def test_a_function_that_reads_another_file(copy: Path, name: str) -> None:
    (copy / "other.bin").write_bytes(SECRET.tobytes())
    change_model(copy, lambda model: in_function(model, outside(name)))
    with pytest.raises(MtlError, match="has a function, which no export has"):
        Bundle.open(copy)
    change_model(copy, lambda model: [model.ClearField("functions"), in_constant(model, outside(name))])
    with pytest.raises(MtlError, match=r"is in '.*', not in"):
        Bundle.open(copy)


def test_tensors_of_a_file_that_the_manifest_does_not_list(copy: Path) -> None:
    edit(copy, lambda m: m["files"].pop("model.onnx.data"))
    with pytest.raises(MtlError, match=r"model\.onnx\.data, which the manifest does not list"):
        Bundle.open(copy)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "transforms.json", "model.onnx.data"])
def test_a_named_pipe_in_an_export(copy: Path, name: str) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(MtlError, match=r"a named pipe|is not a file"):
        Bundle.open(copy)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: m["inputs"][1].update(shape=0), r"inputs\[1\]\.shape is 0, not a list"),
        (lambda m: m["inputs"][1].update(shape=[]), r"inputs\[1\]\.shape: the number of its values"),
        (lambda m: m["inputs"][0].update(dtype="object"), r"inputs\[0\]\.dtype is 'object'"),
        (lambda m: m.update(calibration=[]), "calibration is a list of 0, not a mapping"),
        (lambda m: m.update(calibration={"click": {"rows": 1, "a": 1.0}}), "calibration.click has 'a' or 'b' alone"),
        (lambda m: m["calibration"]["click"].update(a=float("nan")), "calibration.click.a is nan, not a finite number"),
        (lambda m: m.update(calibration={"clik": {"rows": 1}}), "calibration of 'clik'"),
        (lambda m: m["outputs"]["click"].update(width=2), "other outputs than its tasks"),
        (lambda m: m["columns"].update(more=[]), "other columns"),
        (lambda m: m["columns"].pop("item_id"), "other columns"),
        (lambda m: m.update(plugins=[1]), "plugins is a list of 1, not a mapping"),
        (lambda m: m.update(recipe="\ud800"), "not valid Unicode"),
        (lambda m: [m.clear(), m.update(a=1)], "not a manifest of format"),
    ],
)
def test_a_manifest_of_wrong_types(copy: Path, change: Callable[[dict[str, Any]], Any], match: str) -> None:
    edit(copy, change)
    with pytest.raises(MtlError, match=match):
        Bundle.open(copy)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: price(t).update(mean="x"), "features.price.fitted.mean is 'x', not a number"),
        (lambda t: price(t).update(scale=0), "features.price.fitted.scale is 0, and must be above 0"),
        (lambda t: price(t).update(mean=float("inf")), "mean is inf, not a finite number"),
        (lambda t: price(t)["edges"].reverse(), "edges is a list of .*, not in ascending order"),
        (lambda t: t["features"]["price"].update(minimum="low"), "features.price.minimum is 'low'"),
        (lambda t: item(t).update(keys=[1, 1]), "1 is listed twice"),
        (lambda t: item(t).update(keys=[1, "x"]), r"keys\[1\] is 'x', not an integer"),
        (lambda t: item(t).update(keys=[2**70]), "64 bits"),
        (lambda t: t["features"]["history"].update(length=10**12), "features.history.length is 10+, not at most"),
        (lambda t: t["features"]["hour"].update(fitted=json.loads("[" * 100 + "]" * 100)), "deeper than 64 levels"),
        (lambda t: t["tasks"][0].update(scale=0.0), "scale is 0.0, not above 0"),
        (lambda t: t["tasks"].reverse(), "parents is 'click', not a task before it"),
        (lambda t: t.update(group=[1]), "group is a list of 1"),
    ],
)
def test_transforms_of_wrong_types(other: Path, change: Callable[[dict[str, Any]], Any], match: str) -> None:
    path = RunDirectory(other).transforms
    edit(path.parent, change, path.name)
    with pytest.raises(DataError, match=match):
        Transforms.load(path)
    assert command("predict", f"run={other}", "data=none.parquet", f"out={other / 'p.parquet'}") == 2


def test_features_that_unfold_without_end(other: Path) -> None:
    path = RunDirectory(other).transforms

    def grow(state: dict[str, Any]) -> None:
        before = "item_id"
        for number in range(40):
            name = f"c{number}"
            state["features"][name] = {"kind": "cross", "of": [before, before], "size": 9, "fitted": {}}
            before = name

    edit(path.parent, grow, path.name)
    with pytest.raises(DataError, match="unfolds to"):
        Transforms.load(path)


def nothing(checkpoint: dict[str, Any]) -> None:
    checkpoint["optimizer_states"] = []


def no_moments(checkpoint: dict[str, Any]) -> None:
    checkpoint["optimizer_states"][0]["optimizers"][0]["state"] = {}


def not_finite(checkpoint: dict[str, Any]) -> None:
    next(iter(checkpoint["state_dict"].values())).view(-1)[0] = torch.nan


def a_short_moment(checkpoint: dict[str, Any]) -> None:
    moments = checkpoint["optimizer_states"][0]["optimizers"][0]["state"][0]
    moments["exp_avg"] = moments["exp_avg"][:-1].clone()


def no_schema(checkpoint: dict[str, Any]) -> None:
    del checkpoint["mtl_lightning"]


def a_list_of_loops(checkpoint: dict[str, Any]) -> None:
    checkpoint["loops"]["fit_loop"]["epoch_progress"] = [1]


def itself(checkpoint: dict[str, Any]) -> None:
    checkpoint["callbacks"]["loop"] = checkpoint["callbacks"]


DAMAGES = [nothing, no_moments, not_finite, a_short_moment, no_schema, a_list_of_loops, itself]


def damage(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)


@pytest.mark.parametrize("change", [nothing, not_finite])
def test_a_damaged_last_checkpoint_gives_way_when_a_run_goes_on(
    other: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    damage(other / "checkpoints" / "last.ckpt", change)
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged .* continuing with previous\.ckpt"):
        assert command("fit", f"resume={other}", "run.test=false") == 0
    AtomicCheckpointIO().load_checkpoint(other / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize("change", DAMAGES)
def test_a_run_does_not_go_on_from_damaged_checkpoints(
    other: Path, change: Callable[[dict[str, Any]], None], capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("last.ckpt", "previous.ckpt"):
        damage(other / "checkpoints" / name, change)
    assert command("fit", f"resume={other}", "run.test=false") == 2
    shown = capfd.readouterr().err
    assert "last.ckpt and previous.ckpt" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_named_pipe_in_place_of_a_checkpoint(other: Path, name: str) -> None:
    path = other / "checkpoints" / name
    path.unlink()
    (path.parent / "previous.ckpt").unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="a named pipe"):
        AtomicCheckpointIO().load_checkpoint(path)
    verb = ["fit", f"resume={other}", "run.test=false"] if name == "last.ckpt" else ["test", f"run={other}"]
    assert command(*verb) == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", '{"test": 3}'),
        ("metrics.json", '{"validations": [{"step": "x", "metrics": {}}]}'),
        ("metrics.json", "[]"),
        ("plugins.json", "[1]"),
        ("plugins.json", '{"core": 1}'),
        ("recipe.json", '{"a": 1}'),
        ("schema.json", "3"),
        ("schema.json", "[" * 100_000),
        ("transforms/transforms.json", "{}"),
        ("transforms/transforms.json", None),
        ("metrics.json", None),
    ],
)
def test_a_run_directory_with_other_files(other: Path, name: str, content: str | None) -> None:
    (other / name).unlink()
    if content is None:
        os.mkfifo(other / name)
    else:
        (other / name).write_text(content)
    assert command("fit", f"resume={other}", "trainer.max_epochs=2", "run.test=false") == 2
