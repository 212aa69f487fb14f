"""TabM against a transcription that loops over members; exact means of losses and predictions for every head."""

from dataclasses import replace

import pytest
import torch
from architecture_cases import build_architecture
from torch.testing import assert_close

from mtl_lightning.architectures.example import example
from mtl_lightning.batch import Output
from mtl_lightning.build import build_network
from mtl_lightning.interfaces import Task
from mtl_lightning.plugins import registry
from mtl_lightning.testing.example import example_batch, example_schema, example_task
from mtl_lightning.training.step import global_counts

OPTIONS = {
    "cread": {"edges": [1.0, 2.0]},
    "d2q": {"duration": "duration"},
    "position_bias": {"position": "position", "drop_position": 0.0},
    "tpm": {"edges": [1.0, 2.0, 3.0]},
}
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def perturbed(module):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in module.parameters():
            value.add_(0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    return module


def member_trunk(architecture, z, m):
    """One member's trunk, a row and a unit at a time."""
    rows = []
    for x in z:
        for layer in architecture.layers:
            r, s, b = (v.view(architecture.members, -1)[m] for v in (layer.in_scale, layer.out_scale, layer.bias))
            x = torch.stack([((weight * (r * x)).sum() * s[j] + b[j]).tanh() for j, weight in enumerate(layer.weight)])
        rows.append(x)
    return torch.stack(rows)


def test_members_are_trunks_with_scaled_matrices():
    architecture, encoder, batch = build_architecture("tabm", members=3, hidden=[5, 4], activation="tanh")
    perturbed(architecture)
    encoded = encoder(batch)
    h = architecture(encoded)["b"]
    assert h.shape == (6, 12)
    for m in range(3):
        assert_close(h[:, 4 * m : 4 * m + 4], member_trunk(architecture, encoded.z, m), **EXACT)


def test_binary_losses_and_predictions_are_means_over_members():
    schema, _, batch = example(2, rows=9)
    torch.manual_seed(0)
    network = build_network(
        schema,
        architecture={"name": "tabm", "members": 3, "hidden": [5], "activation": "tanh"},
        heads={"a": {"name": "binary", "hidden": []}},
    ).double()
    perturbed(network)
    batch = batch.map(lambda x: x.double() if x.is_floating_point() else x)
    batch = replace(batch, mask=torch.rand(9, 2) < 0.7)
    z = network.encoder(batch).z
    probabilities, losses = [], []
    for m in range(3):
        output = network.heads["a"].members[m].tower.output
        logit = member_trunk(network.architecture, z, m) @ output.weight[0] + output.bias[0]
        p = 1 / (1 + (-logit).exp())
        y, known = batch.label("a")[:, 0], batch.known("a")
        losses.append(
            sum(-(y[i] * p[i].log() + (1 - y[i]) * (1 - p[i]).log()) for i in range(9) if known[i]) / known.sum()
        )
        probabilities.append(p)
    assert_close(network.losses(batch, global_counts(batch))[0][0], sum(losses) / 3, **EXACT)
    assert_close(network(batch)["a"], sum(probabilities) / 3, **EXACT)


@pytest.mark.parametrize("name", registry().names("head"))
def test_every_head_is_the_mean_of_single_networks(name):
    """Each member alone, as a network of one member with its weights: a funnel's parents are the same member's."""
    kind = registry().resolve("head", name)
    task_kind = min(kind.kinds, key=lambda k: (k != "binary", k))
    parents = ("first",) if name in ("aitm", "dcmt", "escm2", "esmm") else ()
    tasks = [example_task("binary", "first"), example_task(task_kind, "second", parents=parents, mean=0.3, scale=1.5)]
    schema = example_schema(tasks)
    heads = {"second": {"name": name, **OPTIONS.get(name, {})}}
    torch.manual_seed(0)
    whole = build_network(schema, architecture={"name": "tabm", "members": 3, "hidden": [6]}, heads=heads)
    alone = build_network(schema, architecture={"name": "tabm", "members": 1, "hidden": [6]}, heads=heads)
    perturbed(whole.double())
    alone.double()
    batch = example_batch(schema, 16).map(lambda x: x.double() if x.is_floating_point() else x)
    values, predictions = [], []
    for m in range(3):
        alone.load_state_dict({key: member_state(whole, key, m) for key in alone.state_dict()})
        values.append(torch.stack(alone.losses(batch, global_counts(batch))[0]))
        predictions.append(alone(batch))
    assert_close(torch.stack(whole.losses(batch, global_counts(batch))[0]), torch.stack(values).mean(0), **EXACT)
    for task, value in whole(batch).items():
        assert_close(value, torch.stack([part[task] for part in predictions]).mean(0), **EXACT)
    assert not torch.allclose(predictions[0]["second"], predictions[1]["second"])


def member_state(network, key, m):
    """The value that a network of member m alone has under a key."""
    state = network.state_dict()
    if key.startswith("heads."):
        _, task, rest = key.split(".", 2)
        return state[f"heads.{task}.members.{m}.{rest}"]
    if key.startswith("criteria."):
        _, task, rest = key.split(".", 2)
        return state[f"criteria.{task}.loss.{rest}"]
    if key.startswith("architecture.layers.") and not key.endswith(".weight"):
        return state[key].view(3, -1)[m]
    return state[key]


def test_initialisation_signs_in_the_first_layer_and_ones_elsewhere():
    architecture, _, _ = build_architecture("tabm", members=8, hidden=[5, 4])
    first, second = architecture.layers
    assert set(first.in_scale.tolist()) == {-1.0, 1.0}
    assert set(second.in_scale.tolist()) == set(first.out_scale.tolist()) == set(second.out_scale.tolist()) == {1.0}
    assert not first.bias.any()
    assert all(value.ndim == 1 for name, value in architecture.named_parameters() if "weight" not in name)


def test_members_share_matrices_and_add_only_vectors():
    sizes = {}
    for members in (1, 4):
        architecture, _, _ = build_architecture("tabm", members=members, hidden=[5, 4])
        sizes[members] = sum(value.numel() for value in architecture.parameters())
    vectors = 13 + 5 + 5 + 5 + 4 + 4
    assert sizes[1] == 13 * 5 + 5 * 4 + vectors
    assert sizes[4] == 13 * 5 + 5 * 4 + 4 * vectors


def test_without_layers_members_read_z():
    architecture, encoder, batch = build_architecture("tabm", members=2, hidden=[])
    encoded = encoder(batch)
    assert_close(architecture(encoded)["a"], torch.cat([encoded.z, encoded.z], dim=1))
    assert architecture.widths["a"] == 26


def test_a_network_without_members_has_plain_heads():
    schema, _, batch = example(2)
    network = build_network(schema, architecture={"name": "tabm", "members": 1})
    assert type(network.heads["a"]).__name__ == "BinaryHead"
    outputs, _ = network.outputs(batch)
    assert isinstance(outputs["a"], Output)
    assert outputs["a"].members == ()


def test_labels_below_zero_are_refused_for_members_as_for_one_head():
    task = Task(name="dwell", kind="regression", label="seconds")
    schema, _, _ = example(1)
    schema = replace(schema, tasks=(task,))
    head = {"dwell": {"name": "regression", "transform": "log1p"}}
    network = build_network(schema, architecture={"name": "tabm", "members": 2}, heads=head)
    assert network.heads["dwell"].nonnegative
