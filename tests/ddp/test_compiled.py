"""A compiled trunk trains to the weights of the plain one, weighters with gradients per task included."""

import copy
import shutil
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from problem import SCHEMA, global_batch
from run import train

from mtl_lightning.build import build_module

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a compiler"),
]
SGD = {"name": "sgd", "tables": "sgd", "lr": 0.01, "table_lr": 0.01}


@pytest.fixture(autouse=True)
def default_dtype():
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("weighter", ["uncertainty", "pcgrad"])
def test_compiled_and_plain_give_the_same_weights(weighter, precision):
    case = {
        "encoder": {"name": "embedding", "width": 4},
        "architecture": {"name": "mmoe", "experts": 3, "hidden": [8]},
        "heads": {"conversion": "esmm"},
        "weighter": weighter,
        "dtype": "float32",
        "steps": 10,
        "trainer": {"precision": precision},
    }
    plain = train({**case, "optimizer": SGD})
    compiled = train({**case, "optimizer": {**SGD, "compile": True}})
    assert plain.keys() == compiled.keys()
    # What is fused is not rounded to bfloat16 in between, and projections pass the difference on to the weights.
    tolerance = 1e-5 if precision == "32-true" else 1e-2
    for name, value in plain.items():
        assert torch.allclose(value, compiled[name], rtol=tolerance, atol=tolerance), name


def test_a_compiled_network_is_copied_and_evaluated_as_a_plain_one():
    network = build_module(SCHEMA, optimizer={"compile": True}).network
    batch = global_batch(0).map(lambda t: t.float() if t.is_floating_point() else t)
    losses, _ = network.train().losses(batch)
    assert "_compiled_dense" in vars(network)
    twin = copy.deepcopy(network)
    assert "_compiled_dense" not in vars(twin)
    torch.testing.assert_close(torch.stack(twin.losses(batch)[0]), torch.stack(losses))
    for name, value in network.eval()(batch).items():
        torch.testing.assert_close(value, twin.eval()(batch)[name])
