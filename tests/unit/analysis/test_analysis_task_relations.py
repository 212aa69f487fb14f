"""Labels, predictions, gates and look-ahead steps: values worked out another way, and no trace left in training."""

import json
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import command
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Trainer, seed_everything
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from warm_python import warm_python

from mtl_lightning.analysis.affinity import AffinityCallback, affinity
from mtl_lightning.analysis.gates import GateUse
from mtl_lightning.analysis.gradient_relations import GradientRelations, RelationsCallback
from mtl_lightning.analysis.moments import PairMoments
from mtl_lightning.analysis.output_relations import OutputRelations
from mtl_lightning.batch import Batch, Encoded, Output
from mtl_lightning.build import build_module
from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import Architecture, Encoder, Head, Loss
from mtl_lightning.report.render.heatmap import PIXELS
from mtl_lightning.report.training.relations import RelationsReport, relations_table
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.schema import Field, Schema, Task
from mtl_lightning.training.network import Network
from mtl_lightning.training.sharded import ShardedEncoder

sys.path.insert(0, str(Path(__file__).parents[2] / "ddp"))
from problem import SCHEMA, GlobalBatches, global_batch


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 5))
def test_moments_are_those_of_numpy_however_rows_are_divided(seed, rows, parts):
    random = np.random.default_rng(seed)
    values = random.normal(1e6, [1.0, 1e-2, 5.0], (rows, 3))
    known = random.random((rows, 3)) < 0.7
    moments = PairMoments(("a", "b", "c"))
    for part in np.array_split(np.arange(rows), parts):
        moments.update(torch.from_numpy(values[part]), torch.from_numpy(known[part]))
    result = moments.summary()
    for i in range(3):
        for j in range(3):
            both = known[:, i] & known[:, j]
            assert result["rows"][i][j] == both.sum()
            x, y = values[both, i], values[both, j]
            if len(x) == 0:
                assert result["covariance"][i][j] is None
                continue
            covariance = np.mean((x - x.mean()) * (y - y.mean()))
            assert result["covariance"][i][j] == pytest.approx(covariance, rel=1e-6, abs=1e-9)
            if len(x) > 1:
                expected = covariance / (x.std() * y.std())
                assert result["correlation"][i][j] == pytest.approx(expected, abs=1e-5)
            else:
                assert result["correlation"][i][j] is None


def test_a_column_without_spread_has_no_correlation_and_what_is_not_finite_is_not_known():
    moments = PairMoments(("constant", "other", "broken"))
    for rows in (7, 620):
        values = torch.rand(rows, 3, generator=torch.Generator().manual_seed(rows), dtype=torch.float64)
        values[:, 0], values[:, 2] = 0.8, torch.nan
        moments.update(values, torch.ones(rows, 3, dtype=torch.bool))
    result = moments.summary()
    assert result["correlation"][0] == [None, None, None]
    assert result["covariance"][0] == [0.0, 0.0, None]
    assert result["correlation"][1][1] == pytest.approx(1)
    assert result["rows"][2] == [0, 0, 0]


def test_gates_that_mix_are_told_from_gates_that_scale():
    use, whole = GateUse(), torch.softmax(torch.randn(50, 4, generator=torch.Generator().manual_seed(1)), 1)
    for part in whole.split(20):
        use.update({"click": part, "layer0": 2 * part, "wide": torch.ones(len(part), 100)})
    result = use.summary()
    assert result["click"]["mean"] == pytest.approx(whole.mean(0).tolist(), abs=1e-6)
    largest = (whole.argmax(1, keepdim=True) == torch.arange(4)).double().mean(0)
    assert result["click"]["largest"] == pytest.approx(largest.tolist())
    entropy = -(whole * whole.log()).sum(1).mean() / np.log(4)
    assert result["click"]["evenness"] == pytest.approx(float(entropy), abs=1e-5)
    assert set(result["layer0"]) == {"rows", "mean"}
    assert result["wide"] == {"rows": 50, "mean": [1.0]}


class Scale(Encoder):
    """z = w · x."""

    def __init__(self):
        super().__init__()
        self.width = 1
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, batch):
        return Encoded(self.weight * batch.dense, batch)


class Same(Architecture):
    """h = z for every task."""

    def __init__(self, tasks):
        super().__init__()
        self.widths, self.gates = dict.fromkeys(tasks, 1), {}

    def forward(self, encoded):
        return dict.fromkeys(self.widths, encoded.z)


class Plus(Head):
    """h + b, with a b that no look-ahead moves."""

    def __init__(self):
        super().__init__()
        self.b = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, h, parents, raw):
        return Output(h + self.b)

    def predict(self, output, raw):
        return output.logit[:, 0]


class Square(Loss):
    def forward(self, output, target, parents):
        return target.mean((output.logit - target.label).square()[:, 0])


def line(labels):
    """Tasks a, b, …: w · 1 is to be the label; w is 1."""
    tasks = tuple(Task(name=name, kind="regression", label=name) for name in "abcd"[: len(labels)])
    schema = Schema((Field(name="x", kind="numeric"),), tasks)
    names = [task.name for task in tasks]
    heads, losses = {name: Plus() for name in names}, {name: Square() for name in names}
    network = Network(schema, Scale(), Same(names), heads, losses)
    wanted = torch.tensor([labels], dtype=torch.float64)
    batch = Batch(
        schema=schema, ids=torch.zeros(1, 0, dtype=torch.int64), dense=torch.ones(1, 1, dtype=torch.float64),
        labels=wanted, mask=torch.ones(1, len(labels), dtype=torch.bool),
    )  # fmt: skip
    holder = nn.Module()
    holder.network = network
    return holder, batch


def test_affinity_of_a_line_by_hand():
    # L = (w − y)² at w = 1: losses 4, 4, 16 and gradients −4, 4, −8 for labels 3, −1, 5. A step on the first that
    # lowers its loss by a tenth: η = 0.4 / 16, so w = 1.1 and losses 3.61, 4.41, 15.21. On the second: w = 0.9.
    # On the third: η = 1.6 / 64, so w = 1.2 and losses 3.24, 4.84, 14.44.
    module, batch = line([3.0, -1.0, 5.0])
    result = affinity(module, batch, own_fall=0.1)
    expected = [
        [1 - 3.61 / 4, 1 - 4.41 / 4, 1 - 15.21 / 16],
        [1 - 4.41 / 4, 1 - 3.61 / 4, 1 - 16.81 / 16],
        [1 - 3.24 / 4, 1 - 4.84 / 4, 1 - 14.44 / 16],
    ]
    assert result.tolist() == [pytest.approx(row, abs=1e-12) for row in expected]
    assert module.network.encoder.weight.tolist() == [1.0]
    assert module.network.encoder.weight.grad is None


def test_a_task_that_is_perfect_has_no_affinity():
    module, batch = line([3.0, 1.0])
    result = affinity(module, batch, own_fall=0.1)
    assert torch.isnan(result).tolist() == [[False, True], [True, True]]


def fit(case, *callbacks, **options):
    seed_everything(3, verbose=False)
    module = build_module(SCHEMA, optimizer={"lr": 0.01, "table_lr": 0.1}, **case)
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, callbacks=list(callbacks), logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, **options,
    )  # fmt: skip
    batches = GlobalBatches(8, dtype=torch.float32)
    trainer.fit(module, batches, batches)
    return module


CASES = {
    "mmoe": {"architecture": "mmoe", "encoder": {"name": "embedding", "dropout": 0.2}, "weighter": "uncertainty"},
    "ple": {"architecture": {"name": "ple", "gate_dropout": 0.2}, "weighter": "pcgrad"},
    "stem": {"architecture": "stem", "weighter": "famo"},
    "dselect_k": {"architecture": "dselect_k", "heads": {"conversion": "esmm"}},
    "home": {"architecture": "home", "encoder": "din"},
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_what_is_sampled_leaves_no_trace_in_the_weights(name):
    options = {"accumulate_grad_batches": 2} if name == "mmoe" else {}
    plain = fit(CASES[name], **options)
    look, steps = OutputRelations(), AffinityCallback(2)
    sampled = fit(CASES[name], RelationsCallback(3), look, steps, **options)
    for key, value in plain.state_dict().items():
        assert torch.equal(value, sampled.state_dict()[key]), key
    assert steps.summary()["samples"] == 4
    assert all(row[i] == pytest.approx(1) for i, row in enumerate(steps.summary()["relative"]))
    assert {"click", "conversion", "dwell"} <= set(look.summary["validation"]["gates"])
    assert sampled.network.architecture.gates == {}
    assert not any(head._forward_hooks for head in sampled.network.heads.values())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_evaluation_tells_labels_predictions_and_gates_of_all_its_rows():
    look = OutputRelations()
    module = fit({"architecture": "mmoe"}, look)
    module.eval()
    module.network.architecture.keep_gates = True
    batches = list(GlobalBatches(8, dtype=torch.float32))
    predicted, gates = [], []
    with torch.no_grad():
        for batch in batches:
            predicted.append(torch.stack(list(module(batch).values()), dim=1).numpy())
            gates.append(module.network.architecture.gates["dwell"])
    result = look.summary["validation"]
    expected = np.corrcoef(np.concatenate(predicted).T.astype(np.float64))
    assert np.array(result["predictions"]["correlation"]) == pytest.approx(expected, abs=1e-6)
    assert result["predictions"]["rows"] == [[8 * 47] * 3] * 3
    assert result["gates"]["dwell"]["mean"] == pytest.approx(torch.cat(gates).mean(0).tolist(), abs=1e-6)
    labels, known = (torch.cat([getattr(batch, part) for batch in batches]).numpy() for part in ("labels", "mask"))
    both = known[:, 0] & known[:, 1]
    click = np.corrcoef(labels[both, 0].astype(np.float64), labels[both, 1].astype(np.float64))
    assert result["labels"]["correlation"][0][1] == pytest.approx(click[0, 1], abs=1e-6)
    assert result["labels"]["rows"][0][1] == both.sum()


def test_a_step_on_a_task_that_shares_nothing_changes_no_other_loss():
    schema = Schema(tuple(field for field in SCHEMA.fields if field.kind != "numeric"), SCHEMA.tasks)
    module = build_module(schema, architecture={"name": "single_task", "share_tables": False})
    batch = global_batch(1).map(lambda item: item.float() if item.is_floating_point() else item)
    result = affinity(module, replace(batch, dense=batch.dense[:, :0]))
    assert torch.equal(result.diagonal() > 0, torch.ones(3, dtype=torch.bool))
    assert result[~torch.eye(3, dtype=torch.bool)].abs().max() < 1e-6


class Sharded(ShardedEncoder):
    def distribute(self, device, *, optimizer, lr, eps):
        raise NotImplementedError

    def save_shards(self, folder):
        raise NotImplementedError

    def load_shards(self, folder):
        raise NotImplementedError

    def forward(self, batch):
        raise NotImplementedError


def test_where_steps_cannot_be_tried_they_are_refused_if_asked_for_and_left_out_if_not():
    module = build_module(SCHEMA)
    module.network.encoder = Sharded()
    module.network.encoder.updates = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with pytest.raises(MtlError, match=r"run\.affinity.*shards its tables"):
        AffinityCallback(5).on_fit_start(None, module)
    AffinityCallback().on_fit_start(None, module)
    with pytest.raises(MtlError, match="16-bit weights"):
        AffinityCallback(5).on_fit_start(None, build_module(SCHEMA).to(torch.bfloat16))


def test_more_tasks_are_sampled_more_rarely_where_nobody_chose_a_number(monkeypatch):
    taken = []
    monkeypatch.setattr("mtl_lightning.analysis.affinity.affinity", lambda *_: taken.append(1) or torch.ones(3, 3))
    module, steps = build_module(SCHEMA), AffinityCallback()
    steps.on_fit_start(None, module)
    for module.batches in range(1400):
        before = len(taken)
        steps.on_train_batch_start(None, module, None, 0)
        assert len(taken) - before == (module.batches in (450, 1350))


def test_affinity_goes_on_where_it_was_saved():
    module, batch = build_module(SCHEMA), global_batch(1)
    batch = batch.map(lambda item: item.float() if item.is_floating_point() else item)
    first, second = AffinityCallback(1), AffinityCallback(1)
    first.on_fit_start(None, module)
    first.on_train_batch_start(None, module, batch, 0)
    second.load_state_dict(first.state_dict())
    second.on_fit_start(None, module)
    second.on_train_batch_start(None, module, batch, 0)
    assert second.summary()["samples"] == 2
    assert second.summary()["mean"] == [pytest.approx(row) for row in first.summary()["mean"]]


def test_the_terminal_shows_the_most_opposed_pairs_first_and_says_how_many_are_left_out():
    relations = GradientRelations(tuple("abcdef"))
    gramian = torch.eye(6)
    gramian[4, 5] = gramian[5, 4] = -0.5
    relations.add(gramian)
    title, table, few, rest = relations_table(relations.summary()).renderables
    assert "samples of gradients: 1" in title.plain
    first = [next(iter(column.cells)) for column in table.columns]
    assert (first, table.row_count) == (["e", "f", "-0.50", "few"], 10)
    assert "fewer than 20 samples" in few.plain
    assert "5 further pairs" in rest.plain


def test_a_run_without_pairs_prints_nothing():
    assert relations_table({}) is None
    assert RelationsReport(OutputRelations()).summary() == {}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("relations") / "run"
    small = [
        "source.rows=3000", "data.batch_size=500", "encoder.width=4", "trainer.max_epochs=1", "run.relations=2",
        "run.affinity=4", "trainer.log_every_n_steps=2",
    ]  # fmt: skip
    assert command("fit", "recipe=ads", *small, f"run.dir={path}") == 0
    run = RunDirectory(path)
    run.save_json("as_fitted.json", run.load_json("metrics.json"))
    return run


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_run_records_relations_and_the_command_test_adds_to_them(run):
    relations = run.load_json("metrics.json")["relations"]
    assert all(set(relations[kind]) == {"validation", "test"} for kind in ("labels", "predictions", "gates"))
    assert relations["labels"]["validation"]["rows"][0][0] == 300
    assert relations["affinity"]["samples"] == 1
    rows = relations["labels"]["validation"]["rows"]
    assert rows[2][2] == rows[0][2] < 300  # dwell is observed after a click only
    assert relations["labels"]["validation"]["correlation"][0][2] is None  # so the click is always 1 there
    run.save_json("metrics.json", {**run.load_json("metrics.json"), "relations": {"labels": {"validation": 1}}})
    assert command("test", f"run={run.path}") == 0
    again = run.load_json("metrics.json")["relations"]
    assert again["labels"] == {"validation": 1, "test": relations["labels"]["test"]}
    assert again["predictions"]["test"]["correlation"] == relations["predictions"]["test"]["correlation"]


def test_tensorboard_has_a_picture_of_each_matrix_and_its_legend(run):
    pillow = pytest.importorskip("PIL.Image")
    events = EventAccumulator(str(run.tensorboard), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    kinds = ("cosine", "conflicting", "labels", "predictions", "affinity", "gates8")
    names = {f"relations/{kind}" for kind in kinds}
    assert set(events.Tags()["images"]) == names
    texts = {f"{name}/legend/text_summary" for name in names}
    covariances = {f"relations/{kind}/covariance/text_summary" for kind in ("labels", "predictions")}
    assert texts | covariances == set(events.Tags()["tensors"])
    relations = run.load_json("as_fitted.json")["relations"]
    of_clicks = relations["predictions"]["validation"]["covariance"][0][0]
    said = events.Tensors("relations/predictions/covariance/text_summary")[0].tensor_proto.string_val[0].decode()
    assert f"| click | {of_clicks:.4g} |".replace("-", "−") in said
    share = max(pair["conflicting"] for pair in relations["pairs"])
    said = events.Tensors("relations/conflicting/legend/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert f"| {share:.2f} |" in said
    assert events.Scalars("relations/gate/click/7")[0].step == 5
    image = events.Images("relations/cosine")[0]
    decoded = np.asarray(pillow.open(BytesIO(image.encoded_image_string)))
    assert decoded.shape == (3 * PIXELS, 3 * PIXELS, 3)
    assert decoded[5, 5].tolist() == [33, 102, 172]  # a task agrees with itself
    assert "| click |" in events.Tensors("relations/cosine/legend/text_summary")[0].tensor_proto.string_val[0].decode()


@pytest.mark.slow
def test_spawned_processes_leave_relations_and_resources_in_the_run_directory(tmp_path):
    arguments = [
        "fit", "recipe=ads", "source.rows=3000", "data.batch_size=128", "encoder.width=4", "trainer.max_epochs=1",
        "run.relations=4", "run.affinity=4", "trainer.devices=2", "trainer.strategy=ddp_spawn",
        "trainer.accelerator=cpu", f"run.dir={tmp_path / 'run'}", f"data.cache_dir={tmp_path / 'cache'}",
    ]  # fmt: skip
    done = subprocess.run(
        [warm_python(), "-m", "mtl_lightning", *arguments], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    run = RunDirectory(tmp_path / "run")
    relations, resources = run.load_json("metrics.json")["relations"], run.load_json("resources.json")
    assert {pair["steps"] for pair in relations["pairs"]} == {3}
    assert relations["affinity"]["samples"] > 0
    assert all(set(relations[kind]) == {"validation", "test"} for kind in ("labels", "predictions", "gates"))
    assert relations["labels"]["test"]["rows"][0][0] == 300
    assert resources["steps"] == 7
    assert "Task relations" in done.stdout
    json.dumps(relations, allow_nan=False)
