"""One process and two with the same global batches give the same weights, tables and weighter state included."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from launch import HERE, launch
from run import train

from mtl_lightning.optim import DENSE_OPTIMIZERS
from mtl_lightning.plugins import registry
from mtl_lightning.tables import TABLE_OPTIMIZERS

MMOE = {"name": "mmoe", "experts": 3, "hidden": [8]}
HEADS = {"conversion": "esmm"}
OPTIMIZER = {"lr": 0.01, "table_lr": 0.05, "schedule": "cosine", "warmup_steps": 3}


def case(**changes):
    return {
        "encoder": {"name": "embedding", "width": 4},
        "architecture": MMOE,
        "heads": HEADS,
        "optimizer": OPTIMIZER,
        **changes,
    }


def cases():
    for name in registry().names("weighter"):
        yield f"weighter {name}", case(weighter=name)
    for name in DENSE_OPTIMIZERS:
        for tables in TABLE_OPTIMIZERS:
            yield f"optimizer {name} {tables}", case(optimizer={**OPTIMIZER, "name": name, "tables": tables})
    yield "accumulation", case(trainer={"accumulate_grad_batches": 3})
    yield "clipping by norm", case(trainer={"gradient_clip_val": 0.05})
    yield "clipping by value", case(trainer={"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"})
    yield (
        "pcgrad, accumulation and clipping",
        case(weighter="pcgrad", trainer={"accumulate_grad_batches": 2, "gradient_clip_val": 0.05}),
    )
    for name in ("mgda", "moco", "gradnorm"):
        yield f"gradients at parameters, {name}", case(weighter={"name": name, "gradients_at": "parameters"})
    for name in ("pairwise", "listwise"):
        yield f"loss {name}", case(losses={"click": name})
    yield "loss jrc, gradients by pcgrad", case(heads={"click": "jrc", "conversion": "esmm"}, weighter="pcgrad")
    yield "kept weights", case(weighter={"name": "pcgrad", "every": 4})
    yield (
        "trunk below the seam",
        case(weighter="pcgrad", architecture="shared_bottom", encoder={"name": "embedding", "width": 4, "hidden": [8]}),
    )
    # float32 with SGD: AdamW drifts in float32 by rounding alone.
    yield "float32", case(dtype="float32", optimizer={"name": "sgd", "tables": "sgd", "lr": 0.01, "table_lr": 0.01})


CASES = dict(cases())
# The processes train all cases once: one worker of a parallel test run takes the whole file.
pytestmark = pytest.mark.xdist_group("ddp equality")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Weights per case of both processes."""
    folder = tmp_path_factory.mktemp("ddp")
    (folder / "cases.json").write_text(json.dumps(CASES))
    launch([str(HERE / "run.py"), str(folder / "cases.json"), str(folder / "out")], world=2, timeout=600)
    return [torch.load(folder / f"out.{rank}", weights_only=True) for rank in range(2)]


@pytest.fixture(autouse=True)
def default_dtype():
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", list(CASES))
def test_two_processes_give_the_weights_of_one(two, name):
    one = train(CASES[name])
    tolerance = 1e-6 if CASES[name].get("dtype") == "float32" else 1e-9
    start = train({**CASES[name], "steps": 0})
    moved = False
    for key, value in one.items():
        for rank in range(2):
            other = two[rank][name][key]
            assert torch.allclose(value, other, rtol=tolerance, atol=tolerance, equal_nan=False), (rank, key)
        moved |= not torch.equal(value, start[key])
    assert moved, "training changed nothing: the comparison would be empty"


def test_ranks_are_equal_bit_for_bit(two):
    for name in CASES:
        for key, value in two[0][name].items():
            assert torch.equal(value, two[1][name][key]), (name, key)
