"""The test split has no say in what is trained or chosen."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mtl_lightning.cli.app import main
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO

LABELS = ("click", "conversion", "dwell")


@pytest.fixture(scope="module")
def log():
    """Rows in the order of time."""
    return Simulator(rows=4000, users=300, items=200, days=2).rows().with_format("arrow")[:].sort_by("timestamp")


def fit(table, folder):
    """Metrics and best weights of a run."""
    folder.mkdir()
    pq.write_table(table, folder / "log.parquet")
    arguments = (f"source.path={folder / 'log.parquet'}", f"run.dir={folder / 'run'}", f"data.cache_dir={folder / 'c'}")
    settings = ("recipe=ads", "source=table", "split.column=timestamp", "data.batch_size=256", "trainer.max_epochs=3")
    with pytest.raises(SystemExit) as end:
        main(["fit", *settings, *arguments])
    assert not end.value.code
    best = AtomicCheckpointIO().load_checkpoint(folder / "run" / "checkpoints" / "best.ckpt")["state_dict"]
    return json.loads((folder / "run" / "metrics.json").read_text()), best


def test_other_labels_in_the_test_split_choose_the_same_model(log, tmp_path):
    """Elsewhere the best epoch is that with the best figure on the test rows."""
    rows = log.num_rows
    late = int(rows * 0.95)  # in the test split, whose share is larger
    order = torch.cat(
        [torch.arange(late), late + torch.randperm(rows - late, generator=torch.Generator().manual_seed(0))]
    )
    other = log
    for name in LABELS:
        column = log.column(name).combine_chunks().take(pa.array(order.tolist()))
        other = other.set_column(other.column_names.index(name), name, column)
    first, best = fit(log, tmp_path / "first")
    second, same = fit(other, tmp_path / "second")
    assert first["test"]["metrics"] != second["test"]["metrics"]
    assert len(first["validations"]) == 3
    assert first["validations"] == second["validations"]
    assert best.keys() == same.keys()
    assert all(torch.equal(value, same[name]) for name, value in best.items())
