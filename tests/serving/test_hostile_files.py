"""Exports and runs with files that read others, wait, or hold what no run writes: refused when they are opened."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from commands import command
from onnx import TensorProto, helper

from mtl_lightning.checkpoint import AtomicCheckpointIO, CheckpointError
from mtl_lightning.data.transforms import Transforms
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.rundir import RunDir

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them
SECRET = np.array([42.0, 43.0], dtype=np.float32)


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
    told = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit(folder, lambda m: m["files"].update({name: told}))


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


def outside(location: str) -> TensorProto:
    """A tensor in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def constant(tensor: TensorProto) -> onnx.NodeProto:
    node = helper.make_node("Constant", [], ["w"])
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    return node


def sparse(tensor: TensorProto) -> onnx.SparseTensorProto:
    found = onnx.SparseTensorProto(dims=[2], values=tensor)
    found.indices.CopyFrom(helper.make_tensor("i", TensorProto.INT64, [2], [0, 1]))
    return found


def in_initializer(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.initializer.append(tensor)


def in_constant(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(constant(tensor))


def in_function(model: onnx.ModelProto, tensor: TensorProto) -> None:
    opset = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("f", "F", [], ["w"], [constant(tensor)], opset))


def in_branch(model: onnx.ModelProto, tensor: TensorProto) -> None:
    node = model.graph.node.add(op_type="If", input=["c"], output=["w"])
    output = [helper.make_tensor_value_info("w", TensorProto.FLOAT, [2])]
    branch = helper.make_graph([constant(tensor)], "b", [], output)
    node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g.CopyFrom(branch)


def in_sparse_value(model: onnx.ModelProto, tensor: TensorProto) -> None:
    node = model.graph.node.add(op_type="Constant", output=["w"])
    node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR).sparse_tensor.CopyFrom(
        sparse(tensor)
    )


def in_sparse_list(model: onnx.ModelProto, tensor: TensorProto) -> None:
    node = model.graph.node.add(op_type="Constant", output=["w"])
    node.attribute.add(name="s", type=onnx.AttributeProto.SPARSE_TENSORS).sparse_tensors.append(sparse(tensor))


def in_sparse_initializer(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.sparse_initializer.append(sparse(tensor))


def in_training(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.training_info.add().algorithm.initializer.append(tensor)


PLACES = [
    in_initializer,
    in_constant,
    in_function,
    in_branch,
    in_sparse_value,
    in_sparse_list,
    in_sparse_initializer,
    in_training,
]


@pytest.mark.parametrize("location", ["../secret", "absolute", "other.bin", "./model.onnx.data", "*/_ORT_MEM_ADDR_/*"])
@pytest.mark.parametrize("place", PLACES)
def test_a_tensor_of_another_file_wherever_it_is(copy: Path, place: Callable[..., None], location: str) -> None:
    (copy / "other.bin").write_bytes(SECRET.tobytes())
    tensor = outside(str(copy.parent / "secret") if location == "absolute" else location)
    change_model(copy, lambda model: place(model, tensor))
    with pytest.raises(MtlError, match=r"lies in|has a function|has a sparse tensor|has a graph for training"):
        Bundle.open(copy)


def test_tensors_of_a_file_that_the_manifest_does_not_list(copy: Path) -> None:
    edit(copy, lambda m: m["files"].pop("model.onnx.data"))
    with pytest.raises(MtlError, match=r"model\.onnx\.data, which the manifest does not list"):
        Bundle.open(copy)


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ([("location", "../secret"), ("location", "model.onnx.data")], "two places"),
        ([("location", "model.onnx.data"), ("checksum", "0")], "unknown one: checksum"),
        ([("location", "model.onnx.data"), ("offset", "-8")], "must be numbers"),
        ([("location", "model.onnx.data"), ("offset", "+8")], "must be numbers"),
        ([("location", "model.onnx.data"), ("length", "0x8")], "must be numbers"),
    ],
)
def test_a_place_that_can_be_read_in_two_ways(copy: Path, entries: list[tuple[str, str]], match: str) -> None:
    tensor = outside("x")
    del tensor.external_data[:]
    for key, value in entries:
        tensor.external_data.add(key=key, value=value)
    change_model(copy, lambda model: in_initializer(model, tensor))
    with pytest.raises(MtlError, match=match):
        Bundle.open(copy)


def test_operators_of_a_runtime_and_parts_of_another_onnx(copy: Path) -> None:
    change_model(copy, lambda model: model.graph.node.add(op_type="EPContext", domain="com.microsoft"))
    with pytest.raises(MtlError, match=r"com\.microsoft\.EPContext, which is not of the standard"):
        Bundle.open(copy)
    content = (copy / "model.onnx").read_bytes() + b"\xfa\x3e\x01x"  # field 1007, which no version has
    (copy / "model.onnx").write_bytes(content)
    sign(copy, "model.onnx")
    with pytest.raises(MtlError, match=r"has parts that onnx .* does not know"):
        Bundle.open(copy)


@pytest.mark.parametrize("location", ["../secret", "absolute"])
@pytest.mark.parametrize("place", [in_initializer, in_constant, in_sparse_value, in_sparse_initializer])
def test_the_oldest_onnxruntime_confines_files(tmp_path: Path, place: Callable[..., None], location: str) -> None:
    """Behind the check of this package: what it would overlook stays unread."""
    (tmp_path / "secret").write_bytes(SECRET.tobytes())
    (tmp_path / "inner").mkdir()
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(helper.make_graph([], "g", [x], [y]), opset_imports=opset, ir_version=8)
    place(model, outside(str(tmp_path / "secret") if location == "absolute" else location))
    model.graph.node.append(helper.make_node("Add", ["x", "w"], ["y"]))
    (tmp_path / "inner" / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(Exception, match=r"outside|escapes|absolute|directory|not allowed|[Ee]xternal"):
        onnxruntime.InferenceSession(tmp_path / "inner" / "model.onnx", providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "transforms.json", "model.onnx.data"])
def test_a_named_pipe_in_an_export(copy: Path, name: str) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(MtlError, match=r"a named pipe|is no file"):
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
        (lambda m: [m.clear(), m.update(a=1)], "no manifest of format"),
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
    path = RunDir(other).transforms
    edit(path.parent, change, path.name)
    with pytest.raises(DataError, match=match):
        Transforms.load(path)
    assert command("predict", f"run={other}", "data=none.parquet", f"out={other / 'p.parquet'}") == 2


def test_features_that_unfold_without_end(other: Path) -> None:
    path = RunDir(other).transforms

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
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged .* going on from previous\.ckpt"):
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
