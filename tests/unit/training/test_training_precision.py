"""Extreme numbers and mixed precision: what heads predict, and what losses make of large labels."""

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from mtl_lightning.architectures.shared_bottom import SharedBottom
from mtl_lightning.batch import Batch
from mtl_lightning.build import build_module
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.builtin import HEADS
from mtl_lightning.schema import Field, Schema, Task
from mtl_lightning.training.network import Network

CASCADES = ("aitm", "dcmt", "escm2", "esmm")
CASES = [(name, kind) for name in sorted(HEADS) for kind in sorted(registry().resolve("head", name).kinds)]
NUMBERS = ("regression", "count", "value")
ROWS = 32


def build(name, kind):
    """A network of a click and a task with this head, and a batch whose numbers are about 100,000."""
    torch.manual_seed(0)
    classes = 4 if kind in ("multiclass", "multilabel", "ordinal") else 1
    click = Task(name="click", kind="binary", label="click", mean=0.3)
    parents = ("click",) if name in CASCADES else ()
    large = 1e5 if kind in NUMBERS else None
    task = Task(name="t", kind=kind, label="t", classes=classes, parents=parents, mean=large or 0.1, scale=large)
    schema = Schema((Field(name="price", kind="numeric"), Field(name="rating", kind="numeric")), (click, task))
    encoder = EmbeddingEncoder(schema, 1, numeric_width=4)
    architecture = SharedBottom(schema, encoder, hidden=[16])
    heads, losses = {}, {}
    for item, head in ((click, "binary"), (task, name)):
        created = registry().resolve("head", head)
        known = {parent: heads[parent] for parent in item.parents}
        heads[item.name] = created(item, architecture.widths[item.name], known)
        losses[item.name] = registry().resolve("loss", created.loss)(item)
    generator = torch.Generator().manual_seed(1)
    label = torch.randint(0, max(classes, 2) if kind != "multilabel" else 2, (ROWS, task.width), generator=generator)
    clicked = torch.randint(0, 2, (ROWS, 1), generator=generator)
    batch = Batch(
        schema=schema,
        ids=torch.zeros(ROWS, 0, dtype=torch.int64),
        dense=torch.randn(ROWS, 2, generator=generator),
        labels=torch.cat([clicked, label * (large or 1)], dim=1).float(),
        mask=torch.rand(ROWS, 2, generator=generator) < 0.8,
        group=torch.arange(ROWS) // 4,
        raw={
            "treatment": torch.arange(ROWS, dtype=torch.float64) % 2,
            **{name: torch.rand(ROWS, generator=generator, dtype=torch.float64) for name in ("delay", "elapsed")},
        },
    )
    return Network(schema, encoder, architecture, heads, losses), batch


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_heads_losses_and_predictions_keep_float32_under_mixed_precision(name, kind, dtype):
    network, batch = build(name, kind)
    seen = {}
    network.architecture.register_forward_hook(lambda *args: seen.update(args[2]))
    with torch.autocast("cpu", dtype):
        values, z = network.losses(batch)
        predictions = network(batch)
    assert {h.dtype for h in seen.values()} == {dtype}  # the trunk did run in half precision
    assert {value.dtype for value in (*values, *predictions.values())} == {torch.float32}
    assert all(torch.isfinite(value) for value in values)
    (gradient,) = torch.autograd.grad(sum(values), z)
    assert torch.isfinite(gradient).all()
    # The same representations, without mixed precision from there on.
    halved = {task: h.detach().float() for task, h in seen.items()}
    network.architecture.forward = lambda _: halved
    expected, _ = network.losses(batch)
    torch.testing.assert_close(torch.stack(values), torch.stack(expected))
    for task, prediction in network(batch).items():
        torch.testing.assert_close(predictions[task], prediction)


def test_without_mixed_precision_a_network_of_doubles_stays_one():
    network, batch = build("esmm", "binary")
    batch = batch.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    values, _ = network.double().losses(batch)
    assert {value.dtype for value in values} == {torch.float64}


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("scale", [-1e4, 1e4])
def test_extreme_representations_give_finite_predictions_losses_and_steps(name, kind, scale):
    network, batch = build(name, kind)
    h = torch.full((ROWS, 16), scale, requires_grad=True)
    network.architecture.forward = lambda _: dict.fromkeys(("click", "t"), h)
    assert all(torch.isfinite(prediction).all() for prediction in network(batch).values())
    values, _ = network.losses(batch)
    assert all(torch.isfinite(value) for value in values)
    (gradient,) = torch.autograd.grad(sum(values), h)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_rows_of_weight_zero_count_for_nothing(name, kind):
    """Their labels may be anything; a task all of whose rows weigh nothing has a connected zero."""
    if registry().resolve("head", name).loss == "jrc":
        pytest.skip("rows of one user compete, whatever they weigh")
    network, batch = build(name, kind)
    batch.weight = torch.ones(ROWS, 2)
    batch.weight[::2] = 0.0
    values, _ = network.losses(batch)
    batch.mask[::2] = False
    for value, other in zip(values, network.losses(batch)[0], strict=True):
        # Penalties (an order of probabilities) are of all rows, known or not.
        torch.testing.assert_close(value, other)
    batch.weight.zero_()
    nothing, _ = network.losses(batch)
    penalty = network.outputs(batch)[0]["t"].penalty
    assert nothing[0] == 0
    assert nothing[1] == (0 if penalty is None else penalty.mean())
    sum(nothing).backward()


@pytest.mark.parametrize("encoder", [{"numeric_width": 4}, {"hidden": [16]}])
def test_inner_products_of_gradients_are_exact_under_mixed_precision(encoder):
    """Rounded to bfloat16, nearly parallel gradients have inner products of which some combination is negative."""
    network, batch = build("regression", "regression")
    module = build_module(network.schema, weighter="aligned_mtl", encoder={"name": "embedding", **encoder})
    steps = []
    module.observers.append(steps.append)
    with torch.autocast("cpu", torch.bfloat16):
        module.training_step(batch, 0).backward()
    jacobian = steps[0].jacobian.double().flatten(1)
    assert steps[0].z.dtype == (torch.bfloat16 if "hidden" in encoder else torch.float32)
    torch.testing.assert_close(steps[0].gramian, jacobian @ jacobian.T, rtol=1e-5, atol=0)
    weights = module.weighter.weights(jacobian @ jacobian.T)
    torch.testing.assert_close(module.weighter.kept, weights, rtol=1e-4, atol=0)


def test_losses_after_the_update_are_computed_in_the_precision_of_those_before(tmp_path):
    """Otherwise a method that compares them (FAMO) sees rounding errors: here nothing has changed between the two."""
    network, batch = build("regression", "regression")
    module = build_module(
        network.schema, weighter={"name": "famo", "every": 1}, optimizer={"name": "sgd", "tables": "sgd", "lr": 0.0}
    )
    compared = []
    module.weighter.after_step = lambda values: compared.append((values, module.weighter.before.clone()))
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", precision="bf16-mixed", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, DataLoader([batch], batch_size=None))
    ((after, before),) = compared
    torch.testing.assert_close(after.double(), before, rtol=1e-6, atol=0)
