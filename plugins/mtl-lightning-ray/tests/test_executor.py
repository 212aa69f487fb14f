"""Preparation on two nodes: the bytes of one process, also when a worker and then a node are killed."""

import hashlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray.cloudpickle import register_pickle_by_value

from mtl_lightning.build import build_data
from mtl_lightning.config import compose, validate
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation import fitting
from mtl_lightning.data.preparation.prepare import SUMMARY, prepare
from mtl_lightning.data.preparation.split import SplitSpec
from mtl_lightning.data.readers.parquet import ParquetRows
from mtl_lightning.data.sources.table import Table
from mtl_lightning.data.targets.tasks import build_tasks
from mtl_lightning.errors import MtlError
from mtl_lightning.executors.threads import Threads
from mtl_lightning.testing import ExecutorContract
from mtl_lightning_ray.executor import RayExecutor

register_pickle_by_value(sys.modules[__name__])  # workers can't import this file
register_pickle_by_value(sys.modules[ExecutorContract.__module__])  # and needn't import torch for the contract


def test_a_cluster_that_is_away_is_reported():  # before this process is connected to one
    away = RayExecutor(address="127.0.0.1:9")
    with pytest.raises(MtlError, match=r"no Ray cluster can be reached at 127\.0\.0\.1:9"), away:
        pass


@pytest.mark.usefixtures("cluster")
class TestRayExecutor(ExecutorContract):
    component = RayExecutor
    options = {"workers": 2}


FEATURES = {"user": "categorical", "price": "numeric", "band": {"kind": "buckets", "column": "price"}}


class DisturbedRows(ParquetRows):
    """Rows of which the third group kills its worker once; the first part on a node waits for its death."""

    folder: Path
    caller: int

    def tables(self, columns, only=None):
        if os.getpid() != self.caller:
            node = ray.get_runtime_context().get_node_id()
            if only == (0, 2) and not (self.folder / "killed").exists():
                (self.folder / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if node == (self.folder / "node").read_text():
                (self.folder / "reached").touch()
                time.sleep(60)
            while not (self.folder / "reached").exists():  # so that each node gets a part
                time.sleep(0.05)
        return super().tables(columns, only)


class Disturbed(Table):
    """Source of such rows."""

    folder: Path

    def rows(self, split=None):
        rows = DisturbedRows(self._paths(split), known=self._footers(split))
        rows.folder, rows.caller = self.folder, self.caller
        return rows


def contents(prepared):
    files = [file for file in sorted(prepared.path.rglob("*")) if file.is_file() and file.name != SUMMARY]
    return {str(file.relative_to(prepared.path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def recipe(cache, executor):
    changes = ["source.rows=300_000", f"data.cache_dir={cache}", f"data.executor={executor}", "data.workers=2"]
    return validate(compose("ads", changes).plain)


@pytest.mark.usefixtures("cluster")
def test_a_recipe_is_prepared_on_two_nodes_as_by_one_process(tmp_path):
    done = [contents(build_data(recipe(tmp_path / name, name)).prepare()) for name in ("ray", "threads")]
    assert "train/ids.bin" in done[0]
    assert done[0] == done[1]


def test_a_killed_worker_and_a_killed_node_lose_nothing(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "BLOCK", 700)
    monkeypatch.setattr(fitting, "BLOCKS", 2)
    random = np.random.default_rng(0)
    rows = pa.table({
        "user": random.integers(0, 300, 12_000).astype(str),
        "price": random.lognormal(size=12_000),
        "click": random.integers(0, 2, 12_000),
    })  # fmt: skip
    pq.write_table(rows, tmp_path / "log.parquet", row_group_size=1_000)
    source = Disturbed(path=str(tmp_path / "log.parquet"))
    source.folder, source.caller = tmp_path, os.getpid()
    node = cluster.add_node(num_cpus=1)
    (tmp_path / "node").write_text(node.node_id)

    def kill_node():
        while not (tmp_path / "reached").exists():
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill_node, daemon=True)
    killer.start()
    parts = {"features": build_features(FEATURES), "tasks": build_tasks({"click": "binary"}), "split": SplitSpec()}
    done = [
        contents(prepare(source, **parts, cache_dir=tmp_path / str(i), executor=executor))
        for i, executor in enumerate((RayExecutor(), Threads(workers=1)))
    ]
    killer.join(timeout=30)
    assert (tmp_path / "killed").exists()
    assert node not in cluster.worker_nodes
    assert done[0] == done[1]
    while node.node_id in [item["NodeID"] for item in ray.nodes() if item["Alive"]]:
        time.sleep(0.2)  # until then Ray places work of later tests there
