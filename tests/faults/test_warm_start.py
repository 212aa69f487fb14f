"""`fit init_from=`: today's log with yesterday's weights, on the command line."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from final_state import final, same

from mtl_lightning.data.preparation.prepared import Transforms
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO

SETTINGS = (
    "recipe=ads",
    "source=table",
    "split.column=timestamp",
    "data.batch_size=128",
    "encoder.numeric=piecewise",
    "features.pair={kind: cross, of: [user_segment, category], size: 100}",
    "features.hashed={kind: hashed, column: user_id, size: 200}",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "optimizer.schedule=constant",
)


TURNOVER = (
    "features.user_id={kind: categorical, admit: 2, expire: 12h, time: timestamp}",
    "features.item_id={kind: categorical, evict: true, max_size: 120}",
)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Two days in one log: what is new on the second is new to the first."""
    table = Simulator(rows=7000, users=400, items=300, days=2).rows().with_format("arrow")[:]
    path = tmp_path_factory.mktemp("log")
    pq.write_table(table.slice(0, 4000), path / "monday.parquet")
    pq.write_table(table.slice(4000), path / "tuesday.parquet")
    return path


@pytest.fixture(scope="module")
def monday(log, cache, tmp_path_factory):
    """A run on the first day."""
    import os

    from mtl_lightning.cli.app import main

    os.environ["MTL_CACHE"] = str(cache)
    path = tmp_path_factory.mktemp("runs") / "monday"
    with pytest.raises(SystemExit) as end:
        main(["fit", *SETTINGS, f"source.path={log / 'monday.parquet'}", f"run.dir={path}"])
    assert not end.value.code
    return path


def tuesday(log, *more):
    return ["fit", *SETTINGS, f"source.path={log / 'tuesday.parquet'}", *more]


def test_known_values_start_with_their_embeddings_and_new_ones_fresh(inside, tmp_path, log, monday):
    done = inside(*tuesday(log, f"init_from={monday}", "run.dir=tuesday", "optimizer.lr=0", "optimizer.table_lr=0"))
    assert done.returncode == 0, done.stderr
    assert f"Started from {monday}" in done.stdout
    assert "known rows keep their optimizer state" in done.stdout
    old, new = (Transforms.load(path / "transforms" / "transforms.json") for path in (monday, tmp_path / "tuesday"))
    before, after = (
        AtomicCheckpointIO().load_checkpoint(path / "checkpoints" / "best.ckpt")["state_dict"]
        for path in (monday, tmp_path / "tuesday")
    )
    name = "network.encoder.table.weight"
    start = was = 0
    fresh = []
    for table, size in new.schema.table_sizes.items():
        known = old.schema.table_sizes[table]
        # Nothing was trained (the rates are 0): known rows are Monday's bit for bit.
        assert torch.equal(after[name][start + 1 : start + known], before[name][was + 1 : was + known])
        fresh.append(after[name][start + known : start + size])
        start, was = start + size - 1, was + known - 1
    rows = torch.cat(fresh)
    assert len(rows) > 20
    assert rows.std().item() == pytest.approx(0.05, rel=0.2)
    dense = [key for key in before if key.startswith("network.") and key != name]
    assert all(torch.equal(before[key], after[key]) for key in dense)
    record = json.loads((tmp_path / "tuesday" / "warm_start.json").read_text())
    users = record["features"]["user_id"]
    assert users["kept"] == old.schema.field("user_id").size - 2
    assert users["new"] == new.schema.field("user_id").size - old.schema.field("user_id").size > 0
    assert 0 < users["rows_with_new"] < 0.5


def test_the_recipe_is_yesterdays_if_none_is_named(inside, tmp_path, log, monday):
    done = inside("fit", f"init_from={monday}", f"source.path={log / 'tuesday.parquet'}", "run.dir=next")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "next" / "recipe.json").read_text()) == "ads"
    last = AtomicCheckpointIO().load_checkpoint(tmp_path / "next" / "checkpoints" / "last.ckpt")
    first = AtomicCheckpointIO().load_checkpoint(monday / "checkpoints" / "last.ckpt")
    sums = [item["optimizer_states"][0]["optimizers"][-1]["state"][0]["sum"] for item in (first, last)]
    assert len(sums[1]) > len(sums[0])
    # Accumulators only rise: unseen known rows keep theirs, so the whole is at least Monday's.
    assert sums[1].sum() > sums[0].sum()
    tested = inside("test", "run=next")
    assert tested.returncode == 0, tested.stderr


def test_ids_leave_with_their_rows_and_return_with_fresh_ones(inside, tmp_path, log, monday):
    # Monday did not count: its values have count 0, and were last seen on Tuesday. Its log comes again on Wednesday.
    for name, day, shift in (("wednesday", "monday", 2), ("thursday", "tuesday", 4)):
        table = pq.read_table(log / f"{day}.parquet")
        place = table.column_names.index("timestamp")
        later = pc.add(table["timestamp"], pa.scalar(86_400 * shift))
        pq.write_table(table.set_column(place, "timestamp", later), tmp_path / f"{name}.parquet")
    shutil.copy(log / "tuesday.parquet", tmp_path)
    rates = [*TURNOVER, "optimizer.lr=0", "optimizer.table_lr=0"]
    days = {"tuesday": monday, "wednesday": "tuesday", "thursday": "wednesday"}
    for name, base in days.items():
        source = f"source.path={name}.parquet"
        done = inside("fit", *SETTINGS, *rates, f"init_from={base}", source, f"run.dir={name}")
        assert done.returncode == 0, done.stderr
        assert "expired  evicted  waiting" in done.stdout
    assert "Ids that come and go" in (tmp_path / "thursday" / "report.html").read_text()
    runs = [monday, *(tmp_path / name for name in days)]
    vocabularies, rows, sums = [], [], []
    for run in runs:
        fitted = Transforms.load(run / "transforms" / "transforms.json")
        content = AtomicCheckpointIO().load_checkpoint(run / "checkpoints" / "last.ckpt")
        starts = np.cumsum([0, *(size - 1 for size in fitted.schema.table_sizes.values())])
        places = dict(zip(fitted.schema.table_sizes, starts, strict=False))
        weight = content["state_dict"]["network.encoder.table.weight"]
        total = content["optimizer_states"][0]["optimizers"][-1]["state"][0]["sum"]
        keys = {name: fitted.transforms[name].table.vocabulary.keys.to_pylist() for name in ("user_id", "item_id")}
        vocabularies.append(keys)
        rows.append({n: {v: weight[places[n] + i + 2] for i, v in enumerate(keys[n])} for n in keys})
        sums.append({n: {v: float(total[places[n] + i + 2].sum()) for i, v in enumerate(keys[n])} for n in keys})
    for name in ("user_id", "item_id"):
        left = [set(before[name]) - set(after[name]) for before, after in pairwise(vocabularies)]
        counts = [json.loads((run / "data.json").read_text())["ids"][name] for run in runs[1:]]
        assert [part["expired"] + part["evicted"] for part in counts] == [len(gone) for gone in left]
        back = (left[0] | left[1]) & (set(vocabularies[2][name]) | set(vocabularies[3][name]))
        assert back, name
        for earlier, before, after, before_sum, after_sum in zip(
            vocabularies, rows, rows[1:], sums, sums[1:], strict=False
        ):
            for value, row in after[name].items():
                if value in earlier[name]:
                    assert torch.equal(row, before[name][value])
                    assert after_sum[name][value] >= before_sum[name][value]
                else:  # fresh: no other value's row, and not its own earlier one
                    assert not any(torch.equal(row, other) for other in before[name].values())
        for value in back & set(vocabularies[3][name]):
            assert not torch.equal(rows[3][name][value], rows[0][name].get(value, rows[1][name].get(value)))
    export = inside("export", "run=thursday", "out=export")
    assert export.returncode == 0, export.stderr
    assert "usage" not in (tmp_path / "export" / "transforms.json").read_text()


@pytest.mark.slow
def test_two_processes_move_the_same_rows(cli, tmp_path, log, monday):
    weights, sums = [], []
    for name, more in {"one": [], "two": ["data.batch_size=64", "trainer.devices=2", "trainer.strategy=ddp"]}.items():
        rates = ["optimizer.lr=0", "optimizer.table_lr=0", "run.affinity=0", "run.test=false"]
        done = cli(*tuesday(log, *TURNOVER, *rates, f"init_from={monday}", f"run.dir={name}", *more))
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / name / "data.json").read_text())["ids"]["item_id"]["evicted"] > 10
        content = AtomicCheckpointIO().load_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt")
        weights.append(content["state_dict"])
        sums.append(content["optimizer_states"][0]["optimizers"][-1]["state"][0]["sum"])
    tables = [part["network.encoder.table.weight"] for part in weights]
    assert torch.equal(*tables)
    assert torch.allclose(*sums, rtol=1e-4, atol=1e-9)
    assert sums[0].sum() > 0


def test_killed_and_resumed_ends_as_one_that_was_not(cli, tmp_path, log, monday):
    base = tmp_path / "base"
    shutil.copytree(monday, base)
    settings = tuesday(log, *TURNOVER, f"init_from={base}", "run.checkpoint_every=2", "data.cache_dir=cache")
    whole = cli(*settings, "run.dir=whole")
    assert whole.returncode == 0, whole.stderr
    killed = cli(*settings, "run.dir=killed", MTL_FAULT="kill@1")  # before the first checkpoint: it starts again
    assert killed.returncode == -9, killed.stderr
    assert cli("fit", "resume=killed", MTL_FAULT="kill@5").returncode == -9
    shutil.rmtree(base)  # from here on the run has all that it needs
    finished = cli("fit", "resume=killed", "data.cache_dir=another")
    assert finished.returncode == 0, finished.stderr
    assert same(final(tmp_path / "killed"), final(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["init_from=nowhere"], "no run directory nowhere"),
        (["init_from={run}", "architecture=shared_bottom"], "architecture.name: is 'shared_bottom', was 'mmoe'"),
        (["init_from={run}", "encoder.width=8"], "encoder.width: is 8, was 16"),
        (["init_from={run}", "features.hashed.size=300"], "features.hashed.size: is 300, was 200"),
        (["init_from={run}", "features.bid=null"], "features.bid: is missing"),
        (["init_from={run}", "heads.click.hidden=[8]"], "network.heads.click.tower"),
        (["init_from={log}"], "is not a run directory"),
        (["features.user_id={{kind: categorical, expire: 30d}}"], "features.user_id: expire needs time"),
        (["features.user_id={{kind: categorical, evict: true}}"], "features.user_id: evict needs max_size"),
        (["features.user_id={{kind: categorical, admit: 2, min_count: 2}}"], "min_count counts one run"),
        (["features.user_id={{kind: hashed, admit: 2}}"], "features.user_id.admit"),
        (["features.user_id={{kind: categorical, expire: soon, time: timestamp}}"], "expire is 'soon'"),
        (
            [
                "architecture={{name: star, scenario: device}}",
                "features.device={{kind: categorical, evict: true, max_size: 3}}",
            ],
            "features.device: the architecture has weights per value",
        ),
    ],
)
def test_a_run_that_does_not_fit_is_refused_before_anything_is_left(inside, tmp_path, log, monday, pairs, message):
    done = inside(*tuesday(log, *(pair.format(run=monday, log=log) for pair in pairs), "run.dir=refused"))
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "refused").exists()


def test_a_new_scenario_is_refused_with_a_way_out(inside, tmp_path, log):
    table = pq.read_table(log / "monday.parquet")
    pq.write_table(table.filter(pc.not_equal(table["device"], "tablet")), tmp_path / "two.parquet")
    star = ["architecture=star", "architecture.scenario=device", "architecture.hidden=[16]"]
    first = inside("fit", *SETTINGS, *star, "source.path=two.parquet", "run.dir=two")
    assert first.returncode == 0, first.stderr
    rates = ["optimizer.lr=0", "optimizer.table_lr=0"]
    refused = inside(*tuesday(log, *star, *rates, "init_from=two", "run.dir=three"))
    assert refused.returncode == 2
    report = " ".join(refused.stderr.split())
    assert "network.architecture.layers.0.scales: is 5 × 16 ×" in report
    assert "was 4 × 16 ×" in report
    assert "features.device.max_size=2" in report
    assert not (tmp_path / "three").exists()
    remaining = inside(*tuesday(log, *star, *rates, "features.device.max_size=2", "init_from=two", "run.dir=three"))
    assert remaining.returncode == 0, remaining.stderr
    before, after = (
        AtomicCheckpointIO().load_checkpoint(tmp_path / run / "checkpoints" / "best.ckpt")["state_dict"]
        for run in ("two", "three")
    )
    names = [name for name in before if name.startswith("network.architecture.")]
    assert any(before[name].abs().sum() > 0 for name in names if name.endswith("scales"))
    assert all(torch.equal(before[name], after[name]) for name in names)


def test_tasks_come_and_go(inside, tmp_path, log, monday):
    more = ["tasks.dwell=null", "tasks.stay={kind: binary, label: dwell > 30, observed_when: click == 1}"]
    done = inside(*tuesday(log, f"init_from={monday}", *more, "run.dir=other", "architecture=shared_bottom"))
    assert done.returncode == 2
    base = [*SETTINGS, "architecture=shared_bottom"]
    first = inside("fit", *base, f"source.path={log / 'monday.parquet'}", "run.dir=first")
    assert first.returncode == 0, first.stderr
    done = inside(*tuesday(log, "architecture=shared_bottom", "init_from=first", *more, "run.dir=second"))
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "second" / "warm_start.json").read_text())
    assert all(".stay." in name for name in record["fresh"])
    assert all(".dwell." in name for name in record["left"])
    assert record["fresh"]
    assert record["left"]


@pytest.mark.slow
def test_a_small_day_after_a_large_one_beats_a_cold_start(inside, tmp_path):
    table = Simulator(rows=110_000, users=800, items=400, days=3).rows().with_format("arrow")[:]
    pq.write_table(table.slice(0, 100_000), tmp_path / "before.parquet")
    pq.write_table(table.slice(100_000), tmp_path / "after.parquet")
    common = ["fit", "recipe=ads", "source=table", "split.column=timestamp", "trainer.accelerator=cpu"]
    assert inside(*common, "source.path=before.parquet", "run.dir=before").returncode == 0
    small = [*common, "source.path=after.parquet", "trainer.max_epochs=1", "data.batch_size=256"]
    assert inside(*small, "run.dir=cold").returncode == 0
    assert inside(*small, "init_from=before", "run.dir=warm").returncode == 0

    def reached(run, task):
        tested = json.loads((tmp_path / run / "metrics.json").read_text())["test"]["metrics"]
        return tested[f"test/{task}/expected_auc"]

    for task in ("click", "conversion"):
        assert reached("warm", task) > reached("cold", task) + 0.02
