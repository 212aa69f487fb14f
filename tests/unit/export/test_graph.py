"""Every architecture and every head as a graph: the same scores in torch, in torch.export and in onnxruntime."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import mtl_lightning
from mtl_lightning.build import build_network
from mtl_lightning.export.graph import PREDICTION, Scorer, blank_batch, inputs_of, save_onnx, save_pt2, trace
from mtl_lightning.export.manifest import TENSORS
from mtl_lightning.export.tensors import check_onnx
from mtl_lightning.plugins import registry
from mtl_lightning.schema import Schema, Task
from mtl_lightning.testing import example_batch, example_requests, example_schema, example_task
from mtl_lightning.testing.component import perturb
from mtl_lightning.training.network import Network

KINDS = ("categorical", "numeric", "sequence", "vector")
ARCHITECTURES = registry().names("architecture")
ENCODERS = registry().names("encoder")
OPTIONS: dict[str, dict[str, Any]] = {
    "cread": {"edges": [1.0, 5.0, 20.0]},
    "d2q": {"duration": "duration"},
    "position_bias": {"position": "position"},
}


def agrees(network: Network, folder: Path) -> list[str]:
    """Names of the inputs, after comparing scores for several numbers of rows."""
    torch.manual_seed(0)
    perturb(network)
    program, example = trace(network)
    save_pt2(program, folder / "model.pt2")
    tasks = [task.name for task in network.schema.tasks]
    save_onnx(program, example, tasks, folder / "model.onnx")
    check_onnx(folder, [TENSORS])
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    loaded = torch.export.load(folder / "model.pt2").module()
    assert [item.name for item in session.get_inputs()] == list(example)
    assert [item.name for item in session.get_outputs()] == [PREDICTION + task for task in tasks]
    package = str(Path(mtl_lightning.__file__).parent)
    assert [file.name for file in folder.iterdir() if package.encode() in file.read_bytes()] == []
    for rows, seed in ((1, 0), (2, 1), (37, 2)):
        batch = example_batch(network.schema, rows=rows, seed=seed)
        if any(field.per_request for field in network.schema.fields):
            batch = example_requests(batch)
        inputs = {name: value for name, value in inputs_of(batch).items() if name in example}
        with torch.no_grad():
            expected = network(batch)
            traced = loaded(inputs)
        onnx = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        for task, result in zip(tasks, onnx, strict=True):
            np.testing.assert_allclose(traced[task].numpy(), expected[task].numpy(), atol=1e-6, rtol=1e-5)
            np.testing.assert_allclose(result, expected[task].numpy(), atol=1e-5, rtol=1e-5)
            assert result.shape == tuple(expected[task].shape)
    return list(example)


def of_every_head() -> tuple[Schema, dict[str, dict[str, Any]]]:
    """One schema with a task per head."""
    tasks: list[Task] = [example_task("binary", "first")]
    heads = {}
    for name in registry().names("head"):
        kinds = registry().resolve("head", name).kinds
        kind = min(kinds, key=lambda item: (item != "binary", item))
        parents = ("first",) if name in ("aitm", "dcmt", "escm2", "esmm") else ()
        tasks.append(example_task(kind, f"{name}_task", parents=parents, mean=0.3, scale=1.5))
        heads[f"{name}_task"] = {"name": name, **OPTIONS.get(name, {})}
    return example_schema(tasks, KINDS), heads


def test_every_head_on_one_architecture(tmp_path: Path) -> None:
    schema, heads = of_every_head()
    inputs = agrees(build_network(schema, architecture="mmoe", heads=heads), tmp_path)
    # A position matters in training only; a duration is part of the prediction.
    assert inputs[-1] == "raw/duration"
    assert "raw/position" not in inputs


def test_every_head_for_the_members_of_an_ensemble(tmp_path: Path) -> None:
    schema, heads = of_every_head()
    agrees(build_network(schema, architecture={"name": "tabm", "members": 2, "hidden": [8]}, heads=heads), tmp_path)


def architecture(name: str) -> Network:
    schema = example_schema(kinds=KINDS)
    fields: dict[str, dict[str, Any]] = {
        "pepnet": {"scenario": "user", "priors": ["item"]},
        "poso": {"priors": ["user"]},
        "star": {"scenario": "user"},
    }
    return build_network(schema, architecture={"name": name, **fields.get(name, {})})


@pytest.mark.parametrize("name", ["mmoe", "star"])
def test_an_architecture_with_one_head(name: str, tmp_path: Path) -> None:
    agrees(architecture(name), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in ("mmoe", "star")])
def test_every_architecture_with_one_head(name: str, tmp_path: Path) -> None:
    agrees(architecture(name), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "numeric"),
    [*((name, "plain") for name in ENCODERS), ("autoint", "piecewise"), ("embedding", "levels"), ("din", "periodic")],
)
def test_every_encoder(name: str, numeric: str, tmp_path: Path) -> None:
    schema = example_schema(kinds=KINDS)
    agrees(build_network(schema, encoder={"name": name, "numeric": numeric, "hidden": [8]}), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_with_a_layer_per_field(name: str, tmp_path: Path) -> None:
    agrees(build_network(example_schema(kinds=KINDS), encoder={"name": name, "projection": 4}), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoder",
    [
        {"name": "masknet", "arrangement": "serial"},
        {"name": "rankmixer", "tokens": 4, "token_width": 12, "blocks": 3},
        {"name": "wukong", "rank": 0},
        {"name": "wukong", "numeric_width": 16, "layers": 3},
    ],
    ids=str,
)
def test_encoders_with_other_options(encoder: dict[str, Any], tmp_path: Path) -> None:
    agrees(build_network(example_schema(kinds=KINDS), encoder=encoder), tmp_path)


@pytest.mark.parametrize(
    "encoder",
    [
        {"name": "sim", "top": 3},
        pytest.param({"name": "transformer"}, marks=pytest.mark.slow),
        *(
            pytest.param(encoder, marks=pytest.mark.slow)
            for encoder in (
                {"name": "sim", "search": "hard", "category": "item", "top": 2},
                {"name": "eta", "top": 3, "bits": 8},
                {"name": "sdim"},
                {"name": "hstu"},
                {"name": "transformer", "next_action": 0.1},
                {"name": "onetrans"},
                {"name": "onetrans", "pyramid": False, "blocks": 3},
            )
        ),
    ],
    ids=str,
)
def test_encoders_of_histories(encoder: dict[str, Any], tmp_path: Path) -> None:
    schema = example_schema(kinds=("categorical", "sequence", "history"))
    agrees(build_network(schema, encoder={**encoder, "init_scale": 1.0}), tmp_path)


def test_inputs_that_are_left_out_are_missing_values() -> None:
    schema = example_schema(kinds=KINDS)
    network = build_network(schema).eval()
    everything = inputs_of(blank_batch(schema, 4))
    with torch.no_grad():
        whole = Scorer(network)(everything)
        part = Scorer(network)({"dense": everything["dense"]})
    for task, expected in whole.items():
        torch.testing.assert_close(part[task], expected)


@pytest.mark.parametrize(
    "encoder",
    [
        {"name": "transformer", "late_target": True, "blocks": 2},
        *(pytest.param({"name": name}, marks=pytest.mark.slow) for name in ENCODERS),
        pytest.param({"name": "sdim", "bits": 2}, marks=pytest.mark.slow),
    ],
    ids=lambda encoder: encoder["name"],
)
def test_inputs_that_rows_share_have_a_row_per_request(encoder: dict[str, Any], tmp_path: Path) -> None:
    fields = example_schema(kinds=("categorical", "sequence", "vector", "history"))
    if "bits" in encoder:  # the sums of buckets are shared where the history with a target is the second
        fields = replace(fields, fields=fields.fields[::-1])
    schema = example_requests(example_batch(fields)).schema
    network = build_network(schema, encoder=encoder)
    inputs = agrees(network, tmp_path)
    assert inputs[-1] == "request"
    program, example = trace(network, requests=False)
    assert "request" not in example
    batch = example_batch(schema, rows=5)
    with torch.no_grad():
        traced = program.module()({name: value for name, value in inputs_of(batch).items() if name in example})
        torch.testing.assert_close(traced, network(batch), atol=1e-6, rtol=1e-5)
