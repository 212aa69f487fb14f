"""One process and several with the same global batches give the same weights, tables and weighter state included."""

import json
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from launch import HERE, launch
from run import train

from mtl_lightning.plugins import registry
from mtl_lightning.training.optimizer import DENSE_OPTIMIZERS
from mtl_lightning.training.tables import TABLE_OPTIMIZERS

MMOE = {"name": "mmoe", "experts": 3, "hidden": [8]}
HEADS = {"conversion": "esmm"}
SGD = {"name": "sgd", "tables": "sgd", "lr": 0.01, "table_lr": 0.01}
OPTIMIZER = {"lr": 0.01, "table_lr": 0.05, "schedule": "cosine", "warmup_steps": 3}


def case(**changes):
    return {
        "encoder": {"name": "embedding", "width": 4},
        "architecture": MMOE,
        "heads": HEADS,
        "optimizer": OPTIMIZER,
        **changes,
    }


def smooth(weighter):
    """Adaptive optimizers at the rates of recipes, in float32, without kinks that rounding can cross."""
    tower = {"activation": "silu"}
    return case(
        weighter=weighter,
        dtype="float32",
        optimizer={"lr": 0.002, "table_lr": 0.1},
        architecture={**MMOE, **tower},
        heads={
            "click": {"name": "binary", **tower},
            "conversion": {"name": "esmm", **tower},
            "dwell": {"name": "regression", **tower},
        },
    )


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
    for name in ("upgrad", "nash_mtl", "graddrop"):
        yield f"gradients at shared tensors, {name}", case(weighter={"name": name, "gradients_at": "shared"})
    for name in ("mtan", "pepnet", "sluice"):
        shared = {"name": "upgrad", "gradients_at": "shared"}
        yield f"gradients at shared tensors of {name}", case(weighter=shared, architecture=name)
    for name in ("pairwise", "listwise"):
        yield f"loss {name}", case(losses={"click": name})
    yield "loss distilled", case(losses={"click": {"name": "distilled", "ranking": 1.0, "temperature": 2.0}})
    yield "loss jrc, gradients by pcgrad", case(heads={"click": "jrc", "conversion": "esmm"}, weighter="pcgrad")
    late = {"name": "delayed_feedback", "unit": 1.0}
    yield "quantiles and late events", case(heads={"click": late, "conversion": "esmm", "dwell": "distribution"})
    for name in ("delay_windows", "esdfm"):
        yield f"late events, {name}", case(heads={"click": {"name": name, "unit": 1.0}})
    yield "kept weights", case(weighter={"name": "pcgrad", "every": 4})
    yield (
        "trunk below the seam",
        case(weighter="pcgrad", architecture="shared_bottom", encoder={"name": "embedding", "width": 4, "hidden": [8]}),
    )
    for name in ("embedding", "din", "transformer", "hstu", "sim", "eta", "sdim", "onetrans"):
        yield f"histories, {name}", case(weighter="pcgrad", histories=True, encoder={"name": name, "width": 4})
    for name in ("transformer", "hstu"):
        encoder = {"name": name, "width": 4, "next_action": 0.5, "next_negatives": 5}
        yield f"next event, {name}", case(weighter="pcgrad", histories=True, encoder=encoder)
    for name in ("masknet", "wukong", "rankmixer"):
        yield f"encoder {name}", case(weighter="pcgrad", encoder={"name": name, "width": 4})
    gated = {"name": "rankmixer", "width": 4, "experts": 3, "sparsity": 0.1}
    yield "encoder rankmixer with experts", case(encoder=gated)
    yield "preferences that the model reads", case(weighter={"name": "cosmos", "penalty": 3.0}, preferences=True)
    yield "averaged weights", case(optimizer={**OPTIMIZER, "average": 0.9}, trainer={"accumulate_grad_batches": 2})
    yield "tables drawn anew", case(optimizer={**OPTIMIZER, "redraw_tables": True}, epochs=2, steps=10)
    yield "node by node", case(weighter="pcgrad", optimizer={**OPTIMIZER, "exchange_group": 2})
    yield "rows in bfloat16", case(optimizer={**OPTIMIZER, "exchange_values": "bfloat16"})
    half = {"name": "embedding", "width": 4, "table_dtype": "bfloat16"}
    for tables in ("rowwise_adagrad", "lazy_adam"):
        optimizer = {"lr": 0.002, "table_lr": 0.02, "tables": tables}
        yield f"tables in bfloat16, {tables}", case(dtype="float32", encoder=half, optimizer=optimizer)
    tabm = {"name": "tabm", "members": 3, "hidden": [8, 8]}
    smes = {"name": "smes", "experts": 5, "hidden": [8], "balance": 1.0}
    yield "sparse experts with a balance", case(architecture=smes)
    yield "task tokens", case(architecture={"name": "onerank", "token_width": 8})
    yield "own and shared paths", case(weighter="pcgrad", architecture={"name": "dual_path", "hidden": [8]})
    yield "ensemble, gradients by pcgrad", case(weighter="pcgrad", architecture=tabm)
    yield (
        "ensemble, gradients at shared tensors",
        case(weighter={"name": "upgrad", "gradients_at": "shared"}, architecture=tabm),
    )
    for name in registry().names("weighter"):
        yield f"float32, default optimizers, {name}", smooth(name)
    yield "float32", case(dtype="float32", optimizer=SGD)
    yield "bf16-mixed", case(dtype="float32", optimizer=SGD, trainer={"precision": "bf16-mixed"})


CASES = dict(cases())
TOLERANCES = {
    "float32": 1e-6,
    "bf16-mixed": 2e-3,
    "rows in bfloat16": 2e-3,
    **{name: 1e-2 for name in CASES if name.startswith("tables in bfloat16")},
    **{name: 1e-4 for name in CASES if name.startswith("float32, default optimizers")},
}
"""Of float64 1e-9. A product in bfloat16 has 8 bits. The sums over a process's rows are rounded to them before they are
added. So 20 steps with a rate of 0.01 differ by the order of 20 × 0.01 × 2⁻⁸."""
FEW = (
    "weighter uncertainty",
    "weighter pcgrad",
    "weighter famo",
    "optimizer adamw rowwise_adagrad",
    "optimizer adam lazy_adam",
    "pcgrad, accumulation and clipping",
    "gradients at parameters, moco",
    "bf16-mixed",
    "node by node",
)
"""Cases that four processes train by default; the others are slow."""
# The processes train all cases once: one worker of a parallel test run takes the whole file, and the first test waits.
pytestmark = [pytest.mark.xdist_group("ddp equality"), pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights per case of all processes, by the number of processes and the names of the cases."""

    @cache
    def train_on(world, names):
        folder = tmp_path_factory.mktemp("ddp")
        (folder / "cases.json").write_text(json.dumps({name: CASES[name] for name in names}))
        launch([str(HERE / "run.py"), str(folder / "cases.json"), str(folder / "out")], world=world, timeout=1200)
        return [torch.load(folder / f"out.{rank}", weights_only=True) for rank in range(world)]

    return train_on


@pytest.fixture(autouse=True)
def default_dtype():
    yield
    torch.set_default_dtype(torch.float32)


def check(processes, name):
    single = train(CASES[name])
    tolerance = TOLERANCES.get(name, 1e-9)
    start = train({**CASES[name], "steps": 0})
    moved = False
    if name.startswith("tables in bfloat16"):  # a sum of gradients in bfloat16 is rounded, on all processes alike
        first, second = ([value for value in states.values() if torch.is_tensor(value)] for states in processes[:2])
        assert all(map(torch.equal, first, second))
    for key, value in single.items():
        for rank, states in enumerate(processes):
            other = states[name][key]
            assert torch.allclose(value, other, rtol=tolerance, atol=tolerance, equal_nan=False), (rank, key)
        moved |= not torch.equal(value, start[key])
    assert moved, "training changed nothing: the comparison would be empty"


@pytest.mark.parametrize("name", list(CASES))
def test_two_processes_give_the_weights_of_one(trained, name):
    check(trained(2, tuple(CASES)), name)


@pytest.mark.parametrize("name", FEW)
def test_four_processes_give_the_weights_of_one(trained, name):
    check(trained(4, FEW), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in FEW])
def test_four_processes_give_the_weights_of_one_in_all_other_cases(trained, name):
    check(trained(4, tuple(name for name in CASES if name not in FEW)), name)


@pytest.mark.parametrize(("world", "names"), [(2, tuple(CASES)), (4, FEW)])
def test_ranks_are_equal_bit_for_bit(trained, world, names):
    first, *others = trained(world, names)
    for name in names:
        for key, value in first[name].items():
            for other in others:
                assert torch.equal(value, other[name][key]), (name, key)


def test_mixed_precision_is_not_single_precision():
    full, mixed = train(CASES["float32"]), train(CASES["bf16-mixed"])
    difference = max(float((full[key] - mixed[key]).abs().max()) for key in full)
    assert 1e-4 < difference < 5e-2
