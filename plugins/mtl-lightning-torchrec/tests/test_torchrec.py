"""The plugin in an environment of its own, on two gloo processes: equal to core's encoder, whatever the sharding.

``MTL_TORCHREC_PYTHON`` names the interpreter of an environment that was built before, as README.md says.
"""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp

HERE = Path(__file__).parent
PLUGIN = HERE.parent
ROOT = PLUGIN.parents[1]
SCRIPT = HERE / "torchrec_run.py"
TOLERANCE = 1e-5
"""float32; 20 steps with rates of 0.05."""
SGD = {"name": "sgd", "lr": 0.05, "table_lr": 0.05, "table_weight_decay": 0.0}

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """The interpreter of an environment with the plugin, TorchRec and FBGEMM."""
    if ready := os.environ.get("MTL_TORCHREC_PYTHON"):
        return ready
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    pip = [home / "bin" / "python", "-m", "pip", "install", "-q"]
    constraints = ["-c", ROOT / "constraints.txt"]
    subprocess.run([*pip, *constraints, "-e", f"{ROOT}[test]", "-e", f"{PLUGIN}[test]"], check=True)
    subprocess.run([*pip, "--no-deps", "torchrec==1.8.0", "fbgemm-gpu-cpu==1.8.0"], check=True)
    return str(home / "bin" / "python")


def run(python, folder, *arguments, world=1, timeout=900):
    """Run Python in the environment, under torchrun for several processes."""
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={world}"] if world > 1 else []
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MTL_PLUGINS")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "COLUMNS": "200"}
    done = subprocess.run(
        [python, *launcher, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


def train(python, folder, name, world=1, **case):
    """Results of a case per process."""
    (folder / f"{name}.json").write_text(json.dumps(case))
    run(python, folder, SCRIPT, folder / f"{name}.json", folder / name, world=world)
    return [torch.load(folder / f"{name}.{rank}", weights_only=True) for rank in range(world)]


def tables(folder):
    """Whole tables and their optimizer's state from a folder of shards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stored = dcp.FileSystemReader(folder).read_metadata().state_dict_metadata
        whole = {name: torch.empty(entry.size, dtype=entry.properties.dtype) for name, entry in stored.items()}
        dcp.load(whole, checkpoint_id=folder, no_dist=True)
    return whole


def encoder(sharding="auto", **options):
    return {"name": "torchrec", "width": 8, "numeric": "plain", "sharding": sharding, **options}


def test_the_contract_of_encoders(python):
    run(python, PLUGIN, "-m", "pytest", "-q", "-c", PLUGIN / "pyproject.toml", HERE / "test_torchrec_contract.py")


@pytest.mark.parametrize(
    ("sharding", "name"),
    [
        ("table_wise", "rowwise_adagrad"),
        ("row_wise", "rowwise_adagrad"),
        ("row_wise", "sgd"),
        ("column_wise", "adagrad"),
        ("auto", "sgd"),
    ],
)
def test_two_processes_give_the_weights_of_cores_encoder_on_one(python, tmp_path, sharding, name):
    # SGD moves a row by its gradient, a small part of a mean: at the others' rate nothing would be left to compare.
    rate = 20.0 if name == "sgd" else 0.05
    optimizer = {**SGD, "tables": name, "table_lr": rate, "schedule": "cosine", "warmup_steps": 3}
    train(python, tmp_path, "start", encoder=encoder(), optimizer=optimizer, steps=0, save=str(tmp_path / "begin"))
    begin = {key.removesuffix(".weight"): value for key, value in tables(tmp_path / "begin").items()}
    torch.save(begin, tmp_path / "begin.pt")
    core = {"name": "embedding", "width": 8, "numeric": "plain"}
    case = {"optimizer": optimizer, "steps": 20, "dense": str(tmp_path / "start.0")}
    (single,) = train(python, tmp_path, "one", encoder=core, tables=str(tmp_path / "begin.pt"), **case)
    folder = tmp_path / "end"
    two = train(python, tmp_path, "two", 2, encoder=encoder(sharding), save=str(folder), **case)
    kinds = {plan.split(" on ")[0] for plan in two[0]["plan"].values()}
    assert sharding == "auto" or kinds == {sharding}
    fused, first = single["state"].pop("network.encoder.table.weight"), 0
    for process in two:
        assert process["state"].keys() == single["state"].keys()
        for key, value in single["state"].items():
            torch.testing.assert_close(process["state"][key], value, rtol=TOLERANCE, atol=TOLERANCE)
    end = tables(folder)
    for table in ("user", "item"):
        weight = end[f"{table}__0.weight"]
        expected = fused[first : first + len(weight)]
        torch.testing.assert_close(weight[1:], expected[1:], rtol=TOLERANCE, atol=TOLERANCE)
        assert (weight[1:] - begin[f"{table}__0"][1:]).abs().max() > 100 * TOLERANCE
        first += len(weight) - 1


@pytest.mark.parametrize(("world", "sharding"), [(1, "auto"), (3, "table_wise"), (3, "row_wise")])
def test_checkpoints_load_on_another_number_of_processes(python, tmp_path, world, sharding):
    case = {"optimizer": {**SGD, "tables": "rowwise_adagrad"}}
    two = tmp_path / "two"
    train(python, tmp_path, "saved", 2, encoder=encoder("row_wise"), steps=5, save=str(two), **case)
    again = tmp_path / "again"
    train(python, tmp_path, "loaded", world, encoder=encoder(sharding), steps=0, load=str(two), save=str(again), **case)
    before, after = tables(two), tables(again)
    assert before.keys() == after.keys()
    assert {name.rpartition(".")[2] for name in before} == {"weight", "momentum1"}
    for name, value in before.items():
        assert torch.equal(value, after[name]), name


def test_an_unchanged_recipe_trains_resumes_on_one_process_and_predicts(python, tmp_path):
    settings = ["recipe=ads", "source.rows=3000", "encoder=torchrec", "trainer.accelerator=cpu", "run.dir=run"]
    settings += ["data.batch_size=128", "trainer.max_epochs=1", "data.cache_dir=cache", "trainer.devices=2"]
    cli = ("-m", "mtl_lightning")
    run(python, tmp_path, *cli, "fit", *settings)
    folders = {path.name for path in (tmp_path / "run/checkpoints").glob("shards-*")}
    assert folders == {"shards-10"}
    changes = ["trainer.max_epochs=2", "trainer.devices=1", "data.batch_size=256"]
    said = run(python, tmp_path, *cli, "fit", "resume=run", *changes)
    assert "from run/checkpoints/last.ckpt" in said
    moved = tmp_path / "elsewhere"
    (tmp_path / "run").rename(moved)
    assert "300 rows in out.parquet" in run(python, tmp_path, *cli, "predict", "run=elsewhere", "out=out.parquet")


def test_tables_that_fit_nowhere_are_told_on_every_process(python, tmp_path):
    pairs = ["encoder=torchrec", "encoder.memory=0.00001", "source.rows=2000", "trainer.accelerator=cpu"]
    for world in (1, 2):
        pairs = [*pairs, f"run.dir=run{world}"]
        with pytest.raises(
            AssertionError, match=r"no plan for the tables: Unable to find .* storage \(raise encoder\.memory"
        ):
            run(python, tmp_path, "-m", "mtl_lightning", "fit", "recipe=ads", *pairs, world=world)


def test_a_process_holds_its_share_of_the_tables(python, tmp_path):
    """1.5 million rows of width 64, 384 MB; what is above a run with small tables is theirs."""
    case = {"optimizer": {**SGD, "tables": "rowwise_adagrad"}, "steps": 5}

    def peak(name, world, sharding, rows):
        processes = train(python, tmp_path, name, world, encoder=encoder(sharding, width=64), rows=rows, **case)
        return [round(process["peak_mb"]) for process in processes]

    (small,), (alone,) = peak("small", 1, "auto", 40), peak("alone", 1, "auto", 1_000_000)
    small_two = max(peak("small_two", 2, "row_wise", 40))
    shared = {kind: peak(kind, 2, kind, 1_000_000) for kind in ("table_wise", "column_wise", "row_wise")}
    print(json.dumps({"small": small, "alone": alone, "small on two": small_two, **shared}))
    whole = alone - small
    for kind in ("column_wise", "row_wise"):
        assert max(shared[kind]) - small_two < 0.65 * whole
    assert max(shared["table_wise"]) - small_two < 0.85 * whole
