"""After a test a run reports gaps, decisions at a threshold and slices; resources show arithmetic and bytes."""

import contextlib
import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import seed_everything
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from mtl_lightning.analysis.cost import batch_flops
from mtl_lightning.analysis.detailed_evaluation import add_detailed, training_sample
from mtl_lightning.batch import Target
from mtl_lightning.build import build_data, module_from_config
from mtl_lightning.cli.app import main
from mtl_lightning.config import compose, validate
from mtl_lightning.errors import ConfigError
from mtl_lightning.metrics.counting.thresholds import Thresholds, best_edge, decisions, threshold
from mtl_lightning.metrics.detailed_metrics import detailed_metrics
from mtl_lightning.plugins import registry
from mtl_lightning.report.training.terminal import Terminal
from mtl_lightning.schema import TASK_KINDS, Task

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # numpy on tensors
SMALL = ["source.rows=3000", "trainer.max_epochs=1", "data.batch_size=500"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    slices = "run.slices=[new_users,new_item_id,day,format,position]"
    with pytest.raises(SystemExit) as done:
        main(
            ["fit", "recipe=ads", *SMALL, f"run.dir={path / 'ads'}", "run.train_rows=700", "run.keep_rows=true", slices]
        )
    assert done.value.code == 0
    return path / "ads"


def test_weights_of_another_network_are_told(run, capsys):
    with pytest.raises(SystemExit) as done:
        main(["test", f"run={run}", "heads.click.hidden=[3]"])
    assert done.value.code == 2
    assert "holds the weights of another network" in capsys.readouterr().err


def test_days_of_text_with_offsets_are_slices(tmp_path):
    draw = np.random.default_rng(0)
    hours = np.sort(draw.integers(0, 24 * 5, 800))
    start = np.datetime64("2026-03-01T00:30:00")
    rows = {
        "at": [f"{start + np.timedelta64(int(hour) + 8, 'h')}+08:00" for hour in hours],
        "x": draw.normal(size=800),
        "click": draw.integers(0, 2, 800),
    }
    pacsv.write_csv(pa.table(rows), tmp_path / "log.csv")
    (tmp_path / "recipe.yaml").write_text(
        "extends: base\nsource: {name: table, path: log.csv}\n"
        "split: {by: time, column: at, validation: 0.2, test: 0.4}\n"
        "features: {x: numeric}\ntasks: {click: {kind: binary, label: click}}\n"
    )
    pairs = ["recipe=recipe.yaml", "trainer.max_epochs=1", "run.slices=[day]", "run.dir=run"]
    with contextlib.chdir(tmp_path), pytest.raises(SystemExit) as done:
        main(["fit", *pairs])
    assert done.value.code == 0
    record = json.loads((tmp_path / "run" / "metrics.json").read_text())
    result = record["evaluation"]["slices"]["test"]["day"]
    held_out = (start + hours[-480:].astype("timedelta64[h]")).astype("datetime64[D]")  # validation and test
    days = {str(day) for day in held_out}
    assert set(result) == days


@pytest.fixture
def record(run):
    return json.loads((run / "metrics.json").read_text())


def test_splits_stand_side_by_side(record):
    splits = record["evaluation"]["splits"]
    assert list(splits) == ["train", "validation", "test"]
    assert (splits["train"]["rows"], splits["train"]["of"]) == (700, 2400)
    for name, value in record["test"]["metrics"].items():
        assert splits["test"]["metrics"][name.removeprefix("test/")] == pytest.approx(value, rel=1e-5)
    assert record["test"]["spaces"] == record["evaluation"]["spaces"]
    assert record["evaluation"]["spaces"] == {"click": "entire", "conversion": "entire", "dwell": "own: click == 1"}


def test_all_that_is_known_of_a_kind_is_measured(record):
    named = [name.split("/") for name in record["evaluation"]["splits"]["test"]["metrics"] if "/" in name]
    of_click = {metric for task, metric in named if task == "click"}
    assert {"auc", "pr_auc", "log_loss", "normalized_entropy", "calibration", "ece"} <= of_click
    assert {"gauc", "ndcg", "recall_at_k"} <= of_click  # ads have users
    assert {"mae", "rmse", "xauc", "r2"} <= {metric for task, metric in named if task == "dwell"}
    assert {"precision", "recall", "f1", "accuracy"} == set(record["evaluation"]["thresholds"]["click"]["test"])
    for kind in TASK_KINDS:
        task = Task(name="t", kind=kind, label="t", classes=3)
        for name in detailed_metrics(task, grouped=True):
            assert kind in registry().resolve("metric", name).kinds, (kind, name)


def test_reliability_is_that_of_the_rows_and_drawn(run, record):
    rows, result = np.load(run / "test.npz"), record["evaluation"]["splits"]["test"]
    p, label, known = (rows[f"{name}/click"] for name in ("prediction", "label", "known"))
    points = {name: np.array(values) for name, values in result["reliability"]["click"].items()}
    assert len(points["weight"]) <= 15
    assert points["weight"].sum() == known.sum()
    assert points["weight"] @ points["predicted"] == pytest.approx(p[known].sum(), rel=1e-6)
    assert points["weight"] @ points["observed"] == pytest.approx(label[known].sum(), rel=1e-9)
    gap = points["weight"] @ abs(points["predicted"] - points["observed"]) / known.sum()
    assert gap == pytest.approx(result["metrics"]["click/ece"])
    page = (run / "evaluation.html").read_text()
    assert page.count("<svg") == 2  # click and conversion
    assert "<script" not in page
    for words in ("click", "conversion", "recall_at_k", "own: click == 1", "test − train"):
        assert words in page
    video = record["evaluation"]["slices"]["test"]["format"]["video"]
    assert f"<td>video</td><td>{video['rows']['click']}</td><td>{video['metrics']['click/auc']:.4f}</td>" in page
    train, test = (record["evaluation"]["splits"][split]["metrics"]["click/auc"] for split in ("train", "test"))
    assert f"<td>{test - train:+.4f}</td>" in page


def test_tables_have_their_information_abundance(run, record):
    tables = {row["table"]: row for row in record["evaluation"]["tables"]}
    assert "user_id" in tables
    assert all(1 <= row["abundance"] <= min(row["rows"], row["width"]) for row in tables.values())
    page = (run / "evaluation.html").read_text()
    assert f"<td>user_id</td><td>{tables['user_id']['rows']:,}</td>" in page
    assert f"<td>{tables['user_id']['abundance']:.4f}</td>" in page


def test_parts_of_a_slice_make_up_the_split(record):
    evaluation = record["evaluation"]
    for split in ("validation", "test"):
        for name in ("new_users", "new_item_id", "day", "format"):
            parts = evaluation["slices"][split][name].values()
            assert sum(part["rows"]["click"] for part in parts) == evaluation["splits"][split]["rows"]
    days = list(evaluation["slices"]["test"]["day"])
    assert days == sorted(days)
    assert all(len(day) == len("2024-01-01") for day in days)
    assert {"missing", "unknown", "video", "text"} <= set(evaluation["slices"]["test"]["format"])


def test_the_threshold_is_chosen_on_validation_and_applied_to_test(run, record):
    rows, result = np.load(run / "test.npz"), record["evaluation"]["thresholds"]["click"]
    called, label = rows["prediction/click"] >= result["threshold"], rows["label/click"][:, 0]
    assert result["test"]["f1"] == pytest.approx(f1_score(label, called), abs=0.01)
    assert result["test"]["accuracy"] == pytest.approx(accuracy_score(label, called), abs=0.01)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 99), st.booleans()), min_size=1, max_size=40))
def test_no_threshold_has_a_better_f1(rows):
    p = torch.tensor([percent / 100 for percent, _ in rows])
    label = torch.tensor([[float(item)] for _, item in rows])
    seen = Thresholds()
    seen.update(p, Target(label=label, mask=torch.ones(len(rows), dtype=torch.bool)))
    edge = best_edge(seen.counts())
    if not label.any():
        assert edge is None
        return
    y, called = label[:, 0].numpy(), (p >= threshold(edge) - 1e-6).numpy()
    got = decisions(seen.counts(), edge)
    assert got["f1"] == pytest.approx(f1_score(y, called))
    assert got["precision"] == pytest.approx(precision_score(y, called))
    assert got["recall"] == pytest.approx(recall_score(y, called))
    assert got["accuracy"] == pytest.approx(accuracy_score(y, called))
    assert got["f1"] >= max(f1_score(y, (p >= item).numpy()) for item in p.unique()) - 1e-12


def test_a_broken_prediction_has_no_threshold():
    seen = Thresholds()
    seen.update(torch.tensor([float("nan"), 0.5]), Target(label=torch.ones(2, 1), mask=torch.ones(2, dtype=torch.bool)))
    assert best_edge(seen.counts()) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [("new_user", "did you mean 'new_users'"), ("formats", "did you mean 'format'"), ("new_items", "new_item_id")],
)
def test_a_wrong_slice_is_refused(name, words):
    with pytest.raises(ConfigError, match=r"run\.slices\.0") as raised:
        validate(compose("ads", [f"run.slices=[{name}]"]).plain)
    assert words in str(raised.value)


def test_a_slice_with_too_many_parts_is_refused_before_training(tmp_path):
    with pytest.raises(SystemExit) as refused:
        main(["fit", "recipe=ads", *SMALL, f"run.dir={tmp_path / 'ads'}", "run.slices=[user_id]"])
    assert refused.value.code == 2
    assert not (tmp_path / "ads").exists()


def test_a_checked_recipe_with_slices_is_a_recipe():
    config = validate(compose("ads", ["run.slices=[new_item_id,day]"]).plain)
    assert config.split.cold == ("item_id",)
    assert validate(config.plain) == config


def test_counting_arithmetic_changes_nothing():
    config = validate(compose("ads", SMALL).plain)
    data = build_data(config)
    module = module_from_config(config, data.schema)
    batch = next(iter(data.train_dataloader()))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    seed_everything(3, verbose=False)
    expected = torch.rand(2)
    seed_everything(3, verbose=False)
    flops = batch_flops(module, batch)
    assert torch.equal(torch.rand(2), expected)
    assert module.network.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(item.grad is None for item in module.parameters())
    weights = sum(item.numel() for item in module.network.architecture.parameters() if item.ndim == 2)
    assert flops >= 3 * 2 * len(batch) * weights * 0.9


def test_a_run_tells_arithmetic_and_bytes(run):
    resources = json.loads((run / "resources.json").read_text())
    assert resources["flops"] > 0
    assert resources["flops_rows"] > 0
    assert resources["bytes"]["model"] > resources["bytes"]["tables"] == 4 * resources["parameters"]["tables"]
    assert resources["bytes"]["optimizer_state"] > 0
    assert resources["bytes"]["store"] > 0


def test_a_sample_of_training_rows_is_of_the_asked_size():
    data = build_data(validate(compose("ads", SMALL).plain))
    store = data.prepared.stores["train"]
    assert len(training_sample(store, 10, 0)) == 10
    assert training_sample(store, 10**6, 0) is store
    assert torch.equal(training_sample(store, 10, 0).parts["ids"], training_sample(store, 10, 0).parts["ids"])


def test_a_metric_that_has_its_full_name_is_not_taken_twice():
    task = Task(name="click", kind="binary", label="click")
    own = {"mtl-lightning/gauc": registry().resolve("metric", "gauc")(task)}
    assert "gauc" in add_detailed(task, {}, grouped=True)
    assert "gauc" not in add_detailed(task, own, grouped=True)


@pytest.mark.parametrize(("since_best", "reason"), [(2, "run.patience"), (1, "a limit or a callback")])
def test_the_reason_of_an_early_end_is_the_true_one(since_best, reason, capsys):
    trainer = SimpleNamespace(
        should_stop=True, current_epoch=1, max_epochs=5, is_global_zero=True,
        callbacks=[SimpleNamespace(since_best=since_best)],
    )  # fmt: skip
    Terminal(patience=2).on_train_end(trainer, None)
    assert reason in capsys.readouterr().out


def test_a_run_of_few_steps_tells_its_parameters(tmp_path):
    with pytest.raises(SystemExit):
        main(["fit", "recipe=ads", *SMALL, f"run.dir={tmp_path / 'few'}", "trainer.max_steps=2", "run.test=false"])
    result = json.loads((tmp_path / "few" / "resources.json").read_text())
    assert result["step_ms"] is None
    assert sum(result["parameters"].values()) > 0
